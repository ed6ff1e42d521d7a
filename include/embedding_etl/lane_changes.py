"""What a collection needs, straight from the ledger. Route, purge, report and plan all ask this one question."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict

from include.embedding_etl.diff import Change, decide_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Limits, ObjectRecord


def lane_changes(runtime: Runtime, collection: LaneCollection, prefix: str = "") -> Iterator[Change]:
    """One decision per object below a prefix that the collection has or should have, in key order, with flat memory."""
    ledger, pipeline, lane = runtime.ledger, runtime.pipeline, collection.lane
    with closing(open_letters(runtime, lane, collection.fingerprint, prefix)) as letters:
        yield from decide_changes(
            ledger.objects.stream(pipeline.name, prefix),
            ledger.entries.stream(collection.name, prefix),
            lambda record: accepts(runtime, lane, record),
            letters.holds,
        )


def accepts(runtime: Runtime, lane: str, record: ObjectRecord) -> bool:
    """Whether the lane takes objects of this media type."""
    return lane in lanes_for(record.media_type, runtime.pipeline.lanes)


def open_letters(runtime: Runtime, lane: str, fingerprint: str, prefix: str = "") -> "LetterCursor":
    """The lane's open dead letters below a prefix, to be asked in step with the objects."""
    letters = runtime.ledger.dead_letters.open_for(runtime.pipeline.name, lane, fingerprint, prefix)
    return LetterCursor(letters, hash_limits(runtime.pipeline.limits))


def hash_limits(limits: Limits) -> str:
    """What a dead letter remembers of the limits that its object failed under."""
    return hashlib.sha256(json.dumps(asdict(limits), sort_keys=True).encode()).hexdigest()[:16]


class LetterCursor:
    """Open dead letters of one fingerprint, read in step with records that ascend by key.

    A letter holds an object back only for the version, the fingerprint and the limits it was written for: a changed
    object, a new model or a raised limit is tried without anybody's doing, and so is one whose attempts a person has
    reset. Dismissed letters hold back like any other.
    """

    def __init__(self, letters: Iterator[DeadLetter], limits_hash: str) -> None:
        self._letters = letters
        self._limits = (limits_hash, None)  # None: the letter is older than this rule
        self._next: DeadLetter | None = next(letters, None)

    def holds(self, record: ObjectRecord) -> bool:
        """Whether there is an open letter for exactly this version. Ask in ascending key order."""
        while self._next is not None and self._next.key < record.key:
            self._next = next(self._letters, None)
        letter = self._next
        return (
            letter is not None
            and letter.key == record.key
            and letter.version == record.etag
            and letter.limits_hash in self._limits
            and (letter.attempts > 0 or letter.dismissed_at_ms is not None)
        )

    def close(self) -> None:
        """Let go of the underlying query."""
        self._next = None
