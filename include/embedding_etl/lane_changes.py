"""What a collection needs, straight from the ledger. Route, purge, report and plan all ask this one question."""

from collections.abc import Iterator
from contextlib import closing

from include.embedding_etl.diff import Change, decide_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import ObjectRecord


def lane_changes(runtime: Runtime, collection: LaneCollection) -> Iterator[Change]:
    """One decision per object that the collection has or should have, in key order, with flat memory."""
    ledger, pipeline, lane = runtime.ledger, runtime.pipeline, collection.lane
    with closing(LetterCursor(ledger.dead_letters.open_for(pipeline.name, lane, collection.fingerprint))) as letters:
        yield from decide_changes(
            ledger.objects.stream(pipeline.name),
            ledger.entries.stream(collection.name),
            lambda record: accepts(runtime, lane, record),
            letters.holds,
        )


def accepts(runtime: Runtime, lane: str, record: ObjectRecord) -> bool:
    """Whether the lane takes objects of this media type."""
    return lane in lanes_for(record.media_type, runtime.pipeline.lanes)


class LetterCursor:
    """Open dead letters of one fingerprint, read in step with records that ascend by key.

    A letter holds an object back only for the version and the fingerprint it was written for: a changed object or a
    new model is tried again without anybody's doing, and so is one whose attempts a person has reset.
    """

    def __init__(self, letters: Iterator[DeadLetter]) -> None:
        self._letters = letters
        self._next: DeadLetter | None = next(letters, None)

    def holds(self, record: ObjectRecord) -> bool:
        """Whether there is an open letter for exactly this version. Ask in ascending key order."""
        while self._next is not None and self._next.key < record.key:
            self._next = next(self._letters, None)
        letter = self._next
        return letter is not None and letter.key == record.key and letter.version == record.etag and letter.attempts > 0

    def close(self) -> None:
        """Let go of the underlying query."""
        self._next = None
