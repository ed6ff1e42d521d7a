"""identify: look at the first bytes of what is new or changed, and bring ledger.objects up to the snapshot."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from include.embedding_etl.batching import batched
from include.embedding_etl.diff import CHANGED_MEANWHILE, UNREADABLE, compare_listing
from include.embedding_etl.errors import ChangedMeanwhile, IntegrityError, PoisonObject
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.media_types import needs_full_body, sniff, sniff_stream
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import iter_snapshot, read_snapshot
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import ListedObject, ObjectRecord

HEAD_BYTES = 64 * 1024  # one ranged GET; an object that fits in it is hashed at once
BATCH = 1_000
THREADS = 16
OVERSIZE = "oversize"
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def identify(runtime: Runtime, run_id: str) -> Figures:
    """Compare the run's snapshot with ledger.objects and write down what is new, changed, back, or gone.

    Where the snapshot is of a prefix, nothing is said about the objects outside of it.

    Committed in batches: a run that dies here goes on where it stopped.

    Raises:
        IntegrityError: the snapshot is incomplete, or another run has listed the source since. Absence means "deleted"
            in the newest complete listing only.
    """
    pipeline, ledger = runtime.pipeline.name, runtime.ledger
    snapshot = read_snapshot(runtime.state, RunFiles(pipeline, run_id).snapshot)
    lease = Lease(runtime.listing, run_id, snapshot.token, 0, runtime.places.lease_ttl_s)
    with (
        stage(runtime, run_id, "identify") as figures,
        Heartbeat(ledger, lease),
        ThreadPoolExecutor(THREADS) as threads,
    ):
        known = known_objects(runtime, snapshot.prefix)
        changes = compare_listing(iter_snapshot(runtime.state, snapshot), known)
        for batch in batched(changes, BATCH):
            gone = [record.key for listed, record in batch if listed is None and record is not None]
            seen = [(listed, record) for listed, record in batch if listed is not None]
            records = list(threads.map(lambda pair: look_at(runtime, pair[0]), seen))
            _check_newest(runtime, lease)
            with durable_write("objects"):
                ledger.objects.put(pipeline, records)
                ledger.objects.mark_vanished(pipeline, gone)
            figures["new"] += sum(record is None or record.vanished for _, record in seen)
            figures["changed"] += sum(record is not None and not record.vanished for _, record in seen)
            figures["vanished"] += len(gone)
            figures["skipped"] += sum(bool(record.skip_reason) for record in records)
        _check_newest(runtime, lease)
    ledger.leases.release(lease)
    return figures


def _check_newest(runtime: Runtime, lease: Lease) -> None:
    if runtime.ledger.leases.token(lease.collection) != lease.token:
        raise IntegrityError(f"another run has listed {runtime.pipeline.source.uri} since: start a new run")


def known_objects(runtime: Runtime, prefix: str) -> Iterator[ObjectRecord]:
    """What the ledger knows below a prefix. What is not too large any more, since a limit was raised, counts as new."""
    limit = runtime.pipeline.limits.max_object_bytes
    for record in runtime.ledger.objects.stream(runtime.pipeline.name, prefix):
        fits_now = record.skip_reason == OVERSIZE and record.size_bytes <= limit
        yield replace(record, etag="") if fits_now else record


def look_at(runtime: Runtime, listed: ListedObject) -> ObjectRecord:
    """One object as the ledger should know it: its media type by content, or the reason why it is not processed."""
    reason = _skip_reason(listed, runtime.pipeline.limits.max_object_bytes)
    if reason:
        return _record(listed, listed.etag, skip_reason=reason)
    try:
        head, meta = runtime.source.read_head(listed, HEAD_BYTES)
        content_hash = hashlib.sha256(head).hexdigest() if len(head) == listed.size_bytes else ""
        media_type = sniff(head, listed.key)
        if listed.size_bytes > len(head) and needs_full_body(media_type, head):
            with runtime.source.fetch(listed) as fetched:
                media_type, content_hash = sniff_stream(fetched.body, listed.key), fetched.content_hash
        return _record(listed, listed.etag, media_type=media_type, content_hash=content_hash, meta=dict(meta))
    except ChangedMeanwhile:
        return _record(listed, "", skip_reason=CHANGED_MEANWHILE)
    except PoisonObject:
        # Permissions and archive tiers change without the object changing: an empty etag makes every run look again.
        return _record(listed, "", skip_reason=UNREADABLE)


def _skip_reason(listed: ListedObject, max_object_bytes: int) -> str:
    if listed.key.endswith("/"):
        return "directory marker"
    if listed.size_bytes == 0:
        return "empty"
    if listed.size_bytes > max_object_bytes:
        return OVERSIZE
    return "archived" if listed.storage_class in ARCHIVED else ""


def _record(
    listed: ListedObject,
    etag: str,
    media_type: str = "",
    content_hash: str = "",
    skip_reason: str = "",
    meta: dict[str, str] | None = None,
) -> ObjectRecord:
    return ObjectRecord(
        listed.key,
        etag,
        listed.size_bytes,
        listed.last_modified_ms,
        media_type,
        content_hash,
        skip_reason,
        meta=meta or {},
    )
