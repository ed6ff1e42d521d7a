"""Collect chunks of many objects into model batches, and the vectors back into one embedding per content."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from include.embedding_etl.content_stream import ChunkReady, ContentEnded, Event, ObjectFailed
from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.model_calls import in_order
from include.embedding_etl.embedding_store import Embedding, StoredChunk, check_vectors
from include.embedding_etl.errors import EmbeddingEtlError, IntegrityError, PoisonObject
from include.embedding_etl.types import Chunk, ObjectRecord, Vectors

SORT_WINDOW = 16  # batches of text that are sorted by length together, so that little is padded


@dataclass(frozen=True, slots=True)
class ObjectEmbedded:
    """All chunks of an object's content have their vectors."""

    record: ObjectRecord
    embedding: Embedding


@dataclass(slots=True)
class _Content:
    record: ObjectRecord | None = None  # known when the content has ended
    chunks: dict[int, StoredChunk] = field(default_factory=dict)
    vectors: dict[int, Vectors] = field(default_factory=dict)
    error: PoisonObject | None = None

    def complete(self) -> bool:
        return self.record is not None and (self.error is not None or len(self.vectors) == len(self.chunks))


class VectorAssembly:
    """Turns chunk events into ObjectEmbedded and ObjectFailed; every other event passes through.

    Args:
        embedder: The loaded model; called in the thread that reads `outcomes`, unless it may be called often at once.
        batch_size: Chunks of one model call.
        at_once: How many calls may run at a time; then the embedder is called from as many threads.
    """

    def __init__(self, embedder: Embedder, batch_size: int, at_once: int = 1) -> None:
        self.model_s = 0.0
        self.model_calls = 0
        self.embedded_chunks = 0
        self._embedder = embedder
        self._batch_size = batch_size
        self._at_once = at_once
        self._failure: EmbeddingEtlError | None = None
        self._pending: list[ChunkReady] = []
        self._contents: dict[str, _Content] = {}

    def outcomes(self, events: Iterable[Event]) -> Iterator[Event | ObjectEmbedded]:
        """One outcome per object, as soon as it is known."""
        for event in events:
            match event:
                case ChunkReady(content_hash, chunk):
                    content = self._contents.setdefault(content_hash, _Content())
                    content.chunks[chunk.ordinal] = StoredChunk(chunk.start, chunk.end, chunk.text)
                    self._pending.append(event)
                    if len(self._pending) >= self._window(chunk):
                        yield from self._run()
                case ContentEnded(record):
                    self._contents.setdefault(record.content_hash, _Content()).record = record
                    yield from self._finished([record.content_hash])
                case ObjectFailed(record, _):
                    self._contents.pop(record.content_hash, None)
                    yield event
                case _:
                    yield event
        yield from self._run()

    def _window(self, chunk: Chunk) -> int:
        batches = max(SORT_WINDOW, 4 * self._at_once) if chunk.text and chunk.pixels is None else self._at_once
        return self._batch_size * batches

    def _run(self) -> Iterator[ObjectEmbedded | ObjectFailed]:
        """Embed all pending chunks, longest texts first, and hand out contents as soon as a batch completes them.

        A batch that fails for good then costs nothing that was made before it.
        """
        pending = sorted(self._pending, key=lambda item: len(item.chunk.text), reverse=True)
        self._pending = []
        started = time.perf_counter()
        for items, answer in in_order(self._vectors, self._batches(pending), self._at_once):
            self.model_s += time.perf_counter() - started
            try:
                self._take(items, answer.result())
            except (PoisonObject, IntegrityError) as error:
                self._find_fault(items, error)
            except EmbeddingEtlError as error:
                self._failure = error  # no new calls; those at the model already are waited for, and kept
            yield from self._finished(dict.fromkeys(item.content_hash for item in items))
            started = time.perf_counter()
        if self._failure is not None:
            raise self._failure

    def _batches(self, pending: list[ChunkReady]) -> Iterator[list[ChunkReady]]:
        for first in range(0, len(pending), self._batch_size):
            batch = [item for item in pending[first : first + self._batch_size] if item.content_hash in self._contents]
            if self._failure is not None:
                return
            if batch:
                yield batch

    def _vectors(self, items: list[ChunkReady]) -> Vectors:
        vectors = self._embedder.embed([item.chunk for item in items])
        check_vectors(vectors, self._embedder.dimension, "the model's answer")
        return vectors

    def _take(self, items: list[ChunkReady], vectors: Vectors) -> None:
        self.model_calls += 1
        self.embedded_chunks += len(items)
        for item, vector in zip(items, vectors, strict=True):
            if item.content_hash in self._contents:  # else it has failed while this batch was at the model
                self._contents[item.content_hash].vectors[item.chunk.ordinal] = vector

    def _find_fault(self, items: list[ChunkReady], error: PoisonObject | IntegrityError) -> None:
        """Of a batch that was refused, find out whose fault it is: by sending one at a time."""
        if len(items) == 1:
            self._blame(items[0], error)
            return
        for item in items:
            started = time.perf_counter()
            try:
                self._take([item], self._vectors([item]))
            except (PoisonObject, IntegrityError) as refused:
                self._blame(item, refused)
            finally:
                self.model_s += time.perf_counter() - started

    def _blame(self, item: ChunkReady, error: PoisonObject | IntegrityError) -> None:
        if item.content_hash in self._contents:
            self._contents[item.content_hash].error = _as_poison(error)

    def _finished(self, content_hashes: Iterable[str]) -> Iterator[ObjectEmbedded | ObjectFailed]:
        for content_hash in content_hashes:
            content = self._contents.get(content_hash)
            if content is None or not content.complete() or content.record is None:
                continue
            del self._contents[content_hash]
            if content.error is None and not content.chunks:
                content.error = PoisonObject("", "chunk", "NothingToEmbed", "there is nothing in it to embed")
            if content.error is not None:
                yield ObjectFailed(content.record, content.error)
                continue
            ordinals = range(len(content.chunks))
            yield ObjectEmbedded(
                content.record,
                Embedding(
                    content_hash,
                    [content.chunks[ordinal] for ordinal in ordinals],
                    np.stack([content.vectors[ordinal] for ordinal in ordinals]),
                ),
            )


def _as_poison(error: PoisonObject | IntegrityError) -> PoisonObject:
    if isinstance(error, PoisonObject):
        return error
    return PoisonObject("", "embed", "BadVector", str(error))
