"""Vectors by (fingerprint, content hash), as Parquet files under the state URI. Milvus gets nothing else.

A file holds many contents. It is written once, under a random name, and never changed; ledger.vectors says which
content is in which file. So the same bytes cost no second model call, whatever key they are stored under, and a lost
or redesigned index is filled again without any model.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import Vectors

NORM_TOLERANCE = 1e-3  # float32 sums over a few thousand dimensions stay well below


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """Where a vector's chunk lies in its object."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Embedding:
    """All vectors of one content, in the order of its chunks, with their provenance."""

    content_hash: str
    chunks: Sequence[StoredChunk]
    vectors: Vectors  # (len(chunks), dimension)


def check_vectors(vectors: Vectors, dimension: int, whose: str) -> None:
    """Refuse vectors that would spoil an index without anybody noticing.

    Raises:
        IntegrityError: wrong shape, not finite, or not of unit norm.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise IntegrityError(f"{whose}: vectors of shape {vectors.shape}, but the collection has dimension {dimension}")
    if not np.isfinite(vectors).all():
        raise IntegrityError(f"{whose}: the model returned vectors with NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    if vectors.shape[0] and float(np.abs(norms - 1.0).max()) > NORM_TOLERANCE:
        raise IntegrityError(f"{whose}: vectors are not of unit norm (found {norms.min():.4f} to {norms.max():.4f})")


def write_embeddings(state: StateStore, fingerprint: str, dimension: int, embeddings: Sequence[Embedding]) -> str:
    """Write one new file and return its path below the state URI.

    Raises:
        IntegrityError: a vector fails `check_vectors`, or chunks and vectors do not pair up.
    """
    for embedding in embeddings:
        check_vectors(embedding.vectors, dimension, f"content {embedding.content_hash[:12]}")
        if len(embedding.chunks) != len(embedding.vectors) or not embedding.chunks:
            raise IntegrityError(
                f"content {embedding.content_hash[:12]}: "
                f"{len(embedding.chunks)} chunks, {len(embedding.vectors)} vectors"
            )
    flat = np.concatenate([embedding.vectors for embedding in embeddings]).astype(np.float32, copy=False)
    pairs = [(embedding, ordinal) for embedding in embeddings for ordinal in range(len(embedding.chunks))]
    table = pa.table(
        {
            "content_hash": [embedding.content_hash for embedding, _ in pairs],
            "ordinal": pa.array([ordinal for _, ordinal in pairs], pa.int64()),
            "start": pa.array([embedding.chunks[ordinal].start for embedding, ordinal in pairs], pa.int64()),
            "end": pa.array([embedding.chunks[ordinal].end for embedding, ordinal in pairs], pa.int64()),
            "text": [embedding.chunks[ordinal].text for embedding, ordinal in pairs],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), dimension),
        }
    )
    path = f"embeddings/{fingerprint}/{uuid.uuid4().hex}.parquet"
    state.write_table(path, table, metadata={"fingerprint": fingerprint, "dimension": str(dimension)})
    return path


def read_embeddings(
    state: StateStore, path: str, dimension: int, wanted: AbstractSet[str] | None = None
) -> Iterator[Embedding]:
    """The contents of one file, all or the wanted ones.

    Raises:
        IntegrityError: the file is damaged or its vectors fail `check_vectors`.
    """
    table = state.read_table(path)
    hashes = table.column("content_hash").to_pylist()
    vectors = table.column("vector").combine_chunks().flatten().to_numpy().reshape(len(hashes), -1)
    check_vectors(vectors, dimension, path)
    places = table.select(["start", "end", "text"]).to_pylist()
    for content_hash, first, last in _runs(hashes):
        if wanted is None or content_hash in wanted:
            chunks = [StoredChunk(place["start"], place["end"], place["text"]) for place in places[first:last]]
            yield Embedding(content_hash, chunks, vectors[first:last])


def _runs(values: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """(value, first, behind last) of each run of equal values."""
    first, current, index = 0, None, -1
    for index, value in enumerate(values):
        if value != current:
            if current is not None:
                yield current, first, index
            first, current = index, value
    if current is not None:
        yield current, first, index + 1
