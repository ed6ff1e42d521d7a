"""route: for one lane, compare what should be indexed with what is, and cut the work into shards."""

import heapq
from collections.abc import Iterator, Set
from contextlib import ExitStack

from include.embedding_etl.diff import Action
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.live_collection import LiveCollection, ensure_live
from include.embedding_etl.run_files import RunFiles, shard_reference
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import WORK, lease_metadata, work_batch
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import ObjectRecord

WORK_ACTIONS = frozenset({Action.EMBED, Action.RELABEL})
SHARD_BYTES = 512 << 20  # below max_shards, a new shard is opened at this size too
OBJECT_COST_BYTES = 100_000  # what an object costs beyond its bytes, when shards are made about equal
WRITE_BATCH = 2_000


def route(runtime: Runtime, run_id: str, lane: str, rewrite: Set[str] = frozenset()) -> list[str]:
    """Take the lane's lease and write its shard files.

    Args:
        rewrite: Lanes whose rows are all to be written again, from stored vectors, and whose alias is to point at them
            again: the collection was lost or emptied, or the alias bent.
    Returns:
        Shard references such as text/0; an empty list where there is nothing to do.
    """
    with stage(runtime, run_id, "route", lane) as figures:
        live = ensure_live(runtime, lane)
        lease = runtime.lease(live.name, run_id)
        if lane in rewrite:
            with durable_write("collection_create"):
                runtime.store.create_collection(live.spec)
            with durable_write("alias"):
                runtime.store.point_alias(live.alias, live.name)
            runtime.ledger.entries.forget_versions(lease, live.name)
        if not runtime.store.has_collection(live.name):
            return []  # report says what is missing and how to write it again
        return _cut(runtime, run_id, live, lease, figures)


def _cut(runtime: Runtime, run_id: str, live: LiveCollection, lease: Lease, figures: Figures) -> list[str]:
    """Two passes over the diff: count, so that few objects make few tasks; then deal them out by cost."""
    objects = size_bytes = 0
    for change in lane_changes(runtime, live.lane, live.name, live.fingerprint):
        figures[change.action.value] += 1
        if change.action in WORK_ACTIONS and change.record is not None:
            objects += 1
            size_bytes += change.record.size_bytes
    if objects == 0:
        return []
    limits = runtime.pipeline.shards
    wanted = max(-(-objects // limits.max_shard_objects), -(-size_bytes // SHARD_BYTES))
    references = [shard_reference(live.lane, number) for number in range(min(wanted, limits.max_shards))]
    metadata = lease_metadata(lease)
    with durable_write("shard"):
        _deal(runtime, RunFiles(runtime.pipeline.name, run_id), references, metadata, _work(runtime, live))
    return references


def _work(runtime: Runtime, live: LiveCollection) -> Iterator[ObjectRecord]:
    for change in lane_changes(runtime, live.lane, live.name, live.fingerprint):
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
