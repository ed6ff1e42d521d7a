"""Reindexes and rollbacks: which collection was to replace which, what was verified, and what came of it."""

from collections.abc import Mapping

import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger.database import Database, insert_into, now_ms
from include.embedding_etl.ledger.records import ReindexRecord, ReindexState
from include.embedding_etl.ledger.tables import reindexes
from include.embedding_etl.types import JsonValue

ENDED: frozenset[ReindexState] = frozenset({"rejected", "failed", "cut over"})


class Reindexes:
    """The `reindexes` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self,
        run_id: str,
        pipeline: str,
        lane: str,
        request: Mapping[str, JsonValue],
        candidate: str,
        replaces: str,
    ) -> None:
        """Open a reindex, or open it again when its run is restarted."""
        row = {
            "run_id": run_id,
            "pipeline": pipeline,
            "lane": lane,
            "state": "building",
            "request": dict(request),
            "candidate": candidate,
            "replaces": replaces,
            "verification": {},
            "started_at_ms": now_ms(),
            "ended_at_ms": None,
        }
        kept = {"run_id", "pipeline", "lane", "started_at_ms"}
        with self._database.writing() as connection:
            insert = insert_into(connection, reindexes).values(row)
            again = {name: insert.excluded[name] for name in row if name not in kept}
            connection.execute(insert.on_conflict_do_update(index_elements=reindexes.primary_key, set_=again))

    def set_verification(self, run_id: str, verification: Mapping[str, JsonValue]) -> None:
        """Write down what the verification found.

        Raises:
            IntegrityError: there is no such reindex.
        """
        self._update(run_id, {"verification": dict(verification)})

    def set_state(self, run_id: str, state: ReindexState) -> None:
        """Say how far it has come; all states but `building` and `verified` end it.

        Raises:
            IntegrityError: there is no such reindex.
        """
        self._update(run_id, {"state": state, "ended_at_ms": now_ms() if state in ENDED else None})

    def get(self, run_id: str) -> ReindexRecord | None:
        """One reindex."""
        found = self._select(reindexes.c.run_id == run_id, limit=1)
        return found[0] if found else None

    def last(self, pipeline: str, n: int) -> list[ReindexRecord]:
        """The newest reindexes of a pipeline, the newest first."""
        return self._select(reindexes.c.pipeline == pipeline, limit=n)

    def _update(self, run_id: str, values: Mapping[str, object]) -> None:
        update = sa.update(reindexes).where(reindexes.c.run_id == run_id).values(**values)
        with self._database.writing() as connection:
            if connection.execute(update).rowcount == 0:
                raise IntegrityError(f"the ledger knows no reindex {run_id}")

    def _select(self, condition: sa.ColumnElement[bool], limit: int) -> list[ReindexRecord]:
        order = (reindexes.c.started_at_ms.desc(), reindexes.c.run_id.desc())
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(reindexes).where(condition).order_by(*order).limit(limit))
            return [ReindexRecord(*row) for row in rows]
