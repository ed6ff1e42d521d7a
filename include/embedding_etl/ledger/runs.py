"""What each run did: state, counts, durations."""

from collections.abc import Mapping

import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger.database import Database, Select, insert_into, now_ms
from include.embedding_etl.ledger.records import RunKind, RunRecord, RunState, StageRecord, WorkDone
from include.embedding_etl.ledger.tables import run_stages, runs


class Runs:
    """The `runs` and `run_stages` tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, run_id: str, pipeline: str, kind: RunKind = "ingest") -> None:
        """Open a run, or open it again when it is restarted: the first start counts, earlier figures stay."""
        with self._database.writing() as connection:
            started = {
                "run_id": run_id,
                "pipeline": pipeline,
                "state": "running",
                "started_at_ms": now_ms(),
                "kind": kind,
            }
            insert = insert_into(connection, runs).values(started)
            again = {"state": insert.excluded.state, "ended_at_ms": None}
            connection.execute(insert.on_conflict_do_update(index_elements=runs.primary_key, set_=again))

    def add_stage(
        self,
        run_id: str,
        stage: str,
        counts: Mapping[str, int],
        duration_s: float,
        model_s: float = 0.0,
        *,
        lane: str = "",
        shard: int = 0,
    ) -> None:
        """Report what one shard did. Many may report at once; a retried shard replaces what it reported before.

        Raises:
            IntegrityError: the run was never started.
        """
        row = {
            "run_id": run_id,
            "stage": stage,
            "lane": lane,
            "shard": shard,
            "counts": dict(counts),
            "duration_s": duration_s,
            "model_s": model_s,
            "first_at_ms": now_ms(),
        }
        with self._database.writing() as connection:
            insert = insert_into(connection, run_stages).values(row)
            newer = {name: insert.excluded[name] for name in ("counts", "duration_s", "model_s")}
            connection.execute(insert.on_conflict_do_update(index_elements=run_stages.primary_key, set_=newer))

    def finish(self, run_id: str, state: RunState) -> None:
        """Close a run.

        Raises:
            IntegrityError: the run was never started.
        """
        update = sa.update(runs).where(runs.c.run_id == run_id).values(state=state, ended_at_ms=now_ms())
        with self._database.writing() as connection:
            if connection.execute(update).rowcount == 0:
                raise IntegrityError(f"the ledger knows no run {run_id}")

    def get(self, run_id: str) -> RunRecord | None:
        """One run with its figures."""
        found = self._select(sa.select(runs).where(runs.c.run_id == run_id))
        return found[0] if found else None

    def last(self, pipeline: str, n: int, kind: RunKind | None = None) -> list[RunRecord]:
        """The newest runs of a pipeline, the newest first; of one kind, or of all."""
        order = (runs.c.started_at_ms.desc(), runs.c.run_id.desc())
        wanted = [runs.c.pipeline == pipeline, *([runs.c.kind == kind] if kind else [])]
        return self._select(sa.select(runs).where(*wanted).order_by(*order).limit(n))

    def newest(self, pipeline: str, n: int, kind: RunKind) -> dict[str, int]:
        """{run id: when it was started} of the newest runs of one kind, without their figures."""
        statement = sa.select(runs.c.run_id, runs.c.started_at_ms).where(runs.c.pipeline == pipeline)
        order = (runs.c.started_at_ms.desc(), runs.c.run_id.desc())
        with self._database.reading() as connection:
            found = connection.execute(statement.where(runs.c.kind == kind).order_by(*order).limit(n)).all()
        return {run.run_id: run.started_at_ms for run in found}

    def since(self, pipeline: str, since_ms: int) -> list[RunRecord]:
        """The runs of a pipeline that were started at that time or later, the newest first."""
        wanted = (runs.c.pipeline == pipeline, runs.c.started_at_ms >= since_ms)
        return self._select(sa.select(runs).where(*wanted).order_by(runs.c.started_at_ms.desc(), runs.c.run_id.desc()))

    def running(self, pipeline: str) -> list[str]:
        """Ids of the runs of a pipeline that have not ended; a run that was killed is among them for ever."""
        statement = sa.select(runs.c.run_id).where(runs.c.pipeline == pipeline, runs.c.state == "running")
        with self._database.reading() as connection:
            return list(connection.scalars(statement.order_by(runs.c.run_id)))

    def last_success_ms(self, pipeline: str) -> int | None:
        """When the last green ingestion of a pipeline ended: one of all its objects, not of those below a prefix."""
        green = (runs.c.pipeline == pipeline, runs.c.kind == "ingest", runs.c.state == "succeeded")
        with self._database.reading() as connection:
            ended_at_ms: int | None = connection.scalar(sa.select(sa.func.max(runs.c.ended_at_ms)).where(*green))
        return ended_at_ms

    def work_done(self, pipeline: str) -> dict[str, WorkDone]:
        """{lane: what the runs of a pipeline that have ended did}."""

        def added(name: str, stage: str) -> sa.Label[int]:
            figure = sa.case(
                (run_stages.c.stage == stage, sa.cast(run_stages.c.counts[name].as_string(), sa.BigInteger)), else_=0
            )
            return sa.func.coalesce(sa.func.sum(figure), 0).label(f"{stage}_{name}")

        statement = (
            sa.select(
                run_stages.c.lane,
                added("chunks", "embed"),
                added("reused_chunks", "embed"),
                added("rows", "sync"),
                sa.func.sum(run_stages.c.model_s),
            )
            .select_from(run_stages.join(runs))
            .where(runs.c.pipeline == pipeline, runs.c.ended_at_ms.is_not(None), run_stages.c.lane != "")
            .group_by(run_stages.c.lane)
        )
        with self._database.reading() as connection:
            return {
                lane: WorkDone(int(chunks), int(reused), int(rows), float(model_s))
                for lane, chunks, reused, rows, model_s in connection.execute(statement)
            }

    def _select(self, statement: Select) -> list[RunRecord]:
        with self._database.reading() as connection:
            return [
                RunRecord(
                    run.run_id,
                    run.pipeline,
                    run.state,
                    run.started_at_ms,
                    run.ended_at_ms,
                    _stages(connection, run.run_id),
                    run.kind,
                )
                for run in connection.execute(statement).all()
            ]


def _stages(connection: sa.Connection, run_id: str) -> tuple[StageRecord, ...]:
    statement = (
        sa.select(
            run_stages.c.stage,
            run_stages.c.lane,
            run_stages.c.shard,
            run_stages.c.counts,
            run_stages.c.duration_s,
            run_stages.c.model_s,
        )
        .where(run_stages.c.run_id == run_id)
        .order_by(run_stages.c.first_at_ms, run_stages.c.stage, run_stages.c.lane, run_stages.c.shard)
    )
    return tuple(StageRecord(*row) for row in connection.execute(statement))
