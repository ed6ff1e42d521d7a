"""Vectors by content, on real Parquet files."""

from pathlib import Path

import numpy as np
import pytest

from include.embedding_etl.embedding_store import (
    Embedding,
    StoredChunk,
    check_vectors,
    read_embeddings,
    write_embeddings,
)
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.places import Places
from include.embedding_etl.state import StateStore

FINGERPRINT = "f" * 64


def unit(count: int, dimension: int = 4, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedding(content_hash: str, count: int, seed: int = 0) -> Embedding:
    chunks = [StoredChunk(10 * n, 10 * n + 9, f"text {n} of {content_hash} ü\n") for n in range(count)]
    return Embedding(content_hash, chunks, unit(count, seed=seed))


@pytest.fixture
def state(tmp_path: Path) -> StateStore:
    return StateStore(str(tmp_path), Places(_env_file=None))


def test_what_was_written_is_read_back_exactly(state: StateStore) -> None:
    written = [embedding("b" * 64, 3, seed=1), embedding("a" * 64, 1, seed=2), embedding("c" * 64, 2, seed=3)]
    path = write_embeddings(state, FINGERPRINT, 4, written)
    read = list(read_embeddings(state, path, 4))
    assert [item.content_hash for item in read] == [item.content_hash for item in written]
    for before, after in zip(written, read, strict=True):
        assert list(after.chunks) == list(before.chunks)
        np.testing.assert_array_equal(after.vectors, before.vectors)


def test_only_the_wanted_contents_are_read(state: StateStore) -> None:
    path = write_embeddings(state, FINGERPRINT, 4, [embedding(letter * 64, 2) for letter in "abc"])
    assert [item.content_hash[0] for item in read_embeddings(state, path, 4, {"c" * 64, "x" * 64})] == ["c"]


def test_two_writes_never_share_a_file(state: StateStore) -> None:
    assert write_embeddings(state, FINGERPRINT, 4, [embedding("a" * 64, 1)]) != write_embeddings(
        state, FINGERPRINT, 4, [embedding("a" * 64, 1)]
    )


def test_pain_08_the_path_names_the_whole_fingerprint(state: StateStore) -> None:
    assert FINGERPRINT in write_embeddings(state, FINGERPRINT, 4, [embedding("a" * 64, 1)])


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (unit(2) * 2, "unit norm"),
        (np.full((2, 4), np.nan, np.float32), "NaN"),
        (np.zeros((2, 4), np.float32), "unit norm"),
        (unit(2, dimension=5), "dimension 4"),
    ],
)
def test_pain_14_vectors_that_would_spoil_an_index_are_refused(
    state: StateStore, vectors: np.ndarray, words: str
) -> None:
    chunks = [StoredChunk(0, 1, "x")] * 2
    with pytest.raises(IntegrityError, match=words):
        write_embeddings(state, FINGERPRINT, 4, [Embedding("a" * 64, chunks, vectors)])
    with pytest.raises(IntegrityError, match=words):
        check_vectors(vectors, 4, "test")


def test_a_short_batch_never_loses_a_vector_silently(state: StateStore) -> None:
    with pytest.raises(IntegrityError, match="2 chunks, 1 vectors"):
        write_embeddings(state, FINGERPRINT, 4, [Embedding("a" * 64, [StoredChunk(0, 1, "x")] * 2, unit(1))])


def test_a_damaged_file_is_told(state: StateStore, tmp_path: Path) -> None:
    path = write_embeddings(state, FINGERPRINT, 4, [embedding("a" * 64, 50)])
    file = tmp_path / path
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(IntegrityError):
        list(read_embeddings(state, path, 4))
