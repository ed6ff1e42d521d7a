"""Pipeline files: found by name, read, and refused with the file, the key and what is allowed."""

import difflib
import re
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.settings import NAME, PipelineSettings


def load_pipeline(path: Path) -> PipelineSettings:
    """Read and validate one pipeline file.

    Raises:
        ConfigError: naming the file, the key and what is allowed.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such pipeline file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys such as name, source, lanes; found {type(document).__name__}")
    try:
        pipeline = PipelineSettings.model_validate(document)
    except ValidationError as error:
        lines = [f"{path}: {_explain(detail)}" for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    if pipeline.name != path.stem:
        raise ConfigError(f"{path}: name: is {pipeline.name!r}, but must equal the file's name, {path.stem!r}")
    return pipeline


def pipeline_files(pipelines_dir: Path) -> list[Path]:
    """All pipeline files, sorted by name."""
    return sorted(pipelines_dir.glob("*.yaml"))


def find_pipeline(pipelines_dir: Path, name: str) -> PipelineSettings:
    """Load a pipeline by its name.

    Raises:
        ConfigError: there is none of that name; the message lists those that exist.
    """
    path = pipelines_dir / f"{name}.yaml"
    if not re.match(NAME, name) or not path.is_file():
        known = ", ".join(file.stem for file in pipeline_files(pipelines_dir)) or "none"
        raise ConfigError(f"{pipelines_dir}: no pipeline named {name!r}; there are: {known}")
    return load_pipeline(path)


def _explain(detail: ErrorDetails) -> str:
    """One validation error as `key: what is wrong; what is allowed`."""
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "(the file)"
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = sorted(_fields_at(detail["loc"][:-1]))
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{key}: unknown key.{hint} Allowed: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{key}: is required"
    if detail["loc"][0] == "notify":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}"  # what was found may be a secret
    return f"{key}: {detail['msg'].removeprefix('Value error, ')} (found {detail['input']!r:.80})"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at a place in a pipeline file."""
    model: Any = PipelineSettings
    parts = list(location)
    while parts:
        part = str(parts.pop(0))
        if part == "lanes":
            model = LaneSettings
            parts = parts[1:]
        else:
            annotation = model.model_fields[part].annotation
            model = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
    return list(model.model_fields) if issubclass(model, BaseModel) else [field.name for field in fields(model)]
