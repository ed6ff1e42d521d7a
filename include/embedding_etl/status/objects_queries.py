"""What the Objects pages show: objects by key, and what became of each in every lane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.embedding_etl.diff import is_current
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.lane_changes import hash_limits
from include.embedding_etl.lane_collection import find_live
from include.embedding_etl.ledger.records import CollectionRecord, DeadLetter, LetterFilter
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.search import FIELDS
from include.embedding_etl.status.access import Denied
from include.embedding_etl.types import Entry, Hit, JsonValue, ObjectRecord
from include.embedding_etl.vectorstore.schema import VECTOR_FIELD, row_id

PAGE = 50
CHUNKS = 20
NEIGHBOURS = 10
_LETTERS = 20


@dataclass(frozen=True, slots=True)
class LaneState:
    """What became of one object in one lane."""

    lane: str
    sign: str  # good, warn or bad: how it is coloured
    words: str
    collection: str = ""
    fingerprint: str = ""
    model_id: str = ""
    entry: Entry | None = None
    letter: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One object."""

    record: ObjectRecord
    sign: str
    words: str  # about the object as a whole; "" where its lanes say it
    lanes: tuple[LaneState, ...]


@dataclass(frozen=True, slots=True)
class ChunkView:
    """One row of one object."""

    ordinal: int
    id: str
    fields: dict[str, JsonValue] | None  # None = Milvus does not have it


@dataclass(frozen=True, slots=True)
class ObjectDetails:
    """One object with all that the ledger knows about it."""

    view: ObjectView
    entries: tuple[tuple[CollectionRecord, Entry], ...]  # in every collection that was not dropped
    letters: tuple[DeadLetter, ...]


def read_objects(runtime: Runtime, prefix: str, after: str) -> tuple[list[ObjectView], str]:
    """The next objects whose keys begin so, and the key that the page after them begins behind; "" = the last page."""
    records = runtime.ledger.objects.page(runtime.pipeline.name, prefix, after, PAGE + 1)
    return view_objects(runtime, records[:PAGE]), records[PAGE - 1].key if len(records) > PAGE else ""


def read_objects_of_run(runtime: Runtime, run_id: str, prefix: str, after: str) -> tuple[list[ObjectView], str]:
    """As `read_objects`, of those only whose rows a run has made, in whatever collection."""
    ledger, pipeline = runtime.ledger, runtime.pipeline.name
    names = [one.name for one in ledger.collections.of_pipeline(pipeline)]
    keys = ledger.entries.keys_of_run(names, run_id, prefix, after, PAGE + 1)
    known = ledger.objects.get_many(pipeline, keys[:PAGE])
    records = [known[key] for key in keys[:PAGE] if key in known]
    return view_objects(runtime, records), keys[PAGE - 1] if len(keys) > PAGE else ""


def find_only_object(runtime: Runtime, run_id: str, shard: str) -> str:
    """The key of the object that a run's shard holds, where it holds one; "" where not, or where nobody knows any more.

    A run's files go after a while; what it has made is in the ledger.
    """
    try:
        path = RunFiles(runtime.pipeline.name, run_id).shard(shard)
        if runtime.state.row_count(path) != 1:
            return ""
        return str(runtime.state.read_table(path, ["key"]).column("key")[0].as_py())
    except EmbeddingEtlError:
        return ""


def read_object(runtime: Runtime, key: str) -> ObjectDetails:
    """One object.

    Raises:
        Denied: 404, the ledger does not know it.
    """
    ledger, pipeline = runtime.ledger, runtime.pipeline.name
    record = find_object(runtime, key)
    collections = ledger.collections.of_pipeline(pipeline)
    entries = ledger.entries.of_object([one.name for one in collections], key)
    return ObjectDetails(
        view_objects(runtime, [record])[0],
        tuple((one, entries[one.name]) for one in collections if one.name in entries),
        ledger.dead_letters.list(LetterFilter(pipeline, key=key, state="all"), limit=_LETTERS),
    )


def find_object(runtime: Runtime, key: str) -> ObjectRecord:
    """What the ledger knows about an object.

    Raises:
        Denied: 404, nothing.
    """
    record = None if "\0" in key else runtime.ledger.objects.get(runtime.pipeline.name, key)
    if record is None:
        raise Denied(404, "The ledger knows no such object. Was it added after the last run?")
    return record


