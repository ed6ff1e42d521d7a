"""Sound, by Whisper's encoder: the mean over the frames that are not padding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from include.embedding_etl.embed.device import choose_device, number_format, unit_vectors
from include.embedding_etl.embed.pretrained import loading
from include.embedding_etl.embed.weights import weight_files
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

_PREFIXES = ("model.encoder.", "encoder.")  # with and without the head for transcribing


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "AudioEmbedder":  # noqa: ARG001 - Loader
    """Load the encoder alone: the decoder, half of the weights, is not even read.

    Raises:
        ConfigError: the weights are not those of a Whisper encoder.
    """
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with loading(info):
        config = WhisperConfig.from_pretrained(info.weights_path, local_files_only=True)
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            encoder = WhisperEncoder(config)
        encoder.load_state_dict(_read_encoder(Path(info.weights_path), number_format(info)), strict=True, assign=True)
        extractor = WhisperFeatureExtractor(
            feature_size=config.num_mel_bins,
            sampling_rate=info.input.sample_rate_hz,
            chunk_length=info.input.window_ms // 1000,
        )
    return AudioEmbedder(encoder.eval().to(choose_device(device)), extractor, info)


class AudioEmbedder:
    """A loaded encoder."""

    def __init__(self, encoder: Any, extractor: Any, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._encoder = encoder
        self._extractor = extractor
        self._info = info

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed windows of sound in input order; shorter ones are padded with silence that is not counted.

        Source:
            Radford et al. 2022; the mean over the encoder's frames that sound fell on.
        """
        import torch

        features = self._extractor(
            [_samples(chunk) for chunk in chunks],
            sampling_rate=self._info.input.sample_rate_hz,
            return_attention_mask=True,
            return_tensors="pt",
        )
        weight = self._encoder.conv1.weight
        with torch.inference_mode():
            states = self._encoder(features["input_features"].to(weight.device, weight.dtype)).last_hidden_state.float()
            # Two spectrogram frames make one of the encoder's.
            heard = (features["attention_mask"].sum(1) + 1) // 2
            counted = torch.arange(states.shape[1]) < heard.clamp(min=1).unsqueeze(1)
            weights = counted.unsqueeze(-1).to(states.device, states.dtype)
            return unit_vectors((states * weights).sum(1) / weights.sum(1), self._info)


def _samples(chunk: Chunk) -> Vectors:
    if chunk.samples is None:
        raise TypeError("a chunk without samples came to a model of sound")
    return np.asarray(chunk.samples, np.float32)


def _read_encoder(path: Path, dtype: Any) -> dict[str, Any]:
    from safetensors import safe_open

    tensors = {}
    for file in weight_files(path):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                for prefix in _PREFIXES:
                    if name.startswith(prefix):
                        tensors[name.removeprefix(prefix)] = opened.get_tensor(name).to(dtype)
                        break
    if not tensors:
        raise ConfigError(f"{path}: has no weights of a Whisper encoder")
    return tensors
