"""A live collection against the ledger: by primary key, version and content; and the ledger against itself.

Ingestion may be at work meanwhile. So what seems wrong is only a suspicion until it was looked at again: the row, and
the ledger before and after it. An object that a run is writing, or that the next run will write, is no fault.
"""

from collections.abc import Iterator, Sequence

from include.embedding_etl.batching import batched
from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.diff import Action, Change, merge
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.row_comparison import COMPARED, StoredRow, compare_rows
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Entry
from include.embedding_etl.vectorstore.schema import row_id

MAX_ORDINAL = 20_000  # of a row that could be ours
PENDING = frozenset({Action.EMBED, Action.RELABEL, Action.DELETE})
_BATCH = 500
_LOOKS = 5

_Suspects = tuple[Change | None, list[Difference]]


def check_rows(runtime: Runtime, collection: LaneCollection, differences: Differences) -> int:
    """Compare all rows and all entries.

    Returns:
        How many rows were seen.
    """
    ids = 0

    def see_page(page: Sequence[StoredRow]) -> None:
        nonlocal ids
        ids += len({str(row["id"]) for row in page})

    with Differences() as suspects:
        compared = compare_rows(runtime, collection, see_page)
        found = (
            Difference(each.kind, collection.lane, collection.name, each.id, each.object_key, each.ordinal)
            for each in compared
        )
        for batch in batched(found, _BATCH):
            suspects.add(*batch)
        _look_again(runtime, collection, suspects, differences)
    _count_duplicates(runtime, collection, ids, differences)
    return ids


def _look_again(runtime: Runtime, collection: LaneCollection, suspects: Differences, differences: Differences) -> None:
    """One pass over what the lane needs, beside what seems wrong with its rows."""
    weighed = _weigh(runtime, collection, suspects, differences)
    for batch in batched(weighed, _BATCH, weight=lambda item: len(item[1])):
        keys = [rows[0].key for _, rows in batch]
        ids = [row.subject for _, rows in batch for row in rows]
        stored = runtime.store.fetch(collection.name, ids, COMPARED)
        entries = runtime.ledger.entries.get_many(collection.name, keys)
        records = runtime.ledger.objects.get_many(collection.pipeline, keys)
        for change, rows in batch:
            known = (change.record, change.entry) if change is not None else (None, None)
            if known != (records.get(rows[0].key), entries.get(rows[0].key)):
                continue  # a run is at it
            for row in rows:
                kind = _verdict(collection, change, row, stored.get(row.subject))
                if kind:
                    differences.add(Difference(kind, row.lane, row.collection, row.subject, row.key, row.ordinal))


def _weigh(
    runtime: Runtime, collection: LaneCollection, suspects: Differences, differences: Differences
) -> Iterator[_Suspects]:
    """Pass on what no run will mend by itself. What runs have to do is counted on the way."""
    changes = lane_changes(runtime, collection)
    for change, group in merge(changes, suspects.rows_by_object(), lambda item: item.key, lambda item: item[0]):
        if change is not None and (kind := _kind_of(change)):
            differences.add(Difference(kind, collection.lane, collection.name, change.key, change.key))
        if group is None:
            continue
        written = change is not None and change.action in PENDING and change.entry is not None
        if not written:
            yield change, group[1]


def _kind_of(change: Change) -> str:
    record, entry = change.record, change.entry
    if change.action in PENDING:
        return "pending change"
    if record is None or entry is None:
        return ""
    if change.action is Action.DEAD and not _finished(entry):
        return "row held back"
    contradicts = record.content_hash not in ("", entry.content_hash)
    return "ledger contradiction" if change.action is Action.KEEP and contradicts else ""


def _verdict(collection: LaneCollection, change: Change | None, row: Difference, stored: StoredRow | None) -> str:
    """What is wrong with a row now; "" if nothing is."""
    entry = change.entry if change is not None else None
    dead = change is not None and change.action is Action.DEAD
    own_id = row_id(collection.pipeline, collection.lane, row.key, row.ordinal) == row.subject
    ours = own_id and 0 <= row.ordinal < MAX_ORDINAL
    if entry is not None and not _finished(entry) and ours and row.ordinal < max(entry.rows, entry.intended_rows):
        return ""
    wanted = ours and entry is not None and row.ordinal < entry.rows
    if not wanted:
        return "" if stored is None else "orphan row" if ours and not dead else "foreign row"
    assert entry is not None  # noqa: S101 - or it were not wanted
    kind = row.kind if row.kind == "duplicate row" else _compare(entry, row, stored)
    return "row held back" if kind and dead else kind


def _compare(entry: Entry, row: Difference, stored: StoredRow | None) -> str:
    if stored is None:
        return "missing row"
    if stored["object_version"] != entry.version:
        return "stale version"
    same = (stored["content_hash"], stored["object_key"], stored["ordinal"]) == (
        entry.content_hash,
        row.key,
        row.ordinal,
    )
    return "" if same else "other content"


def _finished(entry: Entry) -> bool:
    return entry.version != "" and entry.rows == entry.intended_rows


def _count_duplicates(runtime: Runtime, collection: LaneCollection, ids: int, differences: Differences) -> None:
    """Servers show one of two rows with the same id, but count both. Counted between two counts that agree."""
    rows = runtime.store.count(collection.name)
    for _ in range(_LOOKS):
        if rows == ids:
            return
        pages = runtime.store.iterate(collection.name, [])
        before, ids = rows, sum(len({str(row["id"]) for row in page}) for page in pages)
        rows = runtime.store.count(collection.name)
        if rows == before and rows > ids:
            kind, subject = "duplicate row", f"{rows} rows are counted, {ids} ids are there"
            extra = rows - ids - sum(1 for each in differences.stream(kind) if each.collection == collection.name)
            if extra > 0:
                differences.add(Difference(kind, collection.lane, collection.name, subject, count=extra))
            return
