"""What audits found, and when."""

from collections.abc import Mapping

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database, now_ms
from include.embedding_etl.ledger.records import AuditRecord
from include.embedding_etl.ledger.tables import audits
from include.embedding_etl.types import JsonValue


class Audits:
    """The `audits` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, pipeline: str, run_id: str, faults: int, findings: Mapping[str, JsonValue]) -> None:
        """Write down what one audit found."""
        row = {
            "pipeline": pipeline,
            "run_id": run_id,
            "at_ms": now_ms(),
            "faults": faults,
            "findings": dict(findings),
        }
        with self._database.writing() as connection:
            connection.execute(sa.insert(audits).values(row))

    def last(self, pipeline: str, n: int) -> list[AuditRecord]:
        """The newest audits of a pipeline, the newest first."""
        statement = sa.select(audits).where(audits.c.pipeline == pipeline).order_by(audits.c.id.desc()).limit(n)
        with self._database.reading() as connection:
            return [AuditRecord(*row) for row in connection.execute(statement)]
