"""report: storage, ledger and Milvus must agree. Anything that is unaccounted for makes the run red."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from include.embedding_etl.diff import LOOK_AGAIN, UNREADABLE, Action, Change, compare_listing, merge
from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection, find_live
from include.embedding_etl.ledger.records import RunRecord
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import Snapshot, iter_snapshot, read_snapshot
from include.embedding_etl.stage_figures import stage
from include.embedding_etl.turn import give_turn_back
from include.embedding_etl.types import JsonValue, ListedObject
from include.embedding_etl.wording import counted

PENDING = (Action.EMBED, Action.RELABEL, Action.DELETE)
SUMMED = ("embedded", "reused", "chunks", "model_calls", "rows", "stale_deleted", "rows_deleted", "deferred")


@dataclass(slots=True)
class LaneReport:
    """One lane after the run, as storage, ledger and Milvus see it."""

    alias: str
    collection: str = ""
    objects: int = 0  # routed to this lane
    indexed: int = 0  # verified in Milvus at their current version
    dead_letters: int = 0  # open, for the current version
    dismissed: int = 0  # the same, but a person said that it will do without
    deferred: int = 0  # changed while they were read, or not readable: the next run looks again
    pending: int = 0  # should have been done by this run and was not
    rows_ledger: int = 0
    rows_milvus: int | None = None  # None = there is no such collection
    figures: dict[str, int] = field(default_factory=dict)  # of this run
    seconds: float = 0.0  # embed and sync, added up over shards
    model_s: float = 0.0
    differs: tuple[str, ...] = ()  # configuration that waits for a reindex


@dataclass(slots=True)
class Report:
    """Whether the run may call itself done."""

    pipeline: str
    run_id: str
    prefix: str = ""  # all figures are about objects whose keys begin so; "" = all
    listed: int = 0
    known: int = 0
    unrouted: dict[str, int] = field(default_factory=dict)  # media type -> objects that no lane accepts
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> objects
    vanished: int = 0
    lanes: dict[str, LaneReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def green(self) -> bool:
        """Nothing is unaccounted for."""
        return not self.problems

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json`."""
        return {**asdict(self), "green": self.green}


def report(runtime: Runtime, run_id: str, failures: Sequence[str] = ()) -> Report:
    """Count everything again, after all writes, and end the run in the ledger.

    Args:
        failures: What the caller saw go wrong in earlier stages; each makes the run red.
    Returns:
        The report. A red run raises nothing: look at `green`.
    """
    result = Report(runtime.pipeline.name, run_id, problems=list(failures))
    with stage(runtime, run_id, "report"):
        listing = _compare_storage(runtime, run_id, result)
        _count_objects(runtime, result)
        run = runtime.ledger.runs.get(run_id)
        for lane in runtime.pipeline.lanes:
            result.lanes[lane] = LaneReport(runtime.pipeline.alias(lane))
            try:
                _fill_lane(runtime, lane, run, listing, result)
            except EmbeddingEtlError as error:
                result.problems.append(f"lane {lane}: {error}")
        _check_failures(runtime, result)
    runtime.ledger.runs.finish(run_id, "succeeded" if result.green else "failed")
    give_turn_back(runtime, run_id)
    return result


def _compare_storage(runtime: Runtime, run_id: str, result: Report) -> Snapshot | None:
    """The snapshot against ledger.objects, by key and version: counts alone would miss a change nobody looked at.

    Returns:
        The snapshot, if another run has listed the source since: what only that one saw is not this run's to do.
    """
    pipeline = runtime.pipeline
    try:
        snapshot = read_snapshot(runtime.state, RunFiles(pipeline.name, run_id).snapshot)
        result.listed, result.prefix = snapshot.objects, snapshot.prefix
        if runtime.ledger.leases.token(runtime.listing) != snapshot.token:
            return snapshot
        differences = compare_listing(
            iter_snapshot(runtime.state, snapshot), runtime.ledger.objects.stream(pipeline.name, snapshot.prefix)
        )
        unseen = sum(1 for _, record in differences if record is None or record.skip_reason not in LOOK_AGAIN)
    except EmbeddingEtlError as error:
        result.problems.append(f"this run has no complete listing of {pipeline.source.uri}: {error}")
        return None
    if unseen:
        result.problems.append(f"{counted(unseen, 'object')} of the listing not identified by this run")
    return None


def _count_objects(runtime: Runtime, result: Report) -> None:
    counts = runtime.ledger.objects.counts(result.pipeline, result.prefix)
    result.unrouted = {kind: n for kind, n in counts.active.items() if not lanes_for(kind, runtime.pipeline.lanes)}
    result.skipped, result.vanished = dict(counts.skipped), counts.vanished
    result.known = sum(counts.active.values()) + sum(counts.skipped.values())


