"""What the ledger hands out and takes in, beside `types.ObjectRecord` and `types.Entry`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from include.embedding_etl.ledger.process import ProcessIdentity
from include.embedding_etl.types import JsonValue

CollectionState: TypeAlias = Literal["live", "candidate", "retired"]
RunState: TypeAlias = Literal["running", "succeeded", "failed"]
RunKind: TypeAlias = Literal["ingest", "backfill", "reindex", "rollback", "audit"]  # backfill: a part of the source
ReindexState: TypeAlias = Literal["building", "verified", "rejected", "failed", "cut over"]


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """How many objects of a pipeline are in which condition."""

    active: Mapping[str, int]  # media type -> objects that are neither skipped nor vanished
    skipped: Mapping[str, int]  # reason -> objects
    vanished: int  # tombstones


class EntryTotals(NamedTuple):
    """What the ledger claims about a collection; unpacks as a tuple."""

    objects: int  # with a verified version
    rows: int  # verified
    unfinished: int  # begun, to be written again, or cut short by a crash


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """Where the objects of a lane stand in one of its collections."""

    routed: int  # objects that should have rows
    indexed: int  # of those, with verified rows of their current version
    pending: int  # neither that nor held back by a letter
    to_delete: int  # objects with rows that the lane should not have any more
    dead_letters: int  # held back by an open letter
    dismissed: int  # the same, but a person said that it will do without
    deferred: int  # changed while they were read, or not readable: the next run looks again
    oldest_pending_ms: int | None  # when the oldest of the pending ones was stored
    rows: int  # verified
    unfinished: int  # objects whose writing was begun and not verified


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Where the vectors of one content are in the embedding store."""

    uri: str
    rows: int


@dataclass(frozen=True, slots=True)
class Letter:
    """One failure of one object, as the caller saw it."""

    key: str
    version: str
    stage: str
    error_class: str
    message: str
    run_id: str
    task: str = ""
    limits_hash: str | None = None  # of the limits that it failed under


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One failure of one version of one object in one lane, as the ledger keeps it."""

    id: int
    pipeline: str
    lane: str
    key: str
    version: str
    fingerprint: str
    stage: str
    error_class: str
    message: str
    attempts: int  # of this version since a person last asked for another try; 0 = has just asked
    first_at_ms: int
    last_at_ms: int
    resolved_at_ms: int | None  # None = open
    run_id: str
    task: str  # stage and shard that saw it last
    dismissed_at_ms: int | None  # a person said that this version will do without: not tried, not counted
    limits_hash: str | None  # of the limits that it failed under; None = written before letters remembered it
    dismiss_reason: str | None = None  # in that person's words; None = not dismissed
    dismissed_by: str | None = None

    @property
    def state(self) -> str:
        """open, dismissed or resolved."""
        if self.resolved_at_ms is not None:
            return "resolved"
        return "open" if self.dismissed_at_ms is None else "dismissed"


LetterState: TypeAlias = Literal["open", "dismissed", "unresolved", "resolved", "all"]


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters; what is None narrows nothing down."""

    pipeline: str | None = None
    lane: str | None = None
    error_class: str | None = None
    stage: str | None = None
    key: str | None = None
    state: LetterState = "open"
    since_ms: int | None = None  # failed at this time or later
    fingerprints: Mapping[str, str] | None = None  # lane -> the fingerprint of the collection that is meant
    ids: Sequence[int] | None = None
    key_prefix: str = ""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The letters of one error class: how many, and on which days they were new."""

    error_class: str
    letters: int
    last_at_ms: int
    new_by_day: Mapping[int, int]  # days since 1970 (UTC) -> letters that failed first on that day


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A physical collection and the lane settings it was built with."""

    name: str
    pipeline: str
    lane: str
    fingerprint: str
    settings: Mapping[str, JsonValue]
    state: CollectionState
    created_at_ms: int
    drop_after_ms: int | None = None  # when retention may drop it; None = it stays
    dropped_at_ms: int | None = None  # it is gone from Milvus; its history stays


@dataclass(frozen=True, slots=True)
class Cutover:
    """One switch of an alias."""

    alias: str
    from_name: str | None  # None = the alias was new
    to_name: str
    run_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReindexRecord:
    """One reindex or rollback: which collection was to replace which, and what came of it."""

    run_id: str
    pipeline: str
    lane: str
    state: ReindexState
    request: Mapping[str, JsonValue]
    candidate: str
    replaces: str
    verification: Mapping[str, JsonValue]  # {} until it was verified
    started_at_ms: int
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What one audit found."""

    id: int
    pipeline: str
    run_id: str
    at_ms: int
    faults: int
    findings: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to one collection. Later holders have greater tokens."""

    collection: str
    owner: str
    token: int
    expires_at_ms: int
    ttl_s: float = 300


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What one shard of one stage did. `lane` is "" and `shard` 0 for stages that are not cut up."""

    stage: str
    lane: str
    shard: int
    counts: Mapping[str, int]
    duration_s: float
    model_s: float


@dataclass(frozen=True, slots=True)
class StageTotals:
    """What all shards of one stage and lane did."""

    stage: str
    lane: str
    shards: int
    counts: Mapping[str, int]
    duration_s: float  # added up: more than the wall time where shards ran side by side
    model_s: float


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What all runs that have ended did for one lane, added up."""

    embedded_chunks: int
    reused_chunks: int
    rows_written: int
    model_s: float


@dataclass(frozen=True, slots=True)
class RunLife:
    """When a run that has not ended showed life for the last time."""

    run_id: str
    seen_at_ms: int
    leased_until_ms: int  # its leases that nobody took over are good until then; 0 = it has none
    process: ProcessIdentity | None  # in which all of it lives; None = it may be anywhere


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, with its figures per stage, lane and shard in the order in which they were first reported."""

    run_id: str
    pipeline: str
    state: RunState
    started_at_ms: int
    ended_at_ms: int | None
    stages: tuple[StageRecord, ...] = field(default=())
    kind: RunKind = "ingest"
    given_up: str | None = None  # why somebody else closed it

    @property
    def outcome(self) -> str:
        """Its state in words. One that never said how it ended is no failure like others: its log names no error."""
        return self.state if self.given_up is None else f"{self.state}; given up: {self.given_up}"

    def totals(self) -> list[StageTotals]:
        """The figures of all shards added up, per stage and lane."""
        groups: dict[tuple[str, str], list[StageRecord]] = defaultdict(list)
        for record in self.stages:
            groups[record.stage, record.lane].append(record)
        return [
            StageTotals(
                stage,
                lane,
                len(records),
                _added(record.counts for record in records),
                sum(record.duration_s for record in records),
                sum(record.model_s for record in records),
            )
            for (stage, lane), records in groups.items()
        ]


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for figures in counts:
        for name, figure in figures.items():
            total[name] += figure
    return dict(total)
