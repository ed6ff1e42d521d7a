"""What one run through the cluster took: read from Airflow's database, which says when each task waited and worked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

_TASKS = sa.text(
    "SELECT task_id, state, extract(epoch from coalesce(queued_dttm, start_date)) AS queued_s,"
    " extract(epoch from start_date) AS start_s, extract(epoch from end_date) AS end_s, try_number"
    " FROM task_instance WHERE dag_id = :dag_id AND run_id = :run_id"
    " AND start_date IS NOT NULL AND end_date IS NOT NULL"
)
_RUN = sa.text(
    "SELECT state, extract(epoch from queued_at) AS queued_s, extract(epoch from end_date) AS end_s"
    " FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id"
)


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """One task instance that has ended. Seconds since 1970."""

    task_id: str
    state: str
    queued_s: float  # when the scheduler sent it to the broker
    start_s: float
    end_s: float
    try_number: int = 1

    @property
    def stage(self) -> str:
        """`embed` of `text.shard.embed`."""
        return self.task_id.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class StageSpan:
    """All tasks of one stage."""

    tasks: int
    begin_s: float  # of the first, after the run's own beginning
    wall_s: float  # from the first start to the last end
    work_s: float  # of all tasks, added up
    wait_s: float  # between the broker and a worker's start, the mean

    @property
    def at_once(self) -> float:
        """How many tasks were at work, on average."""
        return self.work_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class RunSpan:
    """One run of a DAG, and its tasks."""

    state: str
    queued_s: float
    end_s: float
    tasks: tuple[TaskSpan, ...]

    @property
    def wall_s(self) -> float:
        """From the trigger to the end."""
        return self.end_s - self.queued_s

    @property
    def stages(self) -> Mapping[str, StageSpan]:
        """By name, in the order in which they began."""
        return stage_spans(self.tasks, self.queued_s)

    @property
    def retried(self) -> int:
        """Tasks that had to be tried more than once."""
        return sum(task.try_number > 1 for task in self.tasks)


def stage_spans(tasks: Iterable[TaskSpan], run_begin_s: float) -> dict[str, StageSpan]:
    """Put the tasks of each stage together; skipped ones did nothing."""
    by_stage: dict[str, list[TaskSpan]] = defaultdict(list)
    for task in sorted(tasks, key=lambda each: each.start_s):
        if task.state != "skipped":
            by_stage[task.stage].append(task)
    return {
        stage: StageSpan(
            tasks=len(some),
            begin_s=some[0].start_s - run_begin_s,
            wall_s=max(task.end_s for task in some) - some[0].start_s,
            work_s=sum(task.end_s - task.start_s for task in some),
            wait_s=sum(task.start_s - task.queued_s for task in some) / len(some),
        )
        for stage, some in by_stage.items()
    }


def read_run(engine: sa.Engine, dag_id: str, run_id: str) -> RunSpan:
    """The run as it stands in Airflow's database; while it goes on, its end is its beginning."""
    named = {"dag_id": dag_id, "run_id": run_id}
    with engine.connect() as connection:
        run = connection.execute(_RUN, named).one()
        tasks = tuple(
            TaskSpan(each.task_id, each.state, float(each.queued_s), float(each.start_s), float(each.end_s),
                     each.try_number)
            for each in connection.execute(_TASKS, named)
        )  # fmt: skip
    return RunSpan(run.state, float(run.queued_s), float(run.end_s or run.queued_s), tasks)
