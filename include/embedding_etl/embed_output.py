"""What an embed task leaves behind: vectors in the store, rows in the ledger, dead letters, and a list for sync.

Store first, ledger second, so that ledger.vectors never names a file that is not there.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from types import TracebackType
from typing import Self

from include.embedding_etl.embedding_store import Embedding, write_embeddings
from include.embedding_etl.errors import EmbeddingEtlError, PoisonObject
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import hash_limits
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.ledger.records import Lease, Letter
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import EMBEDDED, EmbeddedObject, embedded_batch, lease_metadata
from include.embedding_etl.stage_figures import Figures
from include.embedding_etl.types import ObjectRecord

FLUSH_BYTES = 16 << 20  # of vectors
FLUSH_S = 30.0  # a crash loses at most this much model time
WRITE_BATCH = 1_000


class EmbedOutput(AbstractContextManager["EmbedOutput"]):
    """Collects outcomes and writes them in batches. The list for sync appears when all ended well."""

    def __init__(
        self, runtime: Runtime, collection: LaneCollection, lease: Lease, run_id: str, reference: str, figures: Figures
    ) -> None:
        self.on_stored: Callable[[str], None] = lambda _: None
        self._runtime = runtime
        self._collection = collection
        self._run_id = run_id
        self._reference = reference
        self._figures = figures
        self._buffer: list[tuple[ObjectRecord, Embedding]] = []
        self._buffered_bytes = 0
        self._flushed_at = time.monotonic()
        self._ready: list[EmbeddedObject] = []
        self._failed: dict[str, PoisonObject] = {}
        self._path = RunFiles(runtime.pipeline.name, run_id).embedded(reference)
        self._metadata = lease_metadata(lease)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._opened.enter_context(durable_write("embedded_file"))
        self._writer = self._opened.enter_context(self._runtime.state.writer(self._path, EMBEDDED))
        self._writer.set_metadata(self._metadata)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._ready:
            self._writer.write(embedded_batch(self._ready))
        if kind is not None and issubclass(kind, EmbeddingEtlError):
            with suppress(EmbeddingEtlError):  # the first error is the one to tell
                self.flush()  # what the model has made is kept, whatever went wrong afterwards
        self._opened.__exit__(kind, error, traceback)

    def add_embedded(self, record: ObjectRecord, embedding: Embedding) -> None:
        """The model made these vectors just now."""
        self._buffer.append((record, embedding))
        self._buffered_bytes += embedding.vectors.nbytes
        self._figures["embedded"] += 1
        if self._buffered_bytes >= FLUSH_BYTES or time.monotonic() - self._flushed_at >= FLUSH_S:
            self.flush()

    def add_stored(self, item: EmbeddedObject) -> None:
        """The embedding store had the vectors already."""
        self._figures["reused"] += 1
        self._figures["reused_chunks"] += item.rows
        self._add_ready(item)

    def add_failed(self, record: ObjectRecord, error: PoisonObject) -> None:
        """The object becomes a dead letter; the shard goes on."""
        self._failed[record.content_hash] = error
        task = f"embed {self._reference}"
        letter = Letter(
            record.key,
            record.etag,
            error.stage,
            error.error_class,
            error.message,
            self._run_id,
            task,
            hash_limits(self._runtime.pipeline.limits),
        )
        with durable_write("dead_letters"):
            self._runtime.ledger.dead_letters.record(
                self._runtime.pipeline.name, self._collection.lane, self._collection.fingerprint, [letter]
            )
        self._figures["dead_letters"] += 1

    def add_waiting(self, records: Sequence[ObjectRecord]) -> None:
        """Objects whose content another object of the shard brought: they share its outcome. Call after `flush`."""
        hashes = sorted({record.content_hash for record in records})
        known = self._runtime.ledger.vectors.known(self._collection.fingerprint, hashes)
        for record in records:
            if record.content_hash in known:
                file = known[record.content_hash]
                self.add_stored(EmbeddedObject(record, file.uri, file.rows))
            elif record.content_hash in self._failed:
                self.add_failed(record, self._failed[record.content_hash])

    def flush(self) -> None:
        """Write the buffered vectors: file, ledger, and the objects' hashes, so that no retry reads them again."""
        self._flushed_at = time.monotonic()
        if not self._buffer:
            return
        runtime, fingerprint = self._runtime, self._collection.fingerprint
        with durable_write("store_file"):
            path = write_embeddings(
                runtime.state,
                fingerprint,
                self._collection.info.dimension,
                [embedding for _, embedding in self._buffer],
            )
        with durable_write("store_commit"):
            runtime.ledger.vectors.put(
                fingerprint,
                [(embedding.content_hash, path, len(embedding.chunks)) for _, embedding in self._buffer],
            )
            runtime.ledger.objects.set_content(
                runtime.pipeline.name,
                [(record.key, record.etag, record.content_hash, record.meta) for record, _ in self._buffer],
            )
        for record, embedding in self._buffer:
            self._add_ready(EmbeddedObject(record, path, len(embedding.chunks)))
            self.on_stored(embedding.content_hash)
        self._buffer, self._buffered_bytes = [], 0

    def _add_ready(self, item: EmbeddedObject) -> None:
        self._ready.append(item)
        if len(self._ready) >= WRITE_BATCH:
            self._writer.write(embedded_batch(self._ready))
            self._ready = []
