"""Several batches at a model at once, and their answers in the order of the batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from include.embedding_etl.errors import EmbeddingEtlError

Batch = TypeVar("Batch")
Answer = TypeVar("Answer")


def in_order(
    call: Callable[[Batch], Answer], batches: Iterable[Batch], at_once: int
) -> Iterator[tuple[Batch, Future[Answer]]]:
    """Call with every batch; yield each with its answer or error, in order.

    Args:
        call: In other threads where `at_once` is more than 1, else in this one.
        batches: The next one is taken when there is room for it, and not before.
        at_once: How many calls may run at a time.
    """
    if at_once == 1:
        for batch in batches:
            yield batch, _called(call, batch)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="model-call") as threads:
        coming = iter(batches)
        flying = deque((batch, threads.submit(call, batch)) for batch in islice(coming, at_once))
        while flying:
            first = flying.popleft()
            wait([first[1]])
            flying.extend((batch, threads.submit(call, batch)) for batch in islice(coming, 1))
            yield first


def _called(call: Callable[[Batch], Answer], batch: Batch) -> Future[Answer]:
    future: Future[Answer] = Future()
    try:
        future.set_result(call(batch))
    except EmbeddingEtlError as error:
        future.set_exception(error)
    return future
