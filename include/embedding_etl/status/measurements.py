"""The state of one pipeline as samples of the catalogue: for the report's task and for Prometheus."""

import time
from collections.abc import Iterator

from include.embedding_etl.ledger.records import LaneFigures, LetterFilter
from include.embedding_etl.metric_catalogue import (
    AGREEMENT,
    CUTOVERS,
    DEAD_LETTERS,
    EMBEDDED_CHUNKS,
    FRESHNESS,
    FRESHNESS_TARGET,
    LAST_SUCCESS,
    MODEL_SECONDS,
    OBJECTS,
    REUSED_CHUNKS,
    ROWS,
    ROWS_WRITTEN,
    UNROUTED,
    Sample,
)
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.overview_queries import LaneView, read_agreement, read_lanes, read_pipeline


def measure_state(runtime: Runtime) -> Iterator[Sample]:
    """All gauges of a pipeline, as of now.

    Raises:
        TransientError: the ledger does not answer. A Milvus that does not is no error: its samples are left out.
    """
    pipeline = runtime.pipeline
    labels = {"pipeline": pipeline.name}
    if pipeline.freshness_target_h is not None:
        yield Sample(FRESHNESS_TARGET, pipeline.freshness_target_h * 3600, labels)
    ended_at_ms = runtime.ledger.runs.last_success_ms(pipeline.name)
    if ended_at_ms is not None:
        yield Sample(LAST_SUCCESS, ended_at_ms / 1000, labels)
    yield Sample(UNROUTED, read_pipeline(runtime).unrouted_objects, labels)
    for view in read_lanes(runtime):
        yield from _lane(runtime, view)
    for agreement in read_agreement(runtime):
        lane = {**labels, "lane": agreement.lane}
        if agreement.rows_milvus is not None:
            yield Sample(ROWS, agreement.rows_milvus, {**lane, "place": "milvus"})
        if agreement.sign != "cannot be told":
            yield Sample(AGREEMENT, float(agreement.sign == "agrees"), lane)


def measure_work(runtime: Runtime) -> Iterator[Sample]:
    """All counters of a pipeline, from the runs that have ended: a shard that is tried again replaces its figures."""
    pipeline = runtime.pipeline
    done = runtime.ledger.runs.work_done(pipeline.name)
    for lane in pipeline.lanes:
        labels, work = {"pipeline": pipeline.name, "lane": lane}, done.get(lane)
        switches = runtime.ledger.collections.cutovers(pipeline.alias(lane))
        yield Sample(CUTOVERS, sum(one.from_name is not None for one in switches), labels)
        yield Sample(EMBEDDED_CHUNKS, work.embedded_chunks if work else 0, labels)
        yield Sample(REUSED_CHUNKS, work.reused_chunks if work else 0, labels)
        yield Sample(MODEL_SECONDS, work.model_s if work else 0.0, labels)
        yield Sample(ROWS_WRITTEN, work.rows_written if work else 0, labels)


def _lane(runtime: Runtime, view: LaneView) -> Iterator[Sample]:
    labels = {"pipeline": runtime.pipeline.name, "lane": view.lane}
    if view.live is None or view.figures is None:
        # Nothing is indexed: everything waits, and since when is not known without a collection to compare with.
        yield Sample(OBJECTS, view.routed, {**labels, "state": "pending"})
        return
    yield Sample(FRESHNESS, view.waiting_s or 0.0, labels)
    for state, count in states(view.figures).items():
        yield Sample(OBJECTS, count, {**labels, "state": state})
    yield Sample(ROWS, view.figures.rows, {**labels, "place": "ledger"})
    letters = runtime.ledger.dead_letters
    known = letters.figures(LetterFilter(runtime.pipeline.name, view.lane, state="all"), int(time.time() * 1000))
    counts = letters.counts(runtime.pipeline.name, {view.lane: view.live.fingerprint}).get(view.lane, {})
    # A class whose letters are all resolved is 0: statsd would go on showing the last figure that it was given.
    for error_class in sorted({one.error_class for one in known} | set(counts)):
        yield Sample(DEAD_LETTERS, counts.get(error_class, 0), {**labels, "error_class": error_class})


def states(figures: LaneFigures) -> dict[str, int]:
    """Objects of a lane by state."""
    return {
        "indexed": figures.indexed,
        "pending": figures.pending,
        "dead": figures.dead_letters,
        "dismissed": figures.dismissed,
        "deferred": figures.deferred,
        "to_delete": figures.to_delete,
    }
