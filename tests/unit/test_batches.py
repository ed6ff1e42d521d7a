import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl.vectorstore.batches import by_count, cut


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_runs_keep_every_item_in_order_and_both_limits(sizes: list[int], max_rows: int, max_bytes: int) -> None:
    items = list(range(len(sizes)))
    runs = [list(run) for run in cut(items, sizes, max_rows, max_bytes)]
    assert [item for run in runs for item in run] == items
    for run in runs:
        assert 1 <= len(run) <= max_rows
        assert len(run) == 1 or sum(sizes[item] for item in run) <= max_bytes


def test_runs_are_as_long_as_they_may_be() -> None:
    assert [list(run) for run in cut("abcdefg", [4, 4, 4, 1, 1, 1, 9], 3, 8)] == [
        ["a", "b"],
        ["c", "d", "e"],
        ["f"],
        ["g"],
    ]


@pytest.mark.parametrize(("count", "lengths"), [(0, []), (3, [3]), (7, [3, 3, 1])])
def test_by_count(count: int, lengths: list[int]) -> None:
    assert [len(run) for run in by_count(range(count), 3)] == lengths
