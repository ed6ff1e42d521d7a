"""Cut what is to be sent into calls that a server takes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

MAX_ROWS = 1_000
MAX_BYTES = 16 << 20  # a quarter of the 64 MB at which a server refuses: our sizes are estimates


def cut(items: Sequence[Item], sizes: Sequence[int], max_rows: int, max_bytes: int) -> Iterator[Sequence[Item]]:
    """Runs of items, in order, within both limits; an item that is larger than `max_bytes` is a run of its own."""
    first = total = 0
    for position, size in enumerate(sizes):
        if position > first and (position - first >= max_rows or total + size > max_bytes):
            yield items[first:position]
            first, total = position, 0
        total += size
    if items:
        yield items[first:]


def by_count(items: Sequence[Item], max_rows: int = MAX_ROWS) -> Iterator[Sequence[Item]]:
    """Runs of at most `max_rows` items, in order."""
    return (items[first : first + max_rows] for first in range(0, len(items), max_rows))
