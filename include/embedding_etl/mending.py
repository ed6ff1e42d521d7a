"""The steps of a repair, before its converge.

rebuild     a collection of another dimension, fingerprint or index, beside the one that readers see
distrust    objects with bad rows are written again from stored vectors; rows too many are deleted after that
delete      rows that no object accounts for, by primary key; files and collections that nobody needs
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby

from include.embedding_etl.batching import batched
from include.embedding_etl.checks.collections import is_reindexed, is_unowned
from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.checks.store_files import fingerprint_of
from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_collection import open_collection
from include.embedding_etl.reindex import ReindexResult, reindex
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.wording import counted

TURN_WAIT_S = 600.0  # an ingestion may be at work
BATCH_ROWS = 1_000
REWRITTEN = (
    "missing row",
    "stale version",
    "other content",
    "orphan row",
    "duplicate row",
    "other vector",
    "vector off norm",
    "ledger contradiction",
)
REBUILT = ("other index", "other dimension", "other fingerprint")


@dataclass(slots=True)
class Work:
    """What a repair does it with, and what came of it so far."""

    runtime: Runtime
    run_id: str
    differences: Differences
    approved_deletes: int
    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _rebuild(work: Work) -> None:
    for each in work.differences.of(*REBUILT):
        try:
            result = _reindex(work, each)
        except (ConfigError, IntegrityError) as error:
            work.problems.append(f"lane {each.lane}: not rebuilt: {error}")
            continue
        if result.cut_over:
            work.done.append(f"{each.lane}: rebuilt as {result.candidate}, and readers see it")
        else:
            work.problems.append(f"lane {each.lane}: not rebuilt: {result.problem}")


def _reindex(work: Work, each: Difference) -> ReindexResult:
    """With the settings that the collection was to have: a repair changes no configuration."""
    index = open_collection(work.runtime, each.collection).settings.index
    values = {"lane": each.lane, "rebuild": "index", "index": index.model_dump(), "approval": False}
    request = ReindexRequest.parse(work.runtime.pipeline, values)
    return reindex(work.runtime, f"{work.run_id} rebuild {each.lane}", request, lambda _: True)


def _point_aliases(work: Work) -> None:
    runtime = work.runtime
    for each in work.differences.of("missing alias", "alias elsewhere"):
        lease = runtime.lease(each.collection, work.run_id, TURN_WAIT_S)  # no cutover at the same time
        live = runtime.ledger.collections.live(runtime.pipeline.name, each.lane)
        if live is not None and live.name == each.collection and runtime.store.has_collection(live.name):
            alias = runtime.pipeline.alias(each.lane)
            with durable_write("alias"):
                runtime.store.point_alias(alias, live.name)
            work.done.append(f"alias {alias} points at {live.name}")
        runtime.ledger.leases.release(lease)


def _forget_lost_files(work: Work) -> None:
    for each in work.differences.of("lost store file"):
        with durable_write("store_forget"):
            contents = work.runtime.ledger.vectors.forget(each.subject)
        with durable_write("file_delete"):
            work.runtime.state.delete_file(each.subject)  # what is left of it
        lost = counted(contents, "content is", "contents are")
        work.done.append(f"{each.subject}: forgotten, {lost} embedded again when needed")


def _distrust(work: Work) -> None:
    ledger, objects = work.runtime.ledger, 0
    contradicted = (each.key for each in work.differences.stream("ledger contradiction"))
    for keys in batched(contradicted, BATCH_ROWS):
        known = ledger.objects.get_many(work.runtime.pipeline.name, keys)
        with durable_write("objects"):  # identify looks at them again
            ledger.objects.put(work.runtime.pipeline.name, [replace(record, etag="") for record in known.values()])
    bad = (item for item in work.differences.objects_of(*REWRITTEN) if item[1])
    for batch in batched(bad, BATCH_ROWS):
        for collection in dict.fromkeys(item[0] for item in batch):
            written = [(key, ordinal + 1) for name, key, ordinal in batch if name == collection]
            with durable_write("distrust"):
                ledger.entries.distrust(collection, written)
        objects += len(batch)
    if objects:
        work.done.append(counted(objects, "object is written again", "objects are written again"))


def _delete_foreign_rows(work: Work) -> None:
    """Rows that no run would ever write or delete. Under the lease, so that nobody writes meanwhile."""
    runtime, deleted = work.runtime, 0
    for collection, count in work.differences.counts("foreign row").items():
        limits = runtime.pipeline.thresholds
        share = int(limits.max_delete_fraction * runtime.ledger.entries.totals(collection).rows)
        allowed = max(limits.min_delete_objects, share, work.approved_deletes)
        if count > allowed:
            work.problems.append(
                f"{collection}: {counted(count, 'row is', 'rows are')} not ours, and only {allowed} may be deleted "
                f"unasked. If this is right: `etl audit {runtime.pipeline.name} --repair --approve-deletes {count}`"
            )
            continue
        lease = runtime.lease(collection, work.run_id, TURN_WAIT_S)
        foreign = (each for each in work.differences.stream("foreign row") if each.collection == collection)
        for batch in batched(foreign, BATCH_ROWS):
            lease = runtime.ledger.leases.extend(lease)
            _delete_rows(work, batch)
            if not runtime.ledger.leases.holds(lease):
                runtime.ledger.entries.distrust(collection, [(each.key, each.ordinal + 1) for each in batch])
            deleted += len(batch)
        runtime.ledger.leases.release(lease)
    if deleted:
        work.done.append(counted(deleted, "row that is not ours is deleted", "rows that are not ours are deleted"))


def _delete_rows(work: Work, rows: list[Difference]) -> None:
    collection, ids = rows[0].collection, [each.subject for each in rows]
    with durable_write("orphan_delete"):
        work.runtime.store.delete(collection, ids)
    left = work.runtime.store.read_versions(collection, ids)
    if left:
        raise IntegrityError(f"{collection}: {len(left)} of {len(ids)} deleted rows are still there")


def _delete_unreferenced_files(work: Work) -> None:
    runtime, deleted = work.runtime, 0
    listed = sorted(each.subject for each in work.differences.of("unreferenced store file"))
    for fingerprint, paths in groupby(listed, fingerprint_of):
        named = runtime.ledger.vectors.files(fingerprint)
        for path in paths:
            if path not in named:
                with durable_write("file_delete"):
                    runtime.state.delete_file(path)
                deleted += 1
    if deleted:
        nobodys = counted(deleted, "file")
        work.done.append(f"{nobodys} deleted that nobody references")


def _drop_unowned_collections(work: Work) -> None:
    store = work.runtime.store
    for each in work.differences.of("unowned collection"):
        if not is_unowned(work.runtime, each.collection):
            continue
        if aliases := store.aliases(each.collection):
            work.problems.append(f"{each.collection} stays: the alias {', '.join(aliases)} points at it")
            continue
        with durable_write("drop_collection"):
            store.drop_collection(each.collection)
        work.done.append(f"{each.collection} is dropped: nobody owned it")


def _forget_lost_collections(work: Work) -> None:
    runtime = work.runtime
    for each in work.differences.of("lost collection"):
        lease = runtime.lease(each.collection, work.run_id)
        if not is_reindexed(runtime, each.lane) and not runtime.store.has_collection(each.collection):
            with durable_write("drop_commit"):
                runtime.ledger.collections.mark_dropped(each.collection)
            work.done.append(f"{each.collection} is marked as dropped")
        runtime.ledger.leases.release(lease)


STEPS: tuple[Callable[[Work], None], ...] = (
    _rebuild,
    _point_aliases,
    _forget_lost_files,
    _distrust,
    _delete_foreign_rows,
    _delete_unreferenced_files,
    _drop_unowned_collections,
    _forget_lost_collections,
)
