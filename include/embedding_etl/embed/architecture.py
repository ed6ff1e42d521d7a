"""What a model wants to be fed and what comes out of it, read from the files beside its weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelKind
from include.embedding_etl.types import ModelInput

_IMAGENET_RESIZE = 256  # px: shorter side before the centre crop of 224
_WHISPER_RATE_HZ = 16_000
_WHISPER_FRAME_MS = 20  # one encoder frame: two hops of 160 samples
_PERCEIVER_RATE_HZ = 48_000  # Kinetics: 1,920 samples go with each of 25 frames a second


@dataclass(frozen=True, slots=True)
class Architecture:
    """The part of ModelInfo that the architecture decides."""

    dimension: int
    pooling: str
    input: ModelInput


def read_architecture(kind: ModelKind, path: Path) -> Architecture:
    """Describe a local model.

    Args:
        kind: Any but openai.
        path: The model's directory, or the file with its weights.
    Raises:
        ConfigError: a file is missing or says something that this kind of model cannot do.
    """
    try:
        return _READERS[kind](path)
    except KeyError as error:
        raise ConfigError(f"{path}: its config.json has no {error}; is it a model of kind {kind}?") from error


def read_json(file: Path) -> dict[str, Any]:
    """One of the JSON files of a model.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: expected an object with keys")
    return document


def _sentence_transformers(path: Path) -> Architecture:
    config = read_json(path / "config.json")
    _refuse_other_modules(path)
    limit = int(config["max_position_embeddings"])
    sentence = path / "sentence_bert_config.json"
    if sentence.is_file():
        limit = min(limit, int(read_json(sentence).get("max_seq_length") or limit))
    tokenizer = _tokenizer(path)
    return Architecture(
        int(config["hidden_size"]),
        _pooling(path),
        ModelInput(("text",), tokenizer_path=tokenizer, max_tokens=limit - _special_tokens(tokenizer)),
    )


def _refuse_other_modules(path: Path) -> None:
    """We run the transformer, the pooling and the normalisation ourselves; anything more would be left out silently."""
    modules = path / "modules.json"
    if modules.is_file():
        names = {str(module["type"]).rpartition(".")[2] for module in json.loads(modules.read_bytes())}
        if unknown := names - {"Transformer", "Pooling", "Normalize"}:
            raise ConfigError(f"{modules}: {', '.join(sorted(unknown))} is not supported; use a model without it")
    prompts = path / "config_sentence_transformers.json"
    if prompts.is_file() and read_json(prompts).get("default_prompt_name"):
        raise ConfigError(f"{prompts}: a default prompt is not supported; use a model without one")


def _pooling(path: Path) -> str:
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    settings = read_json(file)
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    chosen = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    named = settings.get("pooling_mode")  # since sentence-transformers 5.4
    if not chosen and named in modes.values():
        return str(named)
    if len(chosen) == 1 and chosen[0] in modes:
        return modes[chosen[0]]
    raise ConfigError(f"{file}: {', '.join(chosen) or named} is not supported; allowed are mean and cls pooling")


def _tokenizer(path: Path) -> str:
    file = path / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(f"{file}: is missing; a model that reads text needs it")
    return str(file)


def _special_tokens(tokenizer_path: str) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_file(tokenizer_path).num_special_tokens_to_add(is_pair=False))


def _resnet(path: Path) -> Architecture:
    config = read_json(path / "config.json")
    preprocessor = read_json(path / "preprocessor_config.json")
    # The shorter side becomes size / crop_pct before the crop, unless it is large already.
    resized = int(preprocessor["size"]["shortest_edge"] / (preprocessor.get("crop_pct") or 224 / 256))
    return Architecture(int(config["hidden_sizes"][-1]), "pooler", ModelInput(("image",), image_size=resized))


def _clip(path: Path) -> Architecture:
    config = read_json(path / "config.json")
    text, vision = config["text_config"], config["vision_config"]
    return Architecture(
        int(config.get("projection_dim", 512)),
        "projection",
        ModelInput(
            ("image", "text"),
            tokenizer_path=_tokenizer(path),
            max_tokens=int(text.get("max_position_embeddings", 77)) - 2,  # start and end of text
            image_size=int(vision.get("image_size", 224)),
        ),
    )


def _whisper(path: Path) -> Architecture:
    config = read_json(path / "config.json")
    window_ms = int(config["max_source_positions"]) * _WHISPER_FRAME_MS
    return Architecture(
        int(config["d_model"]),
        "masked mean",
        ModelInput(("audio",), sample_rate_hz=_WHISPER_RATE_HZ, window_ms=window_ms),
    )


def _perceiver(path: Path) -> Architecture:
    config = read_json(path / "config.json")
    frames = int(config["num_frames"])
    return Architecture(
        int(config["d_latents"]),
        "mean of latents",
        ModelInput(
            ("video",),
            sample_rate_hz=int(config.get("sampling_rate", _PERCEIVER_RATE_HZ)),
            frames=frames,
            frame_size=int(config["image_size"]),
            clip_samples=frames * int(config["audio_samples_per_frame"]),
        ),
    )


_READERS: Mapping[str, Callable[[Path], Architecture]] = {
    "sentence-transformers": _sentence_transformers,
    "resnet": _resnet,
    "torchvision-resnet50": lambda _: Architecture(
        2048, "average", ModelInput(("image",), image_size=_IMAGENET_RESIZE)
    ),
    "efficientnet-lite0": lambda _: Architecture(1280, "average", ModelInput(("image",), image_size=_IMAGENET_RESIZE)),
    "clip": _clip,
    "whisper": _whisper,
    "perceiver": _perceiver,
}
