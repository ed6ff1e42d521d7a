"""Each real architecture at a small size, with seeded weights, saved as a hub model is: what loads them loads those."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo

WORDS = ["a", "red", "blue", "circle", "square", "on", "the", "left", "right", "of", "small", "large", "sea", "cat"]


def save_bert(directory: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=24, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(directory)
    save_tokenizer(directory, ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    save_sentence_files(directory)


def save_mpnet(directory: Path) -> None:
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=24, pad_token_id=1, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    MPNetModel(config).save_pretrained(directory)
    save_tokenizer(directory, ["<unk>", "<pad>", "<s>", "</s>"])
    save_sentence_files(directory)


def save_tokenizer(directory: Path, special: list[str]) -> None:
    """A tokenizer of whole words whose file says to cut after 8 tokens, as MiniLM's says 128."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    unknown = next(word for word in special if "unk" in word.lower())
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing((special[3], 3), (special[2], 2))
    tokenizer.enable_truncation(8)
    tokenizer.save(str(directory / "tokenizer.json"))


def save_sentence_files(directory: Path) -> None:
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (directory / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    names = ("Transformer", "Pooling", "Normalize")
    modules = ", ".join(f'{{"type": "sentence_transformers.models.{name}", "path": ""}}' for name in names)
    (directory / "modules.json").write_text(f"[{modules}]")


def save_resnet(directory: Path) -> None:
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 2, 1], num_labels=3)
    model = ResNetForImageClassification(config)
    _shake_norms(model)
    model.save_pretrained(directory)
    ConvNextImageProcessorPil(size={"shortest_edge": 56}, crop_pct=0.875).save_pretrained(directory)


def save_clip(directory: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = CLIPConfig(
        text_config={
            **tower, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 20, "projection_dim": 24,
            "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
        },
        vision_config={**tower, "image_size": 32, "patch_size": 8, "projection_dim": 24},
        projection_dim=24,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(directory)
    save_tokenizer(directory, ["[PAD]", "[UNK]", "[BOS]", "[EOS]"])
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(directory)


def save_whisper(directory: Path) -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=50, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=80, max_source_positions=50,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(directory)


def save_perceiver(directory: Path) -> None:
    from transformers import PerceiverConfig, PerceiverForMultimodalAutoencoding

    config = PerceiverConfig(
        num_latents=8, d_latents=32, d_model=405, num_blocks=1, num_self_attends_per_block=2,
        num_self_attention_heads=4, num_cross_attention_heads=1, qk_channels=32, v_channels=32, image_size=16,
        num_frames=4, audio_samples_per_frame=32, samples_per_patch=16, output_shape=[1, 4, 16, 16],
        output_num_channels=64, num_labels=8, _label_trainable_num_channels=64,
    )  # fmt: skip
    PerceiverForMultimodalAutoencoding(config).save_pretrained(directory)


def _shake_norms(model: Any) -> None:
    """Statistics as training leaves them: fresh ones (0 and 1) would hide a norm that is left out."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)


KINDS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "bert": ("sentence-transformers", save_bert),
    "mpnet": ("sentence-transformers", save_mpnet),
    "resnet": ("resnet", save_resnet),
    "clip": ("clip", save_clip),
    "whisper": ("whisper", save_whisper),
    "perceiver": ("perceiver", save_perceiver),
}


class SmallModels:
    """Builds each model once a session."""

    def __init__(self, root: Path) -> None:
        self.models_dir = root / "models"
        self._root = root

    def path(self, name: str) -> Path:
        directory = self._root / name
        if not directory.exists():
            import torch

            directory.mkdir()
            torch.manual_seed(7)
            KINDS[name][1](directory)
        return directory

    def settings(self, name: str, precision: str = "fp32") -> ModelSettings:
        return ModelSettings.model_validate(
            {"kind": KINDS[name][0], "id": str(self.path(name)), "weights": "path", "precision": precision}
        )

    def info(self, name: str, precision: str = "fp32") -> ModelInfo:
        return resolve_model(self.settings(name, precision), self.models_dir)

    def load(self, name: str, precision: str = "fp32") -> Embedder:
        return load_embedder(self.settings(name, precision), self.info(name, precision), "cpu")


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> SmallModels:
    """Every architecture, small and seeded."""
    return SmallModels(tmp_path_factory.mktemp("small-models"))


def text_chunks(*texts: str) -> list[Chunk]:
    return [Chunk(number, 0, len(text), text) for number, text in enumerate(texts)]


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Pictures of different sizes: smooth colours with a rectangle."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        height, width = rng.integers(70, 200, 2)
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[:] = rng.integers(0, 256, 3)
        pixels[height // 4 : height // 2, width // 4 :] = rng.integers(0, 256, 3)
        found.append(pixels)
    return found


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def lowest_cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((unit(first) * unit(second)).sum(1).min())
