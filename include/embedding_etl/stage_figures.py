"""Every stage writes its own figures into the ledger: counts, seconds, and seconds spent in the model.

While a stage works, it keeps its run's turn (or its reindex's lease), so that the next run waits for it.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace

import structlog

from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.runtime import Runtime

log = structlog.get_logger()


class Figures(Counter[str]):
    """Counts of one stage; `model_s` is the time its model calls took."""

    model_s: float = 0.0


@contextmanager
def stage(runtime: Runtime, run_id: str, name: str, lane: str = "", shard: int = 0) -> Iterator[Figures]:
    """Time the block and record its figures, also when it fails: a retry replaces them."""
    figures = Figures()
    started = time.perf_counter()
    try:
        with ExitStack() as kept:
            for lease in (runtime.turn, runtime.reindexing(lane)):
                kept.enter_context(_keep(runtime, run_id, lease))
            yield figures
    finally:
        duration_s = time.perf_counter() - started
        runtime.ledger.runs.add_stage(run_id, name, dict(figures), duration_s, figures.model_s, lane=lane, shard=shard)
        log.info("stage ended", stage=name, lane=lane, shard=shard, duration_s=round(duration_s, 2), **figures)


def _keep(runtime: Runtime, run_id: str, name: str) -> AbstractContextManager[object]:
    """Extend a lease while the run works, if it is the run's."""
    lease = runtime.ledger.leases.find(name)
    if lease is None or lease.owner != run_id:
        return nullcontext()
    lease = replace(lease, ttl_s=runtime.places.lease_ttl_s)
    runtime.ledger.leases.extend(lease)
    return Heartbeat(runtime.ledger, lease)
