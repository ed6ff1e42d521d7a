"""A sentence about one thing is not a sentence about many."""

import pytest

from include.embedding_etl.wording import counted


@pytest.mark.parametrize(("count", "told"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12_345, "12,345 rows")])
def test_what_is_counted_is_named_by_its_number(count: int, told: str) -> None:
    assert counted(count, "row") == told


def test_the_verb_agrees_with_the_number() -> None:
    told = [counted(count, "query is asked", "queries are asked") for count in (1, 2)]
    assert told == ["1 query is asked", "2 queries are asked"]
