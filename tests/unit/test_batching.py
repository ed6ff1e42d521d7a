"""Batches by weight."""

from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl.batching import batched


@given(st.lists(st.integers(0, 30)), st.integers(1, 20))
def test_nothing_is_lost_and_no_batch_is_too_heavy(items: list[int], size: int) -> None:
    batches = list(batched(items, size, weight=lambda item: item))
    assert [item for batch in batches for item in batch] == items
    assert all(sum(batch) <= size or len(batch) == 1 for batch in batches)
    assert all(batches)
