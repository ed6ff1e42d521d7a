"""Whether the ledger and Milvus agree right now, and how the last run ended. Lists nothing, changes nothing."""

from dataclasses import asdict, dataclass, field

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.lane_collection import find_live, live_fingerprints
from include.embedding_etl.ledger.records import EntryTotals, RunRecord
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import JsonValue
from include.embedding_etl.wording import counted


@dataclass(slots=True)
class LaneStatus:
    """One lane as the ledger and Milvus see it."""

    alias: str
    collection: str = ""
    model_id: str = ""
    fingerprint: str = ""
    dimension: int = 0
    index: str = ""
    pretrained: bool = False
    objects: int = 0  # with verified rows
    rows_ledger: int = 0
    rows_milvus: int | None = None
    dead_letters: dict[str, int] = field(
        default_factory=dict
    )  # error class -> open letters, without the dismissed ones
    differs: tuple[str, ...] = ()  # configuration differs from live: reindex to apply
    problem: str = ""


@dataclass(slots=True)
class Status:
    """A pipeline as the ledger and Milvus see it."""

    pipeline: str
    media_types: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    vanished: int = 0
    lanes: dict[str, LaneStatus] = field(default_factory=dict)
    last_run: RunRecord | None = None

    @property
    def agrees(self) -> bool:
        """Every lane's rows are where the ledger says they are."""
        return not any(lane.problem for lane in self.lanes.values())

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json`."""
        return {**asdict(self), "agrees": self.agrees}


def status(runtime: Runtime) -> Status:
    """Ask the ledger and Milvus."""
    name = runtime.pipeline.name
    counts = runtime.ledger.objects.counts(name)
    runs = runtime.ledger.runs.last(name, 1)
    result = Status(
        name, dict(counts.active), dict(counts.skipped), counts.vanished, last_run=runs[0] if runs else None
    )
    letters = runtime.ledger.dead_letters.counts(name, live_fingerprints(runtime))
    for lane in runtime.pipeline.lanes:
        result.lanes[lane] = LaneStatus(runtime.pipeline.alias(lane), dead_letters=dict(letters.get(lane, {})))
        try:
            _fill(runtime, lane, result.lanes[lane])
        except EmbeddingEtlError as error:
            result.lanes[lane].problem = str(error)
    return result


def _fill(runtime: Runtime, lane: str, result: LaneStatus) -> None:
    live = find_live(runtime, lane)
    if live is None:
        result.problem = f"nothing indexed yet; run `etl run {runtime.pipeline.name}`"
        return
    totals = runtime.ledger.entries.totals(live.name)
    result.collection, result.model_id, result.fingerprint = live.name, live.info.model_id, live.fingerprint
    result.dimension, result.index = live.info.dimension, f"{live.settings.index.type}/{live.settings.index.metric}"
    result.pretrained, result.differs = live.info.pretrained, live.differs
    result.objects, result.rows_ledger = totals.objects, totals.rows
    held = compare_milvus(runtime, live.name, live.alias, totals)
    result.rows_milvus, result.problem = held.rows, held.problem


@dataclass(frozen=True, slots=True)
class HeldRows:
    """What Milvus has of a live collection, and what is wrong with that."""

    rows: int | None  # None = there is no such collection
    problem: str  # "" = it is what the ledger says


def compare_milvus(runtime: Runtime, name: str, alias: str, totals: EntryTotals) -> HeldRows:
    """Hold what Milvus has against what the ledger verified. No model is looked for.

    Raises:
        TransientError: Milvus does not answer: nothing can be said.
    """
    if not runtime.store.has_collection(name):
        return HeldRows(None, f"Milvus has no collection {name}")
    rows, target = runtime.store.count(name), runtime.store.alias_target(alias)
    if rows != totals.rows or totals.unfinished:
        return HeldRows(
            rows, f"{counted(totals.rows, 'row')} verified, {rows} in Milvus, {totals.unfinished} unfinished"
        )
    return HeldRows(rows, "" if target == name else f"alias {alias} points at {target or 'nothing'}")
