"""Fetch, hash and decode many objects at once, as one stream of events, so that the model never waits for a download.

Worker threads fetch and talk to the decoder processes; the stage reads the events in its own thread, where the model
runs. The queue between them is bounded: decoded pictures and films do not pile up in memory.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
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
    """Another object of this shard with the same bytes is being embedded right now."""

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
        known: Looks a content hash up in the embedding store.
    """

    def __init__(
        self,
        source: Source,
        decoders: DecoderPool,
        settings: DecodeSettings,
        known: Callable[[str], VectorFile | None],
        records: Iterator[ObjectRecord],
    ) -> None:
        self._source = source
        self._decoders = decoders
        self._settings = settings
        self._known = known
        self._records = records
        self._events: Queue[Event | BaseException | None] = Queue(QUEUE_EVENTS)
        self._claimed: set[str] = set()
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
        """The content is in the embedding store now: objects with the same bytes will find it there."""
        with self._lock:
            self._claimed.discard(content_hash)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._lock:
                    record = next(self._records, None)
                if record is None:
                    break
                self._read(record)
        except BaseException as error:  # noqa: BLE001 - handed to the reader of the events, who raises it
            self._events.put(error)
        finally:
            self._events.put(None)

    def _read(self, record: ObjectRecord) -> None:
        try:
            if record.content_hash and self._shortcut(record):
                return
            with self._source.fetch(record.listed()) as fetched:
                record = replace(record, content_hash=fetched.content_hash)
                if self._shortcut(record) or not self._claim(record):
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

    def _shortcut(self, record: ObjectRecord) -> bool:
        file = self._known(record.content_hash)
        if file is not None:
            self._events.put(ObjectReused(record, file))
        return file is not None

    def _claim(self, record: ObjectRecord) -> bool:
        """One object a content does the work; the others wait for its result."""
        with self._lock:
            first = record.content_hash not in self._claimed
            self._claimed.add(record.content_hash)
        if not first:
            self._events.put(SameContent(record))
        return first