def _fill_lane(runtime: Runtime, lane: str, run: RunRecord | None, listing: Snapshot | None, whole: Report) -> None:
    result, problems, prefix = whole.lanes[lane], whole.problems, whole.prefix
    _add_figures(result, lane, run)
    live = find_live(runtime, lane)
    if live is None:
        problems.append(f"lane {lane}: it has no collection yet, since this run did not get that far")
        return
    result.collection, result.differs = live.name, live.differs
    actions: Counter[Action] = Counter()
    letters = runtime.ledger.dead_letters.dismissed_for(live.pipeline, lane, live.fingerprint, prefix)
    for change, dismissed in merge(_judged(runtime, live, listing, prefix), letters, lambda a: a.key, lambda b: b.key):
        if change is not None:
            actions[change.action] += 1
            result.dismissed += change.action is Action.DEAD and dismissed is not None
    result.indexed, result.dead_letters = actions[Action.KEEP], actions[Action.DEAD] - result.dismissed
    result.deferred = actions[Action.DEFER]
    result.pending = sum(actions[action] for action in PENDING)
    result.objects = sum(actions.values()) - actions[Action.DELETE] - actions[Action.DEFER]
    if result.pending:
        problems.append(
            f"lane {lane}: not done by this run: "
            + ", ".join(f"{actions[action]} to {action.value}" for action in PENDING if actions[action])
            + ". The failed tasks say why; the next run goes on from here."
        )
    _compare_milvus(runtime, live, whole)


def _judged(runtime: Runtime, live: LaneCollection, listing: Snapshot | None, prefix: str) -> Iterator[Change]:
    """What this run answers for: without the work that only a later listing has brought."""
    changes = lane_changes(runtime, live, prefix)
    if listing is None:
        yield from changes
        return
    objects = iter_snapshot(runtime.state, listing)
    for change, listed in merge(changes, objects, lambda item: item.key, lambda item: item.key):
        if change is not None and not (change.action in PENDING and _came_later(change, listed)):
            yield change


def _came_later(change: Change, listed: ListedObject | None) -> bool:
    record = change.record
    if change.action is Action.DELETE:
        return listed is not None and (record is None or record.vanished or not record.same_version(listed))
    return record is not None and (listed is None or not record.same_version(listed))


def _compare_milvus(runtime: Runtime, live: LaneCollection, whole: Report) -> None:
    result, problems = whole.lanes[live.lane], whole.problems
    totals = runtime.ledger.entries.totals(live.name, whole.prefix)
    result.rows_ledger = totals.rows
    mend = f"trigger the DAG audit with `repair`, or: `etl audit {runtime.pipeline.name} --repair`"
    if not runtime.store.has_collection(live.name):
        problems.append(
            f"lane {live.lane}: Milvus has no collection {live.name}, where "
            f"{counted(totals.rows, 'row')} of {counted(totals.objects, 'object')} should be; {mend}"
        )
        return
    result.rows_milvus = runtime.store.count(live.name, whole.prefix)
    if result.rows_milvus != totals.rows:
        missing = totals.rows - result.rows_milvus
        kind = (
            counted(missing, "is missing", "are missing")
            if missing > 0
            else counted(-missing, "is too many", "are too many")
        )
        problems.append(
            f"lane {live.lane}: Milvus holds {counted(result.rows_milvus, 'row')} in {live.name}, the ledger verified "
            f"{totals.rows}: {kind}; {mend}"
        )
    target = runtime.store.alias_target(live.alias)
    if target != live.name:
        problems.append(
            f"lane {live.lane}: alias {live.alias} points at {target or 'nothing'}, not at {live.name}; {mend}"
        )


def _add_figures(result: LaneReport, lane: str, run: RunRecord | None) -> None:
    result.figures = dict.fromkeys(SUMMED, 0)
    for totals in run.totals() if run is not None else []:
        if totals.lane == lane:
            result.seconds += totals.duration_s
            result.model_s += totals.model_s
            for name in SUMMED:
                result.figures[name] += totals.counts.get(name, 0)


def _check_failures(runtime: Runtime, result: Report) -> None:
    unreadable = result.skipped.get(UNREADABLE, 0)  # nobody could look which lane they belong to
    routed = sum(lane.objects for lane in result.lanes.values()) + unreadable
    dead = sum(lane.dead_letters for lane in result.lanes.values()) + unreadable
    allowed = runtime.pipeline.thresholds.max_failed_fraction
    if routed and dead / routed > allowed:
        result.problems.append(
            f"{dead} of {routed} objects are dead letters or not readable, "
            f"more than max_failed_fraction ({allowed:.0%}) allows"
        )
