"""Turn the CTranslate2 file of Whisper base into the format that transformers reads, once.

One code path then serves this package and the checkpoints of the hub, in bf16 and on a GPU too; its answers equal those
of the ctranslate2 library. Only the encoder is kept: an embedding needs nothing else.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.embed.ctranslate2_file import read_variables
from include.embedding_etl.embed.packages import find_files, find_package
from include.embedding_etl.embed.weights_hash import hash_file
from include.embedding_etl.errors import ConfigError, IntegrityError

Weights = NDArray[np.float16]

CONVERTED_SHA256 = "bfbd37175ce756ee8db5bff669bb246d7a51b1306a7109243217cae4353ce279"

_WEIGHTS = "model.safetensors"
_LAYERS, _WIDTH, _HEADS, _MELS = 6, 512, 8, 80
_CONFIG = {
    "model_type": "whisper",
    "architectures": ["WhisperModel"],
    "d_model": _WIDTH,
    "encoder_layers": _LAYERS,
    "encoder_attention_heads": _HEADS,
    "encoder_ffn_dim": 4 * _WIDTH,
    "decoder_layers": _LAYERS,
    "decoder_attention_heads": _HEADS,
    "decoder_ffn_dim": 4 * _WIDTH,
    "num_mel_bins": _MELS,
    "max_source_positions": 1500,
    "activation_function": "gelu",
    "vocab_size": 51865,
}


def convert_whisper(model_id: str, models_dir: Path) -> Path:
    """Join the package's parts and write the encoder's weights; does nothing when they are there and undamaged.

    Returns:
        The safetensors file, in a directory that transformers can load.
    Raises:
        ConfigError: the package is not installed, or not as it was pinned, or the directory cannot be written.
        IntegrityError: the joined file is not Whisper base.
    """
    directory = models_dir / model_id / find_package(model_id).version
    file = directory / _WEIGHTS
    if file.is_file() and hash_file(file, models_dir) == CONVERTED_SHA256:
        return file
    parts = find_files(model_id, models_dir)
    try:
        _convert(parts, directory)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}; set ETL_MODELS_DIR") from error
    if hash_file(file, models_dir) != CONVERTED_SHA256:
        raise IntegrityError(f"{file}: the conversion gave other bytes than it should; install requirements.txt")
    return file


def _convert(parts: list[Path], directory: Path) -> None:
    from safetensors.numpy import save_file

    directory.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".converting-"))
    try:
        variables = dict(read_variables(b"".join(part.read_bytes() for part in parts)))
        try:
            save_file(dict(_renamed(variables)), making / _WEIGHTS)
        except KeyError as error:
            raise IntegrityError(f"{parts[0]}: it has no {error}, so it is not Whisper base") from error
        (making / "config.json").write_text(json.dumps(_CONFIG, indent=2), encoding="utf-8")
        _publish(making, directory)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _publish(making: Path, directory: Path) -> None:
    """Move into place, file by file, each as a whole: another process may convert, or read, at the same time."""
    directory.mkdir(exist_ok=True)
    for name in ("config.json", _WEIGHTS):  # the weights say that it is done
        (making / name).replace(directory / name)


def _renamed(variables: dict[str, Weights]) -> Iterator[tuple[str, Weights]]:
    """CTranslate2's names to those of transformers; queries, keys and values are one matrix there."""
    for convolution in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            yield f"encoder.{convolution}.{kind}", variables[f"encoder/{convolution}/{kind}"]
    yield "encoder.embed_positions.weight", variables["encoder/position_encodings/encodings"]
    yield from _norm("encoder.layer_norm", variables, "encoder/layer_norm")
    for number in range(_LAYERS):
        new, old = f"encoder.layers.{number}", f"encoder/layer_{number}"
        yield from _norm(f"{new}.self_attn_layer_norm", variables, f"{old}/self_attention/layer_norm")
        yield from _norm(f"{new}.final_layer_norm", variables, f"{old}/ffn/layer_norm")
        weights = np.split(variables[f"{old}/self_attention/linear_0/weight"], 3)
        biases = np.split(variables[f"{old}/self_attention/linear_0/bias"], 3)
        for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
            yield f"{new}.self_attn.{name}.weight", np.ascontiguousarray(weight)
            if name != "k_proj":  # Whisper's keys have no bias; the converter wrote zeros
                yield f"{new}.self_attn.{name}.bias", np.ascontiguousarray(bias)
        yield from _linear(f"{new}.self_attn.out_proj", variables, f"{old}/self_attention/linear_1")
        yield from _linear(f"{new}.fc1", variables, f"{old}/ffn/linear_0")
        yield from _linear(f"{new}.fc2", variables, f"{old}/ffn/linear_1")


def _linear(new: str, variables: dict[str, Weights], old: str) -> Iterator[tuple[str, Weights]]:
    yield f"{new}.weight", variables[f"{old}/weight"]
    yield f"{new}.bias", variables[f"{old}/bias"]


def _norm(new: str, variables: dict[str, Weights], old: str) -> Iterator[tuple[str, Weights]]:
    yield f"{new}.weight", variables[f"{old}/gamma"]
    yield f"{new}.bias", variables[f"{old}/beta"]
