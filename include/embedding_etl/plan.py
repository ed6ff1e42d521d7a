"""plan: what a run would do and cost, from a fresh listing, without writing anything anywhere."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from include.embedding_etl.batching import batched
from include.embedding_etl.diff import Action, Change, decide_changes, merge
from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.estimate import estimate
from include.embedding_etl.lane_changes import accepts, open_letters
from include.embedding_etl.lane_collection import find_live
from include.embedding_etl.places import Places
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import WORK, read_work, work_batch
from include.embedding_etl.snapshot import iter_snapshot, write_snapshot
from include.embedding_etl.stages.identify import known_objects, look_at
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import JsonValue, ListedObject, ObjectRecord
from include.embedding_etl.wording import counted

RECORDS = "records.parquet"


@dataclass(slots=True)
class LanePlan:
    """What a run would do in one lane."""

    new: int = 0
    changed: int = 0
    renamed: int = 0  # new, with the bytes of one that vanished: rows are written, the model is not called
    deleted: int = 0
    reusable: int = 0  # of new and changed: the embedding store has their vectors
    dead_lettered: int = 0
    unchanged: int = 0
    deferred: int = 0  # not readable, or changing right now
    estimated_rows: int | None = None  # of new and changed; None = the lane has no run to judge by
    estimated_model_s: float | None = None
    estimated_bytes: int | None = None  # of their vectors
    differs: tuple[str, ...] = ()  # configuration that waits for a reindex


@dataclass(slots=True)
class Plan:
    """What a run would do."""

    pipeline: str
    prefix: str = ""  # all figures are about objects whose keys begin so; "" = all
    objects: int = 0
    bytes: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    lanes: dict[str, LanePlan] = field(default_factory=dict)

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json`."""
        return asdict(self)

    def summary(self) -> dict[str, dict[str, int | float]]:
        """The figures of each lane; those that cannot be estimated are left out."""
        return {
            lane: {name: value for name, value in asdict(figures).items() if isinstance(value, int | float)}
            for lane, figures in self.lanes.items()
        }


@contextmanager
def without_new_ledger(places: Places) -> Iterator[Places]:
    """The same places, but where there is no SQLite ledger yet, an empty one in a temporary directory stands in."""
    path = places.ledger_url.get_secret_value().removeprefix("sqlite:///")
    if "://" in path or Path(path).exists():
        yield places
        return
    with tempfile.TemporaryDirectory(prefix="etl-plan-") as directory:
        yield places.model_copy(update={"ledger_url": SecretStr(f"sqlite:///{directory}/ledger.db")})


def plan(runtime: Runtime, prefix: str = "") -> Plan:
    """List, identify and compare, as a run would, with every file in a temporary directory.

    Args:
        prefix: Only objects whose keys begin so.
    Raises:
        ConfigError, TransientError: the source cannot be listed.
    """
    with tempfile.TemporaryDirectory(prefix="etl-plan-") as directory:
        state = StateStore(directory, runtime.places)
        source = runtime.pipeline.source
        snapshot = write_snapshot(
            state,
            "snapshot.parquet",
            source.uri,
            runtime.source.list(prefix),
            KeyFilter(source.include, source.exclude).accepts,
            prefix=prefix,
        )
        result = Plan(runtime.pipeline.name, prefix, snapshot.objects, snapshot.bytes)
        with state.writer(RECORDS, WORK) as writer:
            for batch in batched(_records(runtime, iter_snapshot(state, snapshot), prefix), 2_000):
                writer.write(work_batch(batch))
        result.skipped = dict(Counter(record.skip_reason for record in read_work(state, RECORDS) if record.skip_reason))
        for lane in runtime.pipeline.lanes:
            result.lanes[lane] = _plan_lane(runtime, lane, state, prefix)
    return result


def _records(runtime: Runtime, listing: Iterator[ListedObject], prefix: str) -> Iterator[ObjectRecord]:
    """ledger.objects as `identify` would leave it."""
    known = known_objects(runtime, prefix)
    for listed, record in merge(listing, known, lambda item: item.key, lambda item: item.key):
        if listed is not None:
            unchanged = record is not None and not record.vanished and record.same_version(listed)
            yield record if unchanged and record is not None else look_at(runtime, listed)
        elif record is not None:
            yield replace(record, vanished=True)


def _plan_lane(runtime: Runtime, lane: str, state: StateStore, prefix: str) -> LanePlan:
    live = find_live(runtime, lane)
    settings = runtime.pipeline.lanes[lane]
    info = live.info if live else resolve_model(settings.model, runtime.places.models_dir)
    digest = live.fingerprint if live else fingerprint(info, settings.chunk)
    result = LanePlan(differs=live.differs if live else ())
    gone = {record.content_hash for record in read_work(state, RECORDS) if record.vanished and record.content_hash}
    letters = open_letters(runtime, lane, digest, prefix)
    entries = runtime.ledger.entries.stream(live.name, prefix) if live else iter(())
    with closing(letters):
        changes = decide_changes(
            read_work(state, RECORDS), entries, lambda record: accepts(runtime, lane, record), letters.holds
        )
        cost = estimate(runtime, lane, digest, info.dimension, _counted(changes, gone, result))
    result.reusable = cost.reusable
    result.estimated_rows, result.estimated_model_s = cost.rows, cost.model_s
    result.estimated_bytes = cost.vector_bytes
    return result


def _counted(changes: Iterator[Change], gone: Set[str], result: LanePlan) -> Iterator[ObjectRecord]:
    """Count what would be done, and pass on what would be embedded or written again."""
    for change in changes:
        if change.action in (Action.EMBED, Action.RELABEL) and change.record is not None:
            if change.entry is not None:
                result.changed += 1
            elif change.record.content_hash and change.record.content_hash in gone:
                result.renamed += 1
            else:
                result.new += 1
            yield change.record
        elif change.action is Action.DELETE:
            result.deleted += 1
        elif change.action is Action.DEAD:
            result.dead_lettered += 1
        elif change.action is Action.DEFER:
            result.deferred += 1
        else:
            result.unchanged += 1


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines for a log."""
    below = f", only keys below {plan.prefix!r}" if plan.prefix else ""
    lines = [
        f"{plan.pipeline}: a run would, for {counted(plan.objects, 'object')} ({plan.bytes} bytes) in storage{below}:"
    ]
    lines += [
        f"  {lane}: " + ", ".join(f"{value} {name}" for name, value in figures.items())
        for lane, figures in plan.summary().items()
    ]
    return [*lines, "Nothing was changed."]
