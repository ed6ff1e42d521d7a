"""Milvus' bulk import: jobs in which a server fills a collection from files that it reads itself.

The calls are those of gRPC (Import, GetImportState, ListImportTasks), on the connection that everything else uses, so
that address, token, database and TLS are the same. MilvusClient has no methods for them, its handler has.

A job inserts: rows whose ids are there already are there twice afterwards. So whoever begins one has made sure that
they are not, and a job whose reply was lost is never begun again by this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from include.embedding_etl.vectorstore.connection import Connection

JobState: TypeAlias = Literal["running", "done", "failed"]

_STATES: Mapping[str, JobState] = {"Completed": "done", "Failed": "failed", "Failed and cleaned": "failed"}
_ALL = 0  # of ListImportTasks: no limit


@dataclass(frozen=True, slots=True)
class ImportJob:
    """One job, as the server shows it."""

    number: int
    state: JobState
    file: str  # as it was named to the server; "" where the server does not say
    rows: int
    reason: str  # of a failure


class BulkJobs:
    """Jobs of one server.

    Args:
        connection: To a server whose capabilities say that it has them.
        timeout_s: What one call may take.
        slow_timeout_s: What it may take to load what a job has written.
    """

    def __init__(self, connection: Connection[Any], timeout_s: float, slow_timeout_s: float) -> None:
        self._connection, self._timeout_s, self._slow_timeout_s = connection, timeout_s, slow_timeout_s

    def submit(self, name: str, file: str) -> int:
        """Begin a job and return its number. Not tried again: a job whose reply was lost would be there twice.

        Args:
            name: Real name of the collection.
            file: As the server finds it: relative to its bucket, or a path on its disk.
        Raises:
            TransientError: it may or may not have begun.
            IntegrityError, ConfigError: the server refuses it.
        """

        def call(client: Any) -> int:
            return int(_handler(client).do_bulk_insert(name, "", [file], **self._options(client)))

        return self._connection.run_once(f"bulk import into {name}", call)

    def job(self, number: int) -> ImportJob:
        """How far a job is."""

        def call(client: Any) -> Any:
            return _handler(client).get_bulk_insert_state(number, **self._options(client))

        return _read(self._connection.run(f"state of bulk import {number}", call))

    def jobs(self, name: str) -> list[ImportJob]:
        """All jobs of a collection that the server remembers."""

        def call(client: Any) -> Any:
            return _handler(client).list_bulk_insert_tasks(_ALL, name, **self._options(client))

        return [_read(each) for each in self._connection.run(f"bulk imports of {name}", call)]

    def show(self, name: str) -> None:
        """Let reads see what jobs have written: a collection that is loaded does not notice by itself for a while."""
        self._connection.run(
            f"refresh {name}", lambda client: client.refresh_load(name, timeout=self._slow_timeout_s), load=name
        )

    def _options(self, client: Any) -> dict[str, Any]:
        return {"timeout": self._timeout_s, "context": client._generate_call_context()}


def _handler(client: Any) -> Any:
    return client._get_connection()


def _read(state: Any) -> ImportJob:
    infos = state.infos
    return ImportJob(
        number=state.task_id,
        state=_STATES.get(state.state_name, "running"),
        file=infos.get("files", ""),
        rows=state.row_count,
        reason=state.failed_reason,
    )
