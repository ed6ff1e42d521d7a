"""Pure decisions: what is there against what the ledger believes, as streaming merges of two sorted streams.

Streams are in UTF-8 byte order of the key, which is Python's own order of `str`. Memory stays flat with the number of
objects: nothing here holds more than one item of each stream.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.types import Entry, ListedObject, ObjectRecord

Left = TypeVar("Left")
Right = TypeVar("Right")
CHANGED_MEANWHILE = "changed while it was read"
UNREADABLE = "not readable now"
LOOK_AGAIN = frozenset({CHANGED_MEANWHILE, UNREADABLE})  # skip reasons: existing rows stay, the next run looks again


class Action(StrEnum):
    """What a lane has to do about one object."""

    EMBED = "embed"  # fetch, and embed what the embedding store does not have
    RELABEL = "relabel"  # the same bytes: rewrite the rows from stored vectors
    DELETE = "delete"  # the lane should not have it any more
    KEEP = "keep"  # nothing to do
    DEAD = "dead"  # an open dead letter for exactly this version
    DEFER = "defer"  # it changed while we looked, or may not be read: the next run looks again


@dataclass(frozen=True, slots=True)
class Change:
    """One object's decision in one lane, with both sides it was made from."""

    key: str
    action: Action
    record: ObjectRecord | None
    entry: Entry | None


def merge(
    left: Iterable[Left], right: Iterable[Right], left_key: Callable[[Left], str], right_key: Callable[[Right], str]
) -> Iterator[tuple[Left | None, Right | None]]:
    """Outer join of two streams that ascend strictly by key.

    Raises:
        IntegrityError: a stream does not ascend. A wrong order would turn into wrong deletions.
    """
    lefts, rights = _ascending(left, left_key, "left"), _ascending(right, right_key, "right")
    a, b = next(lefts, None), next(rights, None)
    while a is not None or b is not None:
        if b is None or (a is not None and left_key(a) < right_key(b)):
            yield a, None
            a = next(lefts, None)
        elif a is None or right_key(b) < left_key(a):
            yield None, b
            b = next(rights, None)
        else:
            yield a, b
            a, b = next(lefts, None), next(rights, None)


def compare_listing(
    listing: Iterable[ListedObject], records: Iterable[ObjectRecord]
) -> Iterator[tuple[ListedObject | None, ObjectRecord | None]]:
    """What the source has against what the ledger knows; pairs that agree are left out.

    Yields (listed, None) for new objects, (listed, record) for changed ones and for those that came back, and
    (None, record) for those that have just vanished.
    """
    for listed, record in merge(listing, records, lambda item: item.key, lambda item: item.key):
        if listed is None:
            if record is not None and not record.vanished:
                yield None, record
        elif record is None or record.vanished or not record.same_version(listed):
            yield listed, record


def decide_changes(
    records: Iterable[ObjectRecord],
    entries: Iterable[Entry],
    routed: Callable[[ObjectRecord], bool],
    is_dead: Callable[[ObjectRecord], bool],
) -> Iterator[Change]:
    """What one lane's collection needs to equal its objects.

    Args:
        records: All of the pipeline's objects, tombstones included.
        entries: What the ledger believes about the collection.
        routed: Whether the lane accepts the object.
        is_dead: Whether the lane has an open dead letter for exactly this version of the object.
    """
    for record, entry in merge(records, entries, lambda item: item.key, lambda item: item.key):
        change = _decide(record, entry, routed, is_dead)
        if change is not None:
            yield change


def _decide(
    record: ObjectRecord | None,
    entry: Entry | None,
    routed: Callable[[ObjectRecord], bool],
    is_dead: Callable[[ObjectRecord], bool],
) -> Change | None:
    if record is None:
        return Change(entry.key, Action.DELETE, None, entry) if entry is not None else None
    if record.skip_reason in LOOK_AGAIN and not record.vanished:
        return Change(record.key, Action.DEFER, record, entry)
    if record.vanished or record.skip_reason or not routed(record):
        return Change(record.key, Action.DELETE, record, entry) if entry is not None else None
    if entry is not None and is_current(record, entry):
        return Change(record.key, Action.KEEP, record, entry)
    if is_dead(record):
        return Change(record.key, Action.DEAD, record, entry)
    same_bytes = entry is not None and entry.version != "" and record.content_hash == entry.content_hash != ""
    return Change(record.key, Action.RELABEL if same_bytes else Action.EMBED, record, entry)


def is_current(record: ObjectRecord, entry: Entry) -> bool:
    """Whether the verified rows are those of this version, and no write of other rows was begun."""
    return (
        entry.version == record.etag
        and entry.last_modified_ms == record.last_modified_ms
        and entry.rows == entry.intended_rows
    )


def _ascending(stream: Iterable[Left], key: Callable[[Left], str], side: str) -> Iterator[Left]:
    previous: str | None = None
    for item in stream:
        current = key(item)
        if previous is not None and current <= previous:
            raise IntegrityError(f"the {side} stream is not in order: {current!r} came after {previous!r}")
        previous = current
        yield item
