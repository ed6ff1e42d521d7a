import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.vectorstore.key_ranges import KeyRange

IDS = st.text("0123456789abcdefghxyzABCXYZ_-", min_size=1, max_size=32)


def _covers(keys: KeyRange, each: str) -> bool:
    # The expressions are comparisons that Python reads as Milvus does.
    return bool(eval(keys.expression, {}, {"id": each}))  # noqa: S307 - our own expression


@given(IDS, st.integers(1, 9), st.integers(1, 4))
def test_every_id_is_in_exactly_one_range(each: str, parts: int, parts_of_parts: int) -> None:
    ranges = [inner for outer in KeyRange.everything().split(parts) for inner in outer.split(parts_of_parts)]
    assert [_covers(keys, each) for keys in ranges].count(True) == 1


@given(IDS, IDS)
def test_ranges_are_in_order_of_the_ids(left: str, right: str) -> None:
    ranges = KeyRange.everything().split(7)
    positions = [next(n for n, keys in enumerate(ranges) if _covers(keys, each)) for each in sorted([left, right])]
    assert positions == sorted(positions)


def test_hashes_spread_evenly() -> None:
    ranges = KeyRange.everything().split(16)
    assert [next(n for n, keys in enumerate(ranges) if _covers(keys, f"{digit:x}abc")) for digit in range(16)] == [
        *range(16)
    ]


def test_a_range_of_one_key_cannot_be_cut() -> None:
    with pytest.raises(IntegrityError, match="single row"):
        KeyRange(5, 6).split(2)
