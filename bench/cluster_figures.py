"""Figures that more than one bench of the cluster prints."""

import sqlalchemy as sa

from bench.cluster_runs import RunSpan
from bench.measure import print_figure

LEDGER_TABLES = ("objects", "entries", "vectors")


def print_run(what: str, run: RunSpan, objects: int) -> None:
    """One line for the run, one for each stage."""
    print_figure(what, f"{run.wall_s:.1f} s, {objects / run.wall_s:.1f} objects/s")
    for stage, span in run.stages.items():
        print_figure(
            f"  {stage}, {span.tasks} tasks",
            f"from {span.begin_s:.1f} s on, {span.wall_s:.1f} s, {span.work_s:.1f} s of tasks, "
            f"each waited {span.wait_s:.1f} s",
        )


def print_ledger(engine: sa.Engine) -> None:
    """Rows and bytes of the tables that grow with the objects."""
    with engine.connect() as connection:
        for table in LEDGER_TABLES:
            rows = connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
            sizes = sa.select(sa.func.pg_total_relation_size(table), sa.func.pg_indexes_size(table))
            total, indexes = connection.execute(sizes).one()
            each = f"{total / max(1, rows):.0f} bytes each, {indexes / max(1, rows):.0f} of them in indexes"
            print_figure(f"ledger, table {table}", f"{rows:,} rows, {each}")
