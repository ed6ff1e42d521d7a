"""sync: bring one shard's vectors from the embedding store into Milvus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from include.embedding_etl.batching import batched
from include.embedding_etl.bulk_load import JOB_ROWS, open_bulk_load, settle_imports
from include.embedding_etl.embedding_store import Embedding, read_embeddings
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.lane_collection import LaneCollection, open_collection
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.replace_rows import NewRows, Target, replace_rows
from include.embedding_etl.run_files import RunFiles, parse_shard
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import EmbeddedObject, read_embedded, read_lease
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import Row
from include.embedding_etl.vectorstore.schema import row_id
from include.embedding_etl.wording import counted

BATCH_ROWS = 1_000
LOOKAHEAD_OBJECTS = 1_000


def sync(runtime: Runtime, run_id: str, reference: str) -> Figures:
    """Upsert, verify, delete what is stale, commit: in batches over many objects; or a bulk import, if configured.

    Args:
        reference: The shard, as route named it and embed has finished it.
    Raises:
        TransientError: Milvus did not answer, or this run's lease is lost.
        IntegrityError: what Milvus holds is not what was written.
    """
    lane, number = parse_shard(reference)
    path = RunFiles(runtime.pipeline.name, run_id).embedded(reference)
    lease = read_lease(runtime.state, path)
    with stage(runtime, run_id, "sync", lane, number) as figures, Heartbeat(runtime.ledger, lease):
        collection = open_collection(runtime, lease.collection)
        dimension = collection.info.dimension
        target = Target(runtime.pipeline.name, lane, lease, run_id)
        settle_imports(runtime, lease, lambda token, shard: (token, shard) == (lease.token, number))
        bulk = open_bulk_load(runtime, target, number, dimension, read_embedded(runtime.state, path))
        writer = _Writer(runtime, target, collection, figures)
        if bulk is None:
            writer.upsert(read_embedded(runtime.state, path))
        else:
            for part in batched(read_embedded(runtime.state, path), JOB_ROWS, weight=lambda item: item.rows):
                if bulk.load(_new_rows(runtime, target, dimension, iter(part))):
                    writer.imported(part)
                else:
                    writer.upsert(iter(part))
        runtime.store.flush(lease.collection)  # unflushed rows are searched without the index
    return figures


@dataclass(frozen=True, slots=True)
class _Writer:
    """Brings objects into one collection, and counts them."""

    runtime: Runtime
    target: Target
    collection: LaneCollection
    figures: Figures

    def upsert(self, objects: Iterator[EmbeddedObject]) -> None:
        """Replace the rows of objects, in batches."""
        new = _new_rows(self.runtime, self.target, self.collection.info.dimension, objects)
        for batch in batched(new, BATCH_ROWS, weight=lambda item: len(item.rows)):
            stale = replace_rows(self.runtime.store, self.runtime.ledger, self.target, batch)
            self.figures["stale_deleted"] += stale
            self._done([item.key for item in batch], sum(len(item.rows) for item in batch))

    def imported(self, part: Sequence[EmbeddedObject]) -> None:
        """Count what a bulk import has brought there."""
        rows = sum(item.rows for item in part)
        self.figures["imported"] += rows
        self._done([item.record.key for item in part], rows)

    def _done(self, keys: list[str], rows: int) -> None:
        letters = self.runtime.ledger.dead_letters
        letters.resolve(self.target.pipeline, self.target.lane, keys, self.collection.fingerprint)
        self.figures["objects"] += len(keys)
        self.figures["rows"] += rows


def _new_rows(runtime: Runtime, target: Target, dimension: int, objects: Iterator[EmbeddedObject]) -> Iterator[NewRows]:
    """Rows of each object. Objects whose vectors share a store file are taken together: one read a file."""
    for window in batched(objects, LOOKAHEAD_OBJECTS):
        window.sort(key=lambda item: item.store_path)
        for store_path, group in groupby(window, key=lambda item: item.store_path):
            items = list(group)
            wanted = {item.record.content_hash for item in items}
            embeddings = _read_store(runtime, store_path, dimension, wanted)
            for item in items:
                yield _rows(target, item, embeddings.get(item.record.content_hash))


def _read_store(runtime: Runtime, store_path: str, dimension: int, wanted: set[str]) -> dict[str, Embedding]:
    try:
        return {item.content_hash: item for item in read_embeddings(runtime.state, store_path, dimension, wanted)}
    except IntegrityError as error:
        contents = runtime.ledger.vectors.forget(store_path)
        raise IntegrityError(
            f"the embedding store lost a file ({error}). "
            f"It held {counted(contents, 'content')}, now forgotten; run again to embed them anew"
        ) from error


def _rows(target: Target, item: EmbeddedObject, embedding: Embedding | None) -> NewRows:
    record = item.record
    if embedding is None or len(embedding.chunks) != item.rows:
        raise IntegrityError(
            f"{item.store_path}: does not hold the {item.rows} vectors of content {record.content_hash[:12]} "
            f"that the ledger says it holds"
        )
    rows = [
        Row(
            id=row_id(target.pipeline, target.lane, record.key, ordinal),
            vector=vector,
            object_key=record.key,
            object_version=record.etag,
            content_hash=record.content_hash,
            media_type=record.media_type,
            ordinal=ordinal,
            start=chunk.start,
            end=chunk.end,
            text=chunk.text,
            size_bytes=record.size_bytes,
            last_modified=record.last_modified_ms,
            run_id=target.run_id,
            meta=record.meta,
        )
        for ordinal, (chunk, vector) in enumerate(zip(embedding.chunks, embedding.vectors, strict=True))
    ]
    return NewRows(record.key, record.etag, record.last_modified_ms, record.content_hash, rows)
