"""route: for one collection, compare what should be indexed with what is, and cut the work into shards."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack

from include.embedding_etl.bulk_load import settle_imports
from include.embedding_etl.diff import Action
from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.run_files import RunFiles, listed_prefix, shard_reference
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import WORK, lease_metadata, work_batch
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import ObjectRecord

WORK_ACTIONS = frozenset({Action.EMBED, Action.RELABEL})
SHARD_BYTES = 512 << 20  # below max_shards, a new shard is opened at this size too
OBJECT_COST_BYTES = 100_000  # what an object costs beyond its bytes, when shards are made about equal
WRITE_BATCH = 2_000


def route(runtime: Runtime, run_id: str, collection: LaneCollection, first_shard: int = 0) -> list[str]:
    """Take the collection's lease and write its shard files.

    Args:
        first_shard: Number of the first shard: a run that routes a collection again must not overwrite its figures.
    Returns:
        Shard references such as text/0; an empty list where there is nothing to do.
    Raises:
        TransientError: another run writes to the collection, or it was cut over meanwhile.
    """
    with stage(runtime, run_id, "route", collection.lane, first_shard) as figures:
        lease = _take_lease(runtime, run_id, collection)
        if not runtime.store.has_collection(collection.name):
            return []  # report says what is missing and how to write it again
        return _cut(runtime, run_id, collection, lease, figures, first_shard)


def route_rewrite(runtime: Runtime, run_id: str, collection: LaneCollection) -> list[str]:
    """As `route`, with all rows to be written again from stored vectors: the collection was lost or emptied.

    The alias of a live collection is made to point at it again.

    Raises:
        ConfigError: the run is about a part of the source only; as `route`.
    """
    if listed_prefix(runtime, run_id):
        raise ConfigError(f"lane {collection.lane}: rows are written again all or none: leave the prefix out")
    with stage(runtime, run_id, "route", collection.lane) as figures:
        lease = _take_lease(runtime, run_id, collection)
        with durable_write("collection_create"):
            runtime.store.create_collection(collection.spec)
        if collection.state == "live":
            with durable_write("alias"):
                runtime.store.point_alias(collection.alias, collection.name)
        runtime.ledger.entries.forget_versions(lease, collection.name)
        return _cut(runtime, run_id, collection, lease, figures, 0)


def _take_lease(runtime: Runtime, run_id: str, collection: LaneCollection) -> Lease:
    lease = runtime.lease(collection.name, run_id)
    record = runtime.ledger.collections.get(collection.name)
    if record is None or record.state != collection.state:
        runtime.ledger.leases.release(lease)
        raise TransientError(f"lane {collection.lane}: {collection.name} was cut over meanwhile: try again")
    return lease


def _cut(
    runtime: Runtime, run_id: str, collection: LaneCollection, lease: Lease, figures: Figures, first_shard: int
) -> list[str]:
    """Two passes over the diff: count, so that few objects make few tasks; then deal them out by cost."""
    with Heartbeat(runtime.ledger, lease):
        settle_imports(runtime, lease, lambda token, _: token < lease.token)
    objects = size_bytes = 0
    prefix = listed_prefix(runtime, run_id)
    for change in lane_changes(runtime, collection, prefix):
        figures[change.action.value] += 1
        if change.action in WORK_ACTIONS and change.record is not None:
            objects += 1
            size_bytes += change.record.size_bytes
    if objects == 0:
        return []
    limits = runtime.pipeline.shards
    wanted = max(-(-objects // limits.max_shard_objects), -(-size_bytes // SHARD_BYTES))
    numbers = range(first_shard, first_shard + min(wanted, limits.max_shards))
    references = [shard_reference(collection.lane, number) for number in numbers]
    metadata = lease_metadata(lease)
    with durable_write("shard"):
        work = _work(runtime, collection, prefix)
        _deal(runtime, RunFiles(runtime.pipeline.name, run_id), references, metadata, work)
    return references


def _work(runtime: Runtime, collection: LaneCollection, prefix: str) -> Iterator[ObjectRecord]:
    for change in lane_changes(runtime, collection, prefix):
        if change.action in WORK_ACTIONS and change.record is not None:
            yield change.record


def _deal(
    runtime: Runtime, files: RunFiles, references: list[str], metadata: dict[str, str], work: Iterator[ObjectRecord]
) -> None:
    """Each object to the shard that has the least to do so far. One object is in one shard only."""
    with ExitStack() as opened:
        writers = [opened.enter_context(runtime.state.writer(files.shard(reference), WORK)) for reference in references]
        for writer in writers:
            writer.set_metadata(metadata)
        pending: list[list[ObjectRecord]] = [[] for _ in references]
        loads = [(0, number) for number in range(len(references))]
        for record in work:
            load, number = loads[0]
            heapq.heapreplace(loads, (load + record.size_bytes + OBJECT_COST_BYTES, number))
            pending[number].append(record)
            if len(pending[number]) == WRITE_BATCH:
                writers[number].write(work_batch(pending[number]))
                pending[number] = []
        for writer, rest in zip(writers, pending, strict=True):
            writer.write(work_batch(rest))
