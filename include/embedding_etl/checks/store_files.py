"""The embedding store's files against ledger.vectors. One ledger to one state URI: nobody else's files are there."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.runtime import Runtime

GRACE_S = 3600.0  # a younger file may be about to be recorded
_THREADS = 16
_FOLDER = "embeddings"


def check_store_files(runtime: Runtime, differences: Differences) -> int:
    """Look for files that the ledger names and that are not there or cut off; and for files that nobody names.

    What is inside is read for the vectors that are compared: see vectors.py.

    Returns:
        How many files the ledger names for the collections of this pipeline.
    """
    used = {record.fingerprint for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name)}
    named = [file for fingerprint in sorted(used) for file in runtime.ledger.vectors.files(fingerprint).items()]
    with ThreadPoolExecutor(_THREADS) as threads:
        held = threads.map(lambda file: _holds(runtime, *file), named)
        lost = [uri for (uri, _), sound in zip(named, held, strict=True) if not sound]
    differences.add(*(Difference("lost store file", "", "", uri) for uri in lost))
    _look_for_unreferenced(runtime, differences)
    return len(named)


def fingerprint_of(path: str) -> str:
    """Whose vectors a file holds."""
    return path.split("/")[1]


def _holds(runtime: Runtime, uri: str, rows: int) -> bool:
    try:
        return runtime.state.row_count(uri) >= rows
    except IntegrityError:
        return False


def _look_for_unreferenced(runtime: Runtime, differences: Differences) -> None:
    """First the files, then the ledger: what is written down meanwhile must not look unreferenced."""
    young_ms = (time.time() - GRACE_S) * 1000
    for fingerprint, files in groupby(runtime.state.list_files(_FOLDER), lambda file: fingerprint_of(file.path)):
        old = [file.path for file in files if file.modified_ms < young_ms]
        if old and _is_ours(runtime, fingerprint):
            named = runtime.ledger.vectors.files(fingerprint)
            nobodys = (path for path in old if path not in named)
            differences.add(*(Difference("unreferenced store file", "", "", path) for path in nobodys))


def _is_ours(runtime: Runtime, fingerprint: str) -> bool:
    """Of a collection that this pipeline has or had, or of none at all: files of others are their audits' business."""
    records = runtime.ledger.collections.of_fingerprint(fingerprint)
    return not records or any(record.pipeline == runtime.pipeline.name for record in records)
