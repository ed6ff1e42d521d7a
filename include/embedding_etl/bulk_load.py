"""Fill a collection by Milvus' bulk import instead of upserts: the first load of many rows.

    mark      a file under the state URI says that a job may begin, and of which staged file
    stage     rows as Parquet, where the server can read it
    intend    the ledger learns how many rows may exist from now on, as before an upsert
    submit    the server begins a job
    wait      until it is done
    verify    read ids, versions and the number of rows back with Strong consistency
    commit    the ledger says so, and only now
    clear     the staged file goes, then the mark

A job inserts: begun twice, or begun beside upserts, it leaves ids with two rows, which reads by id do not show. Hence
only objects are imported of which the ledger knows nothing; rows are counted, not only read; and whoever finds a mark
of an earlier try settles it before anything else is written: the staged file is deleted, so that a process that wakes
up late has nothing to submit, and jobs that have begun are waited for. What is not exactly as expected then is
upserted, and an upsert replaces all rows of an id.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from include.embedding_etl.batching import batched
from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.replace_rows import NewRows, RowRange, Target, check_again, entry_of
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import BulkImportSettings
from include.embedding_etl.shard_files import EmbeddedObject
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import Entry
from include.embedding_etl.vectorstore.bulk_jobs import BulkJobs, ImportJob
from include.embedding_etl.vectorstore.import_files import IMPORT, import_batch

log = structlog.get_logger()

JOB_ROWS = 100_000  # of one job: what a crash makes to be written again
_SLICE_ROWS = 1_000
_FIRST_POLL_S, _LONGEST_POLL_S = 0.2, 10.0
_SETTLE_S = 3_600.0  # for jobs of a place that is not configured any more
_VISIBLE_S = 60.0  # what was imported shows up within seconds of the refresh


@dataclass(frozen=True, slots=True)
class _Mark:
    """A job that may have begun."""

    path: str  # below the state URI
    staging_uri: str
    file: str  # below the staging URI


def settle_imports(runtime: Runtime, lease: Lease, is_over: Callable[[int, int], bool]) -> int:
    """End what earlier tries may have begun, and return how many they were. Their rows are as they are.

    Args:
        lease: Of the collection.
        is_over: Of a mark's token and shard: whether its maker is a try that was given up.
    Raises:
        TransientError: a job still runs; or the lease is lost.
    """
    marks = _marks(runtime, lease.collection, is_over)
    if not marks:
        return 0
    runtime.ledger.leases.check(lease)
    for mark in marks:
        StateStore(mark.staging_uri, runtime.places).delete_file(mark.file)
    jobs = runtime.store.bulk_jobs
    if jobs is not None:
        configured = runtime.pipeline.milvus.bulk_import
        running = [job.number for job in jobs.jobs(lease.collection) if job.state == "running"]
        _wait(jobs, running, configured.timeout_s if configured else _SETTLE_S)
        jobs.show(lease.collection)
    runtime.ledger.leases.check(lease)
    for mark in marks:
        runtime.state.delete_file(mark.path)
    log.info("bulk imports of an earlier try are settled", collection=lease.collection, jobs=len(marks))
    return len(marks)


def open_bulk_load(
    runtime: Runtime, target: Target, shard: int, dimension: int, objects: Iterable[EmbeddedObject]
) -> "BulkLoad | None":
    """A bulk load of these objects; None where they are to be upserted.

    That is where it is not configured, the server has no bulk import, there are too few rows, or the ledger knows of
    rows that one of the objects has or may have.
    """
    settings = runtime.pipeline.milvus.bulk_import
    if settings is None:
        return None
    rows = 0
    for batch in batched(objects, _SLICE_ROWS):
        rows += sum(item.rows for item in batch)
        if runtime.ledger.entries.get_many(target.collection, [item.record.key for item in batch]):
            return None
    if rows < settings.min_rows:
        return None
    jobs = runtime.store.bulk_jobs
    if jobs is None:
        version = runtime.store.capabilities.version
        log.warning("this server has no bulk import: rows are upserted", server=version, rows=rows)
        return None
    return BulkLoad(runtime, target, shard, dimension, settings, jobs)


class BulkLoad:
    """Bulk imports of one shard. After one that failed, the rest is left to upserts."""

    def __init__(
        self,
        runtime: Runtime,
        target: Target,
        shard: int,
        dimension: int,
        settings: BulkImportSettings,
        jobs: BulkJobs,
    ) -> None:
        self._runtime, self._target, self._shard, self._dimension = runtime, target, shard, dimension
        self._settings, self._jobs = settings, jobs
        self._staging = StateStore(settings.staging_uri, runtime.places)
        self._failed = False

    def load(self, objects: Iterator[NewRows]) -> bool:
        """Import the rows of some objects, verify and commit them.

        Args:
            objects: With their rows; read only if a job is tried.
        Returns:
            Whether it is done. If not, the objects are to be upserted: no job of theirs runs any more.
        Raises:
            TransientError: the lease is lost, a job still runs, or nobody knows whether it has begun.
        """
        if self._failed:
            return False
        mark = self._new_mark()
        try:
            entries = self._stage(mark, objects)
        except ConfigError as error:
            return self._give_up(str(error))
        try:
            self._import(mark, entries)
        except (ConfigError, IntegrityError) as error:
            return self._give_up(str(error))
        if not self._is_exact(entries):
            return self._give_up("what it wrote is not exactly what was expected")
        for batch in batched(entries, _SLICE_ROWS):
            with durable_write("entry_commit"):
                self._runtime.ledger.entries.commit(self._target.lease, self._target.collection, batch)
        with durable_write("import_clear"):
            self._staging.delete_file(mark.file)
            self._runtime.state.delete_file(mark.path)
        return True

    def _give_up(self, reason: str) -> Literal[False]:
        self._failed = True
        log.warning("bulk import failed: rows are upserted", collection=self._target.collection, reason=reason)
        settle_imports(self._runtime, self._target.lease, self._is_mine)
        return False

    def _is_mine(self, token: int, shard: int) -> bool:
        return (token, shard) == (self._target.lease.token, self._shard)

    def _new_mark(self) -> _Mark:
        name = f"{self._target.lease.token}-{self._shard}-{uuid.uuid4().hex}.parquet"
        mark = _Mark(f"{_folder(self._target.collection)}/{name}", self._settings.staging_uri, name)
        facts = {"staging_uri": mark.staging_uri, "file": mark.file}
        with durable_write("import_intent"):
            self._runtime.state.write_table(mark.path, [], IMPORT, facts)
        return mark

    def _stage(self, mark: _Mark, objects: Iterator[NewRows]) -> list[Entry]:
        entries: list[Entry] = []
        with durable_write("import_file"), self._staging.writer(mark.file, IMPORT) as file:
            for batch in batched(objects, _SLICE_ROWS, weight=lambda item: len(item.rows)):
                rows = [row for item in batch for row in item.rows]
                if rows:
                    file.write(import_batch(rows, self._dimension))
                entries.extend(entry_of(item, self._target.run_id) for item in batch)
        return entries

    def _import(self, mark: _Mark, entries: Sequence[Entry]) -> None:
        ledger, target = self._runtime.ledger, self._target
        written = [(entry.key, entry.rows) for entry in entries]
        with durable_write("intend"):
            ledger.entries.intend(target.lease, target.collection, written)
        ledger.leases.check(target.lease)
        file = f"{self._settings.named_by_server}/{mark.file}"
        with durable_write("import_submit"):
            number = self._jobs.submit(target.collection, file)
        check_again(ledger, target, written)
        job = _wait(self._jobs, [number], self._settings.timeout_s)[0]
        # The client library repeats a request whose connection broke: then there is another job of the same file.
        twins = [each for each in self._jobs.jobs(target.collection) if each.file == file and each.state == "running"]
        _wait(self._jobs, [each.number for each in twins], self._settings.timeout_s)
        check_again(ledger, target, written)
        if job.state == "failed":
            raise IntegrityError(job.reason or "the server does not say why")
        self._jobs.show(target.collection)

    def _is_exact(self, entries: Sequence[Entry]) -> bool:
        until = time.monotonic() + _VISIBLE_S
        return all(
            self._shows(batch, until) for batch in batched(entries, _SLICE_ROWS, weight=lambda entry: entry.rows)
        )

    def _shows(self, batch: Sequence[Entry], until: float) -> bool:
        store, collection = self._runtime.store, self._target.collection
        versions = {
            each: entry.version for entry in batch for each in self._target.row_ids(RowRange(entry.key, 0, entry.rows))
        }
        ids = list(versions)
        while store.count_ids(collection, ids) < len(ids) and time.monotonic() < until:
            time.sleep(_FIRST_POLL_S)
        return store.count_ids(collection, ids) == len(ids) and store.read_versions(collection, ids) == versions


def _folder(collection: str) -> str:
    return f"imports/{collection}"


def _marks(runtime: Runtime, collection: str, is_over: Callable[[int, int], bool]) -> list[_Mark]:
    """Those that are over. Others are not read: their makers may be about to delete them."""
    found = []
    for file in runtime.state.list_files(_folder(collection)):
        token, shard, _ = file.path.rpartition("/")[2].split("-")
        if is_over(int(token), int(shard)):
            facts = runtime.state.metadata(file.path)
            found.append(_Mark(file.path, facts["staging_uri"], facts["file"]))
    return found


def _wait(jobs: BulkJobs, numbers: Sequence[int], timeout_s: float) -> list[ImportJob]:
    """The jobs when none of them runs any more.

    Raises:
        TransientError: one still runs.
    """
    until, pause_s = time.monotonic() + timeout_s, _FIRST_POLL_S
    while True:
        found = [jobs.job(number) for number in numbers]
        running = [job for job in found if job.state == "running"]
        if not running:
            return found
        if time.monotonic() > until:
            raise TransientError(
                f"bulk import {running[0].number} still runs after {timeout_s:.0f} s: the next try waits for it"
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
