"""Sentences that begin with a number."""


def counted(count: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`; with both forms also `1 dead letter is due`, `2 dead letters are due`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
