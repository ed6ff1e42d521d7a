"""retention: what nobody needs any more goes when its time has come.

    collections   retired ones and candidates after their grace time, by real name, never one that an alias points at
    candidates    abandoned ones get such a time
    vectors       of fingerprints that no collection of any pipeline uses: ledger first, files second
    runs          that will never say how they ended are given up: only then may their files go
    run files     snapshots and shards of runs that have ended; what writers that died have left

`due` says what would go; `clear_up` looks at each thing once more, just before it goes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from include.embedding_etl.checks.collections import is_reindexed
from include.embedding_etl.drop_collection import drop_collection
from include.embedding_etl.errors import TransientError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger.records import CollectionRecord
from include.embedding_etl.lost_runs import give_up, lost_runs
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.wording import counted

DueKind: TypeAlias = Literal["run", "collection", "candidate", "vectors", "run files", "unfinished file"]
DAY_MS = 86_400_000
CANDIDATE_MS = DAY_MS  # an abandoned candidate stays so long, and as long again once that was noticed
UNFINISHED_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Due:
    """One thing whose time has come."""

    kind: DueKind
    name: str  # collection, fingerprint, folder or file
    what: str  # is done about it, for people


def due(runtime: Runtime, now_ms: int | None = None) -> list[Due]:
    """What `clear_up` would do now. Changes nothing."""
    now = now_ms or _now_ms()
    looks = (_runs, _collections, _candidates, _vectors, _run_files, _unfinished)
    return [item for look in looks for item in look(runtime, now)]


def clear_up(runtime: Runtime, run_id: str, now_ms: int | None = None) -> list[str]:
    """Do what is due.

    Returns:
        One line for each thing that went, or that stays after all.
    Raises:
        TransientError: Milvus or the place of the state did not answer; the next time goes on.
    """
    now = now_ms or _now_ms()
    return [_CLEAR[item.kind](runtime, run_id, item.name, now) for item in due(runtime, now)]


def _runs(runtime: Runtime, now: int) -> Iterator[Due]:
    for life, why in lost_runs(runtime, now).items():
        yield Due("run", life.run_id, f"run {life.run_id}: {why}: marked as failed")


def _give_up(runtime: Runtime, _run_id: str, name: str, now: int) -> str:
    lost = {life.run_id: (life, why) for life, why in lost_runs(runtime, now).items()}
    if name not in lost or not give_up(runtime, *lost[name]):
        return f"run {name} is at work again"
    return f"run {name} is marked as failed: {lost[name][1]}"


def _collections(runtime: Runtime, now: int) -> Iterator[Due]:
    for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name):
        if _may_go(record, now):
            yield Due("collection", record.name, f"{record.name}: {record.state}, its time has passed: dropped")


def _may_go(record: CollectionRecord | None, now: int) -> bool:
    if record is None or record.state == "live" or record.dropped_at_ms is not None:
        return False
    return record.drop_after_ms is not None and record.drop_after_ms <= now


def _drop(runtime: Runtime, run_id: str, name: str, now: int) -> str:
    record = runtime.ledger.collections.get(name)
    if record is None:
        return f"{name} is gone"
    try:  # no reindex takes it up again, no rollback goes back to it
        lease = runtime.lease(runtime.reindexing(record.lane), run_id)
    except TransientError as error:
        return f"{name} stays: {error}"
    try:
        aliases = runtime.store.aliases(name) if runtime.store.has_collection(name) else []
        if aliases:
            return f"{name} stays: the alias {', '.join(aliases)} points at it"
        if not _may_go(runtime.ledger.collections.get(name), now):
            return f"{name} stays: it is needed again"
        drop_collection(runtime, name, run_id)
    finally:
        runtime.ledger.leases.release(lease)
    return f"{name} is dropped"


def _candidates(runtime: Runtime, now: int) -> Iterator[Due]:
    begun = {
        each.candidate: each.started_at_ms
        for each in reversed(runtime.ledger.reindexes.last(runtime.pipeline.name, 100))
    }
    for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name):
        used_ms = max(record.created_at_ms, begun.get(record.name, 0))
        abandoned = record.state == "candidate" and record.drop_after_ms is None and used_ms + CANDIDATE_MS <= now
        if abandoned and not is_reindexed(runtime, record.lane):
            yield Due("candidate", record.name, f"{record.name}: no reindex uses it: dropped in 24 hours")


def _set_time(runtime: Runtime, run_id: str, name: str, now: int) -> str:
    record = runtime.ledger.collections.get(name)
    if record is None or record.state != "candidate":
        return f"{name} is no candidate any more"
    try:
        lease = runtime.lease(runtime.reindexing(record.lane), run_id)
    except TransientError as error:
        return f"{name} stays: {error}"
    runtime.ledger.collections.set_state(name, "candidate", now + CANDIDATE_MS)
    runtime.ledger.leases.release(lease)
    return f"{name} is dropped in 24 hours"


def _vectors(runtime: Runtime, now: int) -> Iterator[Due]:
    keep_ms = int(runtime.pipeline.retention.keep_vectors_days * DAY_MS)
    for fingerprint in sorted(
        {record.fingerprint for record in runtime.ledger.collections.history(runtime.pipeline.name)}
    ):
        dropped = _dropped_at_ms(runtime, fingerprint)
        if dropped is not None and dropped + keep_ms <= now and _has_vectors(runtime, fingerprint):
            yield Due("vectors", fingerprint, f"vectors of {fingerprint[:8]}: no collection uses them: deleted")


def _dropped_at_ms(runtime: Runtime, fingerprint: str) -> int | None:
    """When the last collection of a fingerprint was dropped; None while there is one, of whatever pipeline."""
    records = runtime.ledger.collections.of_fingerprint(fingerprint)
    dropped = [record.dropped_at_ms for record in records if record.dropped_at_ms is not None]
    return max(dropped) if dropped and len(dropped) == len(records) else None


def _has_vectors(runtime: Runtime, fingerprint: str) -> bool:
    in_ledger = next(runtime.ledger.vectors.stream(fingerprint), None)
    return in_ledger is not None or next(runtime.state.list_files(_folder(fingerprint)), None) is not None


def _forget_vectors(runtime: Runtime, _run_id: str, fingerprint: str, _now: int) -> str:
    # Listed first: a collection that begins to use the fingerprint from here on writes files of other names.
    files = [file.path for file in runtime.state.list_files(_folder(fingerprint))]
    with durable_write("store_forget"):
        contents = runtime.ledger.vectors.forget_fingerprint(fingerprint)
    if _dropped_at_ms(runtime, fingerprint) is None:
        return f"vectors of {fingerprint[:8]} stay: a collection uses them again"
    for path in files:
        with durable_write("file_delete"):
            runtime.state.delete_file(path)
    gone = f"{counted(contents, 'content')}, {counted(len(files), 'file')}"
    return f"vectors of {fingerprint[:8]} are deleted: {gone}"


def _run_files(runtime: Runtime, now: int) -> Iterator[Due]:
    old_ms = now - runtime.pipeline.retention.keep_run_files_days * DAY_MS
    running = _running(runtime)
    files = runtime.state.list_files(f"runs/{runtime.pipeline.name}")
    for folder, group in groupby(files, lambda file: "/".join(file.path.split("/")[:3])):
        if max(file.modified_ms for file in group) <= old_ms and folder not in running:
            yield Due("run files", folder, f"{folder}: deleted")


def _running(runtime: Runtime) -> set[str]:
    name = runtime.pipeline.name
    return {RunFiles(name, run_id).prefix for run_id in runtime.ledger.runs.running(name)}


def _delete_run_files(runtime: Runtime, _run_id: str, folder: str, _now: int) -> str:
    if folder in _running(runtime):
        return f"{folder} stays: its run is at work again"
    with durable_write("file_delete"):
        runtime.state.delete_prefix(folder)
    return f"{folder} is deleted"


def _unfinished(runtime: Runtime, now: int) -> Iterator[Due]:
    for file in runtime.state.list_unfinished():
        if file.modified_ms <= now - UNFINISHED_MS:
            yield Due("unfinished file", file.path, f"{file.path}: left by a writer that died: deleted")


def _delete_file(runtime: Runtime, _run_id: str, path: str, _now: int) -> str:
    with durable_write("file_delete"):
        runtime.state.delete_file(path)
    return f"{path} is deleted"


_CLEAR: Mapping[DueKind, Callable[[Runtime, str, str, int], str]] = {
    "run": _give_up,
    "collection": _drop,
    "candidate": _set_time,
    "vectors": _forget_vectors,
    "run files": _delete_run_files,
    "unfinished file": _delete_file,
}


def _folder(fingerprint: str) -> str:
    return f"embeddings/{fingerprint}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
