"""Recall of an index against exact search, page by page."""

import numpy as np
import pytest

from include.embedding_etl.recall import NEIGHBOURS, ExactSearch
from include.embedding_etl.types import Hit

ROWS, DIMENSION = 300, 8


@pytest.fixture
def vectors() -> np.ndarray:
    made = np.random.default_rng(3).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def rows(vectors: np.ndarray) -> list[dict[str, object]]:
    return [
        {"id": f"{number:04d}", "object_key": f"k{number}", "vector": vector.tolist()}
        for number, vector in enumerate(vectors)
    ]


def fed(vectors: np.ndarray, sample: int = 20, page: int = 7) -> ExactSearch:
    exact = ExactSearch(sample)
    stored = rows(vectors)
    for first in range(0, len(stored), page):
        exact.see_page(stored[first : first + page])
    return exact


def hits(vectors: np.ndarray, query: int, skip: int = 0) -> list[Hit]:
    """What a perfect index answers; `skip` makes it miss the nearest ones."""
    scores = vectors @ vectors[query]
    order = [number for number in np.argsort(-scores) if number != query]
    found = [query, *order[skip : skip + NEIGHBOURS]]
    return [Hit(float(scores[number]), f"{number:04d}", {}) for number in found]


def test_a_perfect_index_has_recall_one_whatever_the_pages(vectors: np.ndarray) -> None:
    found = [hits(vectors, query) for query in range(20)]
    for page in (1, 7, 1000):
        assert fed(vectors, page=page).recall(found, "COSINE") == 1.0


def test_what_an_index_misses_lowers_the_recall(vectors: np.ndarray) -> None:
    found = [hits(vectors, query, skip=3) for query in range(20)]
    assert fed(vectors).recall(found, "COSINE") == pytest.approx(0.7)


def test_a_short_answer_counts_as_missed(vectors: np.ndarray) -> None:
    found = [hits(vectors, query)[:6] for query in range(20)]
    assert fed(vectors).recall(found, "COSINE") == pytest.approx(0.5)


def test_a_query_does_not_count_its_own_row(vectors: np.ndarray) -> None:
    found = [hits(vectors, query)[1:] for query in range(20)]  # an index that does not return it is as good
    assert fed(vectors).recall(found, "COSINE") == 1.0


def test_equal_vectors_may_be_found_in_any_order(vectors: np.ndarray) -> None:
    copies = np.concatenate([vectors[:1].repeat(100, axis=0), vectors])
    found = [
        [Hit(1.0, f"{number:04d}", {}) for number in range(80, 80 + NEIGHBOURS + 1)] for _ in range(20)
    ]  # all of them are copies of the queries
    assert fed(copies).recall(found, "COSINE") == 1.0


def test_scores_of_l2_are_distances(vectors: np.ndarray) -> None:
    found = [[Hit(2 - 2 * hit.score, hit.id, {}) for hit in hits(vectors, query, skip=3)] for query in range(20)]
    assert fed(vectors).recall(found, "L2") == pytest.approx(0.7)


def test_vectors_off_norm_are_counted(vectors: np.ndarray) -> None:
    vectors[5] *= 1.01
    vectors[6, 0] = np.nan
    exact = fed(vectors)
    assert (exact.rows, exact.off_norm) == (ROWS, 2)


def test_the_queries_are_the_first_rows(vectors: np.ndarray) -> None:
    exact = fed(vectors, sample=10)
    assert exact.ids == [f"{number:04d}" for number in range(10)]
    assert exact.keys == [f"k{number}" for number in range(10)]
    np.testing.assert_allclose(exact.queries, vectors[:10])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_collections_have_nothing_to_find(vectors: np.ndarray, count: int) -> None:
    exact = fed(vectors[:count])
    found = [hits(vectors[:count], query) for query in range(count)]
    assert exact.recall(found, "COSINE") == 1.0
