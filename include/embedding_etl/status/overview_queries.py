"""What the overview shows, from the ledger; and what it asks Milvus, which may not answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from include.embedding_etl.diff import LOOK_AGAIN
from include.embedding_etl.errors import EmbeddingEtlError, IntegrityError
from include.embedding_etl.lane_changes import hash_limits
from include.embedding_etl.lane_collection import differences
from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import CollectionRecord, EntryTotals, LaneFigures, ObjectCounts, RunRecord
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.agreement import HeldRows, compare_milvus
from include.embedding_etl.wording import counted

LAST_RUNS = 30
WORK = ("embed", "sync")  # the stages that make rows

Sign = Literal["agrees", "does not agree", "cannot be told"]


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane, as the ledger knows it."""

    lane: str
    alias: str
    routed: int  # objects in storage that belong to it
    live: CollectionRecord | None
    settings: LaneSettings  # the live collection's, before the first run those of the file
    figures: LaneFigures | None
    differs: tuple[str, ...]  # keys of the pipeline file that wait for a reindex
    waiting_s: float | None  # since when the oldest object that is not indexed waits; None = none does
    chunks_per_s: float | None  # over the recent runs, in the time of embed and sync tasks
    model_share: float | None

    @property
    def is_demo(self) -> bool:
        """Whether its model is a small one of this repository, trained for the demo."""
        return self.settings.model.weights == "repository"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, summed up."""

    run_id: str
    kind: str
    state: str
    outcome: str  # the same in words, with why it was given up, if it was
    started_at_ms: int
    seconds: float  # until now, if it is at work
    embedded: int
    reused: int
    failed: int


@dataclass(frozen=True, slots=True)
class PipelineView:
    """One pipeline, as the ledger knows it."""

    objects: int
    unrouted: dict[str, int]
    skipped: dict[str, int]
    runs: list[RunView]  # the oldest first

    @property
    def unrouted_objects(self) -> int:
        """Objects that no lane accepts."""
        return sum(self.unrouted.values())


@dataclass(frozen=True, slots=True)
class LaneAgreement:
    """Whether ledger and Milvus say the same about one lane; where they do not, why, and what to do."""

    lane: str
    sign: Sign
    rows_ledger: int = 0
    rows_milvus: int | None = None
    dimension: int | None = None
    reason: str = ""
    advice: str = ""


def read_pipeline(runtime: Runtime) -> PipelineView:
    """What an index of the ledger answers."""
    pipeline, ledger = runtime.pipeline, runtime.ledger
    counts = ledger.objects.counts(pipeline.name)
    runs = ledger.runs.last(pipeline.name, LAST_RUNS)
    return PipelineView(
        objects=sum(counts.active.values()) + sum(counts.skipped.values()),
        unrouted={kind: n for kind, n in counts.active.items() if not lanes_for(kind, pipeline.lanes)},
        skipped=dict(counts.skipped),
        runs=[_run(run) for run in reversed(runs)],
    )


def read_lanes(runtime: Runtime) -> list[LaneView]:
    """Every lane by the ledger: objects and entries are joined, which takes time where there are many."""
    pipeline, ledger = runtime.pipeline, runtime.ledger
    counts, runs = ledger.objects.counts(pipeline.name), ledger.runs.last(pipeline.name, LAST_RUNS)
    return [_lane(runtime, lane, counts, runs) for lane in pipeline.lanes]


def read_agreement(runtime: Runtime) -> list[LaneAgreement]:
    """Ask Milvus about every lane. A server that does not answer is a result, not an error."""
    counts = runtime.ledger.objects.counts(runtime.pipeline.name)
    return [_agreement(runtime, lane, counts) for lane in runtime.pipeline.lanes]


def _lane(runtime: Runtime, lane: str, counts: ObjectCounts, runs: Sequence[RunRecord]) -> LaneView:
    pipeline, ledger = runtime.pipeline, runtime.ledger
    wanted = pipeline.lanes[lane]
    kinds = [kind for kind in counts.active if lane in lanes_for(kind, pipeline.lanes)]
    live = ledger.collections.live(pipeline.name, lane)
    figures, settings, differs = None, wanted, tuple[str, ...]()
    if live is not None:
        figures = _figures(runtime, live, counts)
        settings = LaneSettings.model_validate(live.settings["lane"])
        differs = differences(LaneSettings.model_validate(live.settings["as_written"]), wanted)
    oldest = figures.oldest_pending_ms if figures is not None else None
    work = [each for run in runs for each in run.stages if each.lane == lane and each.stage in WORK]
    seconds, model_s = sum(each.duration_s for each in work), sum(each.model_s for each in work)
    chunks = sum(each.counts.get("chunks", 0) for each in work)
    return LaneView(
        lane,
        pipeline.alias(lane),
        sum(counts.active[kind] for kind in kinds),
        live,
        settings,
        figures,
        differs,
        None if oldest is None else max(0.0, time.time() - oldest / 1000),
        chunks / seconds if chunks and seconds else None,
        model_s / seconds if chunks and seconds else None,
    )


def _run(run: RunRecord) -> RunView:
    def added(name: str) -> int:
        return sum(each.counts.get(name, 0) for each in run.stages)

    ended_at_ms = run.ended_at_ms or time.time() * 1000
    return RunView(
        run.run_id,
        run.kind,
        run.state,
        run.outcome,
        run.started_at_ms,
        max(0.0, (ended_at_ms - run.started_at_ms) / 1000),
        added("embedded"),
        added("reused"),
        added("dead_letters"),
    )


def _figures(runtime: Runtime, live: CollectionRecord, counts: ObjectCounts) -> LaneFigures:
    pipeline = runtime.pipeline
    kinds = [kind for kind in counts.active if live.lane in lanes_for(kind, pipeline.lanes)]
    return runtime.ledger.lanes.of_collection(live, kinds, hash_limits(pipeline.limits), LOOK_AGAIN)


def _agreement(runtime: Runtime, lane: str, counts: ObjectCounts) -> LaneAgreement:
    name = runtime.pipeline.name
    live = runtime.ledger.collections.live(name, lane)
    if live is None:
        start = f"Start the DAG ingest__{name}, or `etl run {name}`."
        return LaneAgreement(lane, "cannot be told", reason="Nothing is indexed yet.", advice=start)
    figures = _figures(runtime, live, counts)
    totals = EntryTotals(figures.indexed, figures.rows, figures.unfinished)
    try:
        held = compare_milvus(runtime, live.name, runtime.pipeline.alias(lane), totals)
        dimension = runtime.store.dimension(live.name) if held.rows is not None else None
    except IntegrityError as error:
        return LaneAgreement(lane, "does not agree", totals.rows, reason=str(error), advice=_audit(name))
    except EmbeddingEtlError as error:
        advice = "Look whether Milvus runs and whether its address and token are right, then load this page again."
        return LaneAgreement(lane, "cannot be told", totals.rows, reason=str(error), advice=advice)
    sign, reason, advice = _judge(runtime, live, figures, held)
    return LaneAgreement(lane, sign, totals.rows, held.rows, dimension, reason, advice)


def _judge(runtime: Runtime, live: CollectionRecord, figures: LaneFigures, held: HeldRows) -> tuple[Sign, str, str]:
    """Sign, reason, and what to do. Storage counts too, as it was listed last."""
    name = runtime.pipeline.name
    waiting = [
        (figures.pending, "of storage not indexed yet"),
        (figures.to_delete, "still indexed, but gone from storage"),
        (figures.deferred, "changed, or not readable, while a run looked"),
    ]
    behind = "; ".join(f"{counted(count, 'object')} {what}" for count, what in waiting if count)
    if not held.problem and not behind:
        return "agrees", "", ""
    lease = runtime.ledger.leases.find(live.name)
    if held.rows is not None and lease is not None and lease.expires_at_ms > time.time() * 1000:
        return "cannot be told", f"{lease.owner} is writing to it now.", "Load this page again when that run has ended."
    if held.rows is None:
        again = f"`etl reindex {name} {live.lane} --rebuild index` makes it anew without calling a model."
        return "does not agree", held.problem, again
    if held.problem:
        return "does not agree", held.problem, _audit(name)
    return "does not agree", behind, f"Start the DAG ingest__{name}, or `etl run {name}`."


def _audit(pipeline: str) -> str:
    return f"`etl audit {pipeline}` names the rows; with --repair it writes them again."
