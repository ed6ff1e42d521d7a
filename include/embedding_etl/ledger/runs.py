"""What each run did: state, counts, durations."""

from collections.abc import Mapping

import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger.database import Database, Select, insert_into, now_ms
from include.embedding_etl.ledger.process import ProcessIdentity
from include.embedding_etl.ledger.records import RunKind, RunLife, RunRecord, RunState, StageRecord, WorkDone
from include.embedding_etl.ledger.tables import leases, run_stages, runs


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
                "seen_at_ms": now_ms(connection),
            }
            insert = insert_into(connection, runs).values(started)
            kept = {name: insert.excluded[name] for name in ("state", "seen_at_ms")}
            again = {**kept, "ended_at_ms": None, "given_up": None}
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
        ended = {"state": state, "ended_at_ms": now_ms(), "given_up": None}
        update = sa.update(runs).where(runs.c.run_id == run_id).values(**ended)
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
        """Ids of the runs of a pipeline that have not ended; one that was killed is among them until it is given up."""
        statement = sa.select(runs.c.run_id).where(runs.c.pipeline == pipeline, runs.c.state == "running")
        with self._database.reading() as connection:
            return list(connection.scalars(statement.order_by(runs.c.run_id)))

    def signs_of_life(self, pipeline: str) -> list[RunLife]:
        """The runs of a pipeline that have not ended, and when each showed life for the last time."""
        bound = sa.and_(leases.c.owner == runs.c.run_id, leases.c.bound_to_process)
        newest = sa.select(sa.func.max(leases.c.expires_at_ms)).where(leases.c.owner == runs.c.run_id).scalar_subquery()
        columns = (runs.c.run_id, runs.c.seen_at_ms, runs.c.started_at_ms, newest.label("leased_until_ms"))
        unfinished = sa.select(*columns).where(runs.c.pipeline == pipeline, runs.c.state == "running")
        process = sa.select(runs.c.run_id, leases.c.host, leases.c.pid, leases.c.process_start).select_from(
            runs.join(leases, bound)
        )
        with self._database.reading() as connection:
            processes = {
                row.run_id: ProcessIdentity(row.host, row.pid, row.process_start)
                for row in connection.execute(
                    process.where(runs.c.pipeline == pipeline, runs.c.state == "running").order_by(leases.c.token)
                )
            }
            return [
                RunLife(
                    row.run_id,
                    row.started_at_ms if row.seen_at_ms is None else row.seen_at_ms,
                    row.leased_until_ms or 0,
                    processes.get(row.run_id),
                )
                for row in connection.execute(unfinished.order_by(runs.c.run_id))
            ]

    def give_up(self, life: RunLife, why: str) -> bool:
        """Close a run as failed for its own part, unless it has ended or shown life since.

        Returns:
            Whether it was closed.
        """
        seen_at_ms = sa.func.coalesce(runs.c.seen_at_ms, runs.c.started_at_ms)
        same = (runs.c.run_id == life.run_id, runs.c.state == "running", seen_at_ms == life.seen_at_ms)
        closed = {"state": "failed", "ended_at_ms": now_ms(), "given_up": why}
        with self._database.writing() as connection:
            return connection.execute(sa.update(runs).where(*same).values(**closed)).rowcount == 1

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
                    run.given_up,
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
