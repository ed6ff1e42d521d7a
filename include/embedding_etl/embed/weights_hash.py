"""Hex sha256 of weight files, computed once a file: a gigabyte takes seconds, and every task asks."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CACHE_NAME = "weights-hashes.json"

_Known = dict[str, list[int | str]]  # path -> [mtime_ns, size, hash]
_known: _Known = {}


def hash_weights(files: Sequence[Path], models_dir: Path) -> str:
    """One hash for a model's weights: of the file itself when it is one, else of the names and hashes of all.

    Args:
        files: In any order.
        models_dir: Holds the cache file. Where it cannot be written, the hash is computed once a process.
    """
    hashes = {file.name: hash_file(file, models_dir) for file in files}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    listing = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(listing.encode()).hexdigest()


def hash_file(file: Path, models_dir: Path) -> str:
    """Hex sha256 of one file; known as long as its time and size stay the same."""
    path, state = str(file.resolve()), file.stat()
    stamp = [state.st_mtime_ns, state.st_size]
    if _known.get(path, [])[:2] != stamp:
        cache = models_dir / CACHE_NAME
        stored = _read(cache)
        if stored.get(path, [])[:2] == stamp:
            _known[path] = stored[path]
        else:
            with file.open("rb") as body:
                _known[path] = [*stamp, hashlib.file_digest(body, "sha256").hexdigest()]
            with suppress(OSError):  # a read-only directory: computed again by the next process
                _write(cache, {**stored, path: _known[path]})
    return str(_known[path][2])


def hash_texts(directory: Path) -> str:
    """Hex sha256 over configuration, vocabulary and the like: they change vectors as weights do."""
    digest = hashlib.sha256()
    for file in sorted(directory.rglob("*")):
        if file.suffix in (".json", ".txt") and file.is_file():
            digest.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(directory)}\n".encode())
    return digest.hexdigest()


def _read(cache: Path) -> _Known:
    try:
        stored = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return {
        path: entry for path, entry in (stored.items() if isinstance(stored, dict) else ()) if isinstance(entry, list)
    }


def _write(cache: Path, known: _Known) -> None:
    """Replace it as a whole: another process may read it right now, and may overwrite our entry, which costs a hash."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache.parent, prefix=".hashes-", delete=False) as file:
        json.dump(known, file, indent=1, sort_keys=True)
    Path(file.name).replace(cache)
