"""The vectors in Milvus against those of the embedding store: all of a small collection, a sample of a large one.

Ids are hashes, so the first rows in their order are a uniform sample. Memory is bounded by a window of vectors.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.embedding_store import NORM_TOLERANCE, read_embeddings
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.row_comparison import StoredRow
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Vectors

SAMPLE_ROWS = 20_000
WINDOW_BYTES = 64 << 20  # of vectors: each file of the store is read once a window
COSINE_TOLERANCE = 1e-3
_FIELDS = ("object_key", "content_hash", "ordinal", "vector")


@dataclass(frozen=True, slots=True)
class _Stored:
    """One row, without its vector."""

    id: str
    key: str
    content_hash: str
    ordinal: int


def check_vectors(runtime: Runtime, collection: LaneCollection, differences: Differences) -> int:
    """Compare up to SAMPLE_ROWS vectors with the embedding store, and look at their norms.

    Returns:
        How many were compared: those whose content the store does not have (any more) are not.
    """
    compared = 0
    for rows, vectors in _windows(runtime, collection):
        norms = np.linalg.norm(vectors, axis=1)
        sound = np.isfinite(norms) & (np.abs(norms - 1.0) <= NORM_TOLERANCE)
        differences.add(*(_difference("vector off norm", collection, rows[at]) for at in np.flatnonzero(~sound)))
        compared += _compare(runtime, collection, rows, vectors, sound, differences)
    return compared


def _compare(
    runtime: Runtime,
    collection: LaneCollection,
    rows: Sequence[_Stored],
    vectors: Vectors,
    sound: Any,
    differences: Differences,
) -> int:
    numbers: dict[str, list[int]] = defaultdict(list)  # content hash -> rows of the window
    for number, row in enumerate(rows):
        if sound[number]:
            numbers[row.content_hash].append(number)
    files: dict[str, set[str]] = defaultdict(set)
    for content_hash, file in runtime.ledger.vectors.known(collection.fingerprint, list(numbers)).items():
        files[file.uri].add(content_hash)
    compared = 0
    for uri, wanted in sorted(files.items()):
        for content_hash, stored in _read(runtime, collection, uri, wanted, differences):
            for number in numbers[content_hash]:
                row = rows[number]
                if not 0 <= row.ordinal < len(stored):
                    continue  # an orphan: see rows.py
                compared += 1
                if float(vectors[number] @ stored[row.ordinal]) < 1.0 - COSINE_TOLERANCE:
                    differences.add(_difference("other vector", collection, row))
    return compared


def _read(
    runtime: Runtime, collection: LaneCollection, uri: str, wanted: set[str], differences: Differences
) -> Iterator[tuple[str, Vectors]]:
    """The vectors of some contents; a file that does not hold them is as good as lost."""
    left = set(wanted)
    try:
        for embedding in read_embeddings(runtime.state, uri, collection.info.dimension, wanted):
            left.discard(embedding.content_hash)
            yield embedding.content_hash, embedding.vectors
    except IntegrityError:  # damaged somewhere: lost, whatever it gave before
        left = wanted
    if left:
        differences.add(Difference("lost store file", "", "", uri))


def _windows(runtime: Runtime, collection: LaneCollection) -> Iterator[tuple[list[_Stored], Vectors]]:
    rows: list[_Stored] = []
    vectors: list[Vectors] = []
    limit = max(1, WINDOW_BYTES // (4 * collection.info.dimension))
    for page in _sampled(runtime.store.iterate(collection.name, _FIELDS)):
        rows += [_identity(row) for row in page]
        vectors.append(np.asarray([row["vector"] for row in page], np.float32))
        if len(rows) >= limit:
            yield rows, np.concatenate(vectors)
            rows, vectors = [], []
    if rows:
        yield rows, np.concatenate(vectors)


def _sampled(pages: Iterator[list[StoredRow]]) -> Iterator[list[StoredRow]]:
    left = SAMPLE_ROWS
    for page in pages:
        some = list(islice(page, left))
        yield some
        left -= len(some)
        if left <= 0:
            return


def _identity(row: StoredRow) -> _Stored:
    ordinal: Any = row["ordinal"]
    return _Stored(str(row["id"]), str(row["object_key"]), str(row["content_hash"]), int(ordinal))


def _difference(kind: str, collection: LaneCollection, row: _Stored) -> Difference:
    return Difference(kind, collection.lane, collection.name, row.id, row.key, row.ordinal)
