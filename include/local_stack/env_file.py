"""Files of KEY=VALUE lines that hold generated secrets: created once, mode 0600, replaced atomically."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from include.embedding_etl.errors import ConfigError


def read_env_file(path: Path) -> dict[str, str]:
    """The values of a file of KEY=VALUE lines; empty when there is no such file.

    Raises:
        ConfigError: a line is neither empty, nor a comment, nor KEY=VALUE.
    """
    if not path.exists():
        return {}
    values = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise ConfigError(f"{path}: line {number}: expected KEY=VALUE; delete the file to have it made again")
        values[key.strip()] = value.strip()
    return values


def keep_secrets(
    path: Path, heading: str, generated: Mapping[str, Callable[[], str]], settled: Mapping[str, str]
) -> dict[str, str]:
    """Read the file, add what is missing, and write it when something changed.

    Args:
        path: The file; only its owner may read it.
        heading: A comment for its first line.
        generated: Secrets: how to make each when the file has none yet.
        settled: Values that follow from the configuration and replace what the file says.
    Returns:
        All values, in the file's order.
    """
    before = read_env_file(path)
    secrets = {key: before.get(key) or make() for key, make in generated.items()}
    values = {**before, **secrets, **settled}
    if values != before or path.stat().st_mode & 0o077:
        _write_private(path, f"# {heading}\n" + "".join(f"{key}={value}\n" for key, value in values.items()))
    return values


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, unless it already says the same."""
    if not path.exists() or path.read_text(encoding="utf-8") != text or path.stat().st_mode & 0o077:
        _write_private(path, text)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
