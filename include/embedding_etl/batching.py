"""Cut a stream into lists, by count or by weight. Flat memory: one list at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int, weight: Callable[[Item], int] = lambda _: 1) -> Iterator[list[Item]]:
    """Lists whose weights add up to at most `size`; an item that is heavier on its own gets a list of its own."""
    batch: list[Item] = []
    total = 0
    for item in items:
        item_weight = weight(item)
        if batch and total + item_weight > size:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += item_weight
    if batch:
        yield batch