def view_objects(runtime: Runtime, records: Sequence[ObjectRecord]) -> list[ObjectView]:
    """What became of some objects, with a query a lane."""
    ledger, pipeline = runtime.ledger, runtime.pipeline
    keys = [record.key for record in records]
    live = {one.lane: one for one in ledger.collections.of_pipeline(pipeline.name) if one.state == "live"}
    entries = {lane: ledger.entries.get_many(one.name, keys) for lane, one in live.items()}
    letters = {
        lane: ledger.dead_letters.open_of_keys(pipeline.name, lane, one.fingerprint, keys) for lane, one in live.items()
    }
    limits = (hash_limits(pipeline.limits), None)
    views = []
    for record in records:
        wanted = lanes_for(record.media_type, pipeline.lanes)
        states = []
        for lane in pipeline.lanes:
            entry, letter = entries.get(lane, {}).get(record.key), letters.get(lane, {}).get(record.key)
            if lane in wanted or entry is not None:
                held = letter if letter is not None and _holds(letter, record, limits) else None
                sign, words = _judge(record, lane in wanted, entry, held)
                states.append(LaneState(lane, sign, words, *_facts(live.get(lane)), entry, letter))
        views.append(ObjectView(record, *_judge_object(record, wanted), tuple(states)))
    return views


def read_chunks(runtime: Runtime, lane: str, key: str, start: int) -> tuple[list[ChunkView], int]:
    """Some rows of an object in the lane's live collection, by primary key, and how many there are.

    Raises:
        TransientError: Milvus does not answer.
    """
    live = runtime.ledger.collections.live(runtime.pipeline.name, lane)
    entry = None if live is None else runtime.ledger.entries.of_object([live.name], key).get(live.name)
    if live is None or entry is None:
        return [], 0
    ordinals = range(max(0, start), min(max(0, start) + CHUNKS, entry.rows))
    ids = [row_id(runtime.pipeline.name, lane, key, ordinal) for ordinal in ordinals]
    rows = runtime.store.fetch(live.name, ids, [*FIELDS, "run_id"]) if ids else {}
    return [ChunkView(ordinal, id_, rows.get(id_)) for ordinal, id_ in zip(ordinals, ids, strict=True)], entry.rows


def read_neighbours(runtime: Runtime, lane: str, key: str, ordinal: int) -> list[Hit]:
    """The rows nearest to one row of an object, itself left out. No model is needed.

    Raises:
        ConfigError: there is no such row.
        TransientError: Milvus does not answer.
    """
    import numpy as np

    live = find_live(runtime, lane)
    id_ = row_id(runtime.pipeline.name, lane, key, ordinal)
    row = runtime.store.fetch(live.name, [id_], [VECTOR_FIELD]).get(id_) if live is not None else None
    if live is None or row is None:
        raise ConfigError(f"Milvus has no such row; `etl audit {runtime.pipeline.name}` finds what else is missing")
    vector: Any = row[VECTOR_FIELD]
    vectors = np.asarray([vector], np.float32)
    hits = runtime.store.search(live.name, vectors, NEIGHBOURS + 1, "", FIELDS, params=live.settings.index.search)[0]
    return [hit for hit in hits if hit.id != id_][:NEIGHBOURS]


def _facts(live: CollectionRecord | None) -> tuple[str, str, str]:
    if live is None:
        return "", "", ""
    lane: Any = live.settings["lane"]
    return live.name, live.fingerprint, str(lane["model"]["id"])


def _holds(letter: DeadLetter, record: ObjectRecord, limits: tuple[str | None, ...]) -> bool:
    """Whether the letter keeps the next run from trying the object, as lane_changes decides it."""
    is_held = letter.attempts > 0 or letter.dismissed_at_ms is not None
    return letter.version == record.etag and letter.limits_hash in limits and is_held


def _judge(record: ObjectRecord, is_wanted: bool, entry: Entry | None, letter: DeadLetter | None) -> tuple[str, str]:
    if record.vanished or record.skip_reason or not is_wanted:
        return ("warn", "rows wait to be deleted") if entry is not None else ("warn", "left out")
    if entry is not None and is_current(record, entry):
        return "good", "indexed"
    if letter is not None and letter.state == "dismissed":
        return "warn", f"dismissed: {letter.error_class}"
    if letter is not None:
        return "bad", f"dead letter: {letter.error_class}"
    return "warn", "pending: an older version is indexed" if entry is not None and entry.version else "pending"


def _judge_object(record: ObjectRecord, wanted: Sequence[str]) -> tuple[str, str]:
    if record.vanished:
        return "warn", "gone from storage"
    if record.skip_reason:
        return "warn", f"skipped: {record.skip_reason}"
    return ("", "") if wanted else ("warn", f"no lane takes {record.media_type or 'this'}")
