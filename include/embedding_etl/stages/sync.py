"""sync: bring one shard's vectors from the embedding store into Milvus."""

from collections.abc import Iterator
from itertools import groupby

from include.embedding_etl.batching import batched
from include.embedding_etl.embedding_store import Embedding, read_embeddings
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.lane_collection import open_collection
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.replace_rows import NewRows, Target, replace_rows
from include.embedding_etl.run_files import RunFiles, parse_shard
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import EmbeddedObject, read_embedded, read_lease
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import Row
from include.embedding_etl.vectorstore.schema import row_id

BATCH_ROWS = 1_000
LOOKAHEAD_OBJECTS = 1_000


def sync(runtime: Runtime, run_id: str, reference: str) -> Figures:
    """Upsert, verify, delete what is stale, commit: in batches over many objects.

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
        target = Target(runtime.pipeline.name, lane, lease, run_id)
        objects = _new_rows(runtime, target, collection.info.dimension, read_embedded(runtime.state, path))
        for batch in batched(objects, BATCH_ROWS, weight=lambda item: len(item.rows)):
            figures["stale_deleted"] += replace_rows(runtime.store, runtime.ledger, target, batch)
            done = [item.key for item in batch]
            runtime.ledger.dead_letters.resolve(runtime.pipeline.name, lane, done, collection.fingerprint)
            figures["objects"] += len(batch)
            figures["rows"] += sum(len(item.rows) for item in batch)
        runtime.store.flush(lease.collection)  # unflushed rows are searched without the index
    return figures


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
            f"Its {contents} contents are forgotten; run again to embed them anew"
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
