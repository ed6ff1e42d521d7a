"""Where a model's weights lie on this machine, by the place that the pipeline file names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.embed.architecture import read_json
from include.embedding_etl.embed.packages import find_files, find_package
from include.embedding_etl.embed.weights_hash import hash_texts, hash_weights
from include.embedding_etl.embed.whisper_conversion import convert_whisper
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.places import PROJECT_ROOT

DEMO_MODELS = PROJECT_ROOT / "include" / "demo_models"

_COMMIT = r"[0-9a-f]{40}"
_WEIGHT_SUFFIXES = {".safetensors", ".pth"}
_HUB_LICENCES = {
    "sentence-transformers/all-MiniLM-L6-v2": "Apache-2.0",
    "sentence-transformers/all-mpnet-base-v2": "Apache-2.0",
    "microsoft/resnet-50": "Apache-2.0",
    "timm/resnet50.tv_in1k": "BSD-3-Clause",
    "openai/clip-vit-large-patch14": "MIT",
    "openai/whisper-base": "Apache-2.0",
    "openai/whisper-large-v3": "Apache-2.0",
    "deepmind/multimodal-perceiver": "Apache-2.0",
}


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights found on this machine."""

    path: Path  # a directory, or the file itself
    revision: str
    sha256: str
    origin: str
    licence: str
    pretrained: bool = True


def find_weights(settings: ModelSettings, models_dir: Path) -> Weights:
    """Find a model's weights and hash them.

    Raises:
        ConfigError: they are not here; the message says how to get them.
    """
    return _FINDERS[settings.weights](settings, models_dir)


def hub_directory(settings: ModelSettings, models_dir: Path) -> Path:
    """Where `etl models pull` puts a model of the hub."""
    return models_dir / settings.id.replace("/", "--") / settings.revision.replace("/", "--")


def weight_files(path: Path) -> list[Path]:
    """The files that are loaded: one file, or what the index lists.

    Raises:
        ConfigError: there is none in a format that is safe to load.
    """
    if path.is_file():
        if path.suffix not in _WEIGHT_SUFFIXES:
            raise ConfigError(f"{path}: weights of this kind are not loaded; allowed are .safetensors and .pth files")
        return [path]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        files = [path / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    else:
        files = [path / "model.safetensors"]
    for file in files:
        if not file.is_file():
            raise ConfigError(f"{file}: is missing; only safetensors are loaded from a model's directory")
    return files


def _from_hub(settings: ModelSettings, models_dir: Path) -> Weights:
    path = hub_directory(settings, models_dir)
    if not path.is_dir():
        raise ConfigError(
            f"model {settings.id} at {settings.revision} is not on this machine; run `etl models pull <pipeline>`"
        )
    # A branch moves: what it held when it was pulled is told apart by its files.
    pinned = re.fullmatch(_COMMIT, settings.revision) is not None
    return Weights(
        path,
        settings.revision if pinned else f"{settings.revision} with {hash_texts(path)[:12]}",
        hash_weights(weight_files(path), models_dir),
        f"hub {settings.id}",
        _HUB_LICENCES.get(settings.id, "see the model card"),
    )


def _from_package(settings: ModelSettings, models_dir: Path) -> Weights:
    package = find_package(settings.id)
    if settings.kind == "whisper":
        file = convert_whisper(settings.id, models_dir)
        path = file.parent
    else:
        file = find_files(settings.id, models_dir)[0]
        path = file.parent if file.suffix == ".safetensors" else file
    sha256 = hash_weights([file], models_dir)
    return Weights(path, package.version, sha256, package.origin, package.licence)


def _from_repository(settings: ModelSettings, models_dir: Path) -> Weights:
    path = DEMO_MODELS / settings.id
    if not path.is_dir():
        known = ", ".join(sorted(found.name for found in DEMO_MODELS.glob("*") if found.is_dir())) or "none"
        raise ConfigError(f"model.id: {path} does not exist; the repository carries: {known}")
    return Weights(
        path,
        hash_texts(path)[:12],
        hash_weights(weight_files(path), models_dir),
        f"this repository, include/demo_models/{settings.id}",
        "Apache-2.0",
        pretrained=False,
    )


def _from_path(settings: ModelSettings, models_dir: Path) -> Weights:
    path = Path(settings.id)
    if not path.exists():
        raise ConfigError(f"model.id: {path} does not exist; it must be a directory or a file with weights")
    revision = hash_texts(path)[:12] if path.is_dir() else ""
    return Weights(path, revision, hash_weights(weight_files(path), models_dir), f"path {path}", "unknown")


def _from_remote(settings: ModelSettings, models_dir: Path) -> Weights:  # noqa: ARG001 - one row of the table
    raise ConfigError(f"model.weights: remote is for kind openai; {settings.kind} runs on this machine")


_FINDERS: Mapping[str, Callable[[ModelSettings, Path], Weights]] = {
    "hub": _from_hub,
    "package": _from_package,
    "repository": _from_repository,
    "path": _from_path,
    "remote": _from_remote,
}
