"""What the page of collections shows: what each lane has, what replaced what, and what may be asked for now."""

import time
from dataclasses import dataclass

from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import CollectionRecord, EntryTotals, ReindexRecord
from include.embedding_etl.runtime import Runtime

LAST_REINDEXES = 30
ROLES = {"live": "live", "retired": "previous", "candidate": "candidate"}
ORDER = {"live": 0, "retired": 1, "candidate": 2}


@dataclass(frozen=True, slots=True)
class CollectionView:
    """One physical collection."""

    record: CollectionRecord
    settings: LaneSettings
    totals: EntryTotals

    @property
    def role(self) -> str:
        """What it is to its lane, in one word."""
        return ROLES[self.record.state]

    @property
    def is_due(self) -> bool:
        """Whether its time is over: the next clearing up drops it."""
        return self.record.drop_after_ms is not None and self.record.drop_after_ms < time.time() * 1000


@dataclass(frozen=True, slots=True)
class ReindexView:
    """One reindex or rollback."""

    record: ReindexRecord
    is_rollback: bool
    rows: int | None  # None = it was not verified
    recall: float | None
    overlap: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LaneCollections:
    """What a lane has."""

    lane: str
    alias: str
    collections: list[CollectionView]
    at_work: str  # the run that reindexes it now; "" = none

    @property
    def has_live(self) -> bool:
        """Whether there is something to replace."""
        return any(each.record.state == "live" for each in self.collections)


def read_collections(runtime: Runtime) -> list[LaneCollections]:
    """Every lane's collections: the live one, then those before it, then candidates; the newest of each first."""
    pipeline, ledger = runtime.pipeline, runtime.ledger
    records = sorted(
        ledger.collections.of_pipeline(pipeline.name), key=lambda each: (ORDER[each.state], -each.created_at_ms)
    )
    lanes = []
    for lane in pipeline.lanes:
        lease = ledger.leases.find(runtime.reindexing(lane))
        views = [
            CollectionView(
                record, LaneSettings.model_validate(record.settings["lane"]), ledger.entries.totals(record.name)
            )
            for record in records
            if record.lane == lane
        ]
        at_work = lease.owner if lease is not None and lease.expires_at_ms > time.time() * 1000 else ""
        lanes.append(LaneCollections(lane, pipeline.alias(lane), views, at_work))
    return lanes


def read_reindexes(runtime: Runtime) -> list[ReindexView]:
    """The newest first."""
    return [_reindex(record) for record in runtime.ledger.reindexes.last(runtime.pipeline.name, LAST_REINDEXES)]


def _reindex(record: ReindexRecord) -> ReindexView:
    found = record.verification
    problems = found.get("problems")
    return ReindexView(
        record,
        is_rollback=bool(record.request.get("earlier")),
        rows=int(rows) if isinstance(rows := found.get("rows"), int) else None,
        recall=float(recall) if isinstance(recall := found.get("recall"), int | float) else None,
        overlap=float(overlap) if isinstance(overlap := found.get("overlap"), int | float) else None,
        problems=tuple(str(each) for each in problems) if isinstance(problems, list) else (),
    )
