"""Puts the corpus on disk, so that people can look at what is in the bucket, and so that it is made only once."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from include.local_stack.corpus.catalogue import corpus_objects
from include.local_stack.corpus.model import CorpusObject
from include.local_stack.corpus.sounds import draw_sound

_MANIFEST = ".manifest.json"


def write_corpus(directory: Path) -> list[CorpusObject]:
    """Make sure that the directory holds every object's bytes, in a file named by its key.

    What was made by the same code before is not made again; a file that was changed or lost is.

    Returns:
        The objects, in the order of their keys.
    """
    objects = corpus_objects()
    manifest_file = directory / _MANIFEST
    recipe = _recipe()
    sizes = _sizes_made_by(recipe, manifest_file)
    for item in objects:
        path = directory / item.key
        if item.is_marker:
            path.mkdir(parents=True, exist_ok=True)
        elif item.key not in sizes or not path.is_file() or path.stat().st_size != sizes[item.key]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(item.write())
            sizes[item.key] = path.stat().st_size
    manifest_file.write_text(json.dumps({"recipe": recipe, "sizes": sizes}), encoding="utf-8")
    return objects


def write_query_sound(path: Path) -> Path:
    """A bell that is not in the corpus, to search with."""
    from include.local_stack.corpus.encode import encode_sound

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_sound(draw_sound("bell", seed=77), "wav", "pcm_s16le"))
    return path


def _sizes_made_by(recipe: str, manifest_file: Path) -> dict[str, int]:
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return dict(manifest["sizes"]) if manifest.get("recipe") == recipe else {}


def _recipe() -> str:
    """Changes when the code that makes the corpus does, or a library that encodes it."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.py")), here.parent / "drawings.py"]
    versions = [version(name) for name in ("av", "pillow", "pillow-heif", "numpy", "python-docx")]
    digest = hashlib.sha256(json.dumps(versions).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()
