"""Fetch, hash and decode many objects at once, as one stream of events, so that the model never waits for a download.

Worker threads fetch and talk to the decoder processes; the stage reads the events in its own thread, where the model
runs. The queue between them is bounded: decoded pictures and films do not pile up in memory.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from queue import Empty, Queue
from types import TracebackType
from typing import Self, TypeAlias

from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.errors import ChangedMeanwhile, PoisonObject, TransientError
from include.embedding_etl.ledger.records import VectorFile
from include.embedding_etl.storage.base import Source
from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput, ObjectRecord

WORKERS = 8
QUEUE_EVENTS = 32  # a window of sound has 2 MB
LOOKUP_OBJECTS = 100  # a question to the ledger for each object would cost more than fetching a small one


@dataclass(frozen=True, slots=True)
class ChunkReady:
    """One chunk of a content that is being decoded."""

    content_hash: str
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class ContentEnded:
    """All chunks of this object's content have been handed out."""

    record: ObjectRecord


@dataclass(frozen=True, slots=True)
class ObjectReused:
    """The embedding store has this content already."""

    record: ObjectRecord
    file: VectorFile


@dataclass(frozen=True, slots=True)
class SameContent:
    """Another object of this shard has the same bytes, and brings their vectors."""

    record: ObjectRecord


@dataclass(frozen=True, slots=True)
class ObjectFailed:
    """It goes to the dead letters. Chunks of it that were handed out already are void."""

    record: ObjectRecord
    error: PoisonObject


@dataclass(frozen=True, slots=True)
class ObjectUnavailable:
    """It could not be read now: it changed meanwhile, or the store did not answer."""

    record: ObjectRecord
    error: ChangedMeanwhile | TransientError


Event: TypeAlias = ChunkReady | ContentEnded | ObjectReused | SameContent | ObjectFailed | ObjectUnavailable


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How every object of the shard is decoded."""

    model_input: ModelInput
    chunk: ChunkSettings
    limits: Limits


class ContentStream(AbstractContextManager["ContentStream"]):
    """The events of many objects. Leaving the context stops the workers, also in the middle.

    Args:
        known: Looks content hashes up in the embedding store.
    """

    def __init__(
        self,
        source: Source,
        decoders: DecoderPool,
        settings: DecodeSettings,
        known: Callable[[Sequence[str]], Mapping[str, VectorFile]],
        records: Iterator[ObjectRecord],
    ) -> None:
        self._source = source
        self._decoders = decoders
        self._settings = settings
        self._known = known
        self._records = records
        self._window: deque[tuple[ObjectRecord, VectorFile | None]] = deque()
        self._events: Queue[Event | BaseException | None] = Queue(QUEUE_EVENTS)
        self._claimed: set[str] = set()  # contents that one object brings; others with the same bytes wait for it
        self._stored: set[str] = set()  # of these, what is in the store, while somebody who asked before is at work
        self._in_hand: Counter[str] = Counter()  # contents of objects that were looked up and are not done yet
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
            try:
                self._events.get(timeout=0.05)
            except Empty:
                continue

    def __iter__(self) -> Iterator[Event]:
        running = len(self._threads)
        while running:
            event = self._events.get()
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event

    def stored(self, content_hash: str) -> None:
        """The content is in the embedding store now: objects that are looked up from now on will find it there."""
        with self._lock:
            self._stored.add(content_hash)
            self._release(content_hash)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                found = self._next()
                if found is None:
                    break
                self._read(*found)
                with self._lock:
                    self._in_hand[found[0].content_hash] -= 1
                    self._release(found[0].content_hash)
        except BaseException as error:  # noqa: BLE001 - handed to the reader of the events, who raises it
            self._events.put(error)
        finally:
            self._events.put(None)

    def _next(self) -> tuple[ObjectRecord, VectorFile | None] | None:
        """The next object, and where its vectors are if its content is known to have some."""
        with self._lock:
            if not self._window:
                records = list(islice(self._records, LOOKUP_OBJECTS))
                known = self._known([record.content_hash for record in records if record.content_hash])
                self._window.extend((record, known.get(record.content_hash)) for record in records)
                self._in_hand.update(record.content_hash for record in records)
            return self._window.popleft() if self._window else None

    def _read(self, record: ObjectRecord, file: VectorFile | None) -> None:
        try:
            if file is not None:
                self._events.put(ObjectReused(record, file))
                return
            with self._source.fetch(record.listed()) as fetched:
                if fetched.content_hash != record.content_hash:  # a large object, whose hash nobody knew before
                    record = replace(record, content_hash=fetched.content_hash)
                    file = self._known([record.content_hash]).get(record.content_hash)
                    if file is not None:
                        self._events.put(ObjectReused(record, file))
                        return
                if not self._claim(record):
                    return
                settings = self._settings
                for chunk in self._decoders.decode(
                    record.key, fetched.body, record.media_type, settings.model_input, settings.chunk, settings.limits
                ):
                    self._events.put(ChunkReady(record.content_hash, chunk))
                    if self._stopped.is_set():
                        return
            self._events.put(ContentEnded(record))
        except PoisonObject as error:
            self._events.put(ObjectFailed(record, error))
        except (ChangedMeanwhile, TransientError) as error:
            self._events.put(ObjectUnavailable(record, error))

    def _release(self, content_hash: str) -> None:
        """Forget a content that is stored, once nobody is at work who did not know it: memory stays flat."""
        if not self._in_hand[content_hash]:
            del self._in_hand[content_hash]
            if content_hash in self._stored:
                self._stored.discard(content_hash)
                self._claimed.discard(content_hash)

    def _claim(self, record: ObjectRecord) -> bool:
        """One object a content does the work; the others wait for its result."""
        with self._lock:
            first = record.content_hash not in self._claimed
            self._claimed.add(record.content_hash)
        if not first:
            self._events.put(SameContent(record))
        return first
