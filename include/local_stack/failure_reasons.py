"""Why tasks of a run failed, from their logs: a person should not have to look for it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from include.local_stack.airflow_client import TaskState


def failure_reasons(run_logs: Path, tasks: Sequence[TaskState]) -> Iterator[str]:
    """One text for each failed task: its label, the error, and its log file.

    Args:
        run_logs: Where Airflow keeps the logs of this run.
        tasks: All task instances of the run.
    """
    for task in tasks:
        if task.state == "failed":
            log = _log_file(run_logs, task)
            yield f"{task.label}: {_last_error(log) or 'no reason in its log'}\n    {log}"


def _log_file(run_logs: Path, task: TaskState) -> Path:
    directory = run_logs / f"task_id={task.task_id}"
    if task.map_index >= 0:
        directory /= f"map_index={task.map_index}"
    return directory / f"attempt={task.try_number}.log"


def _last_error(log: Path) -> str:
    """`ConfigError: what it says` of the last exception in a log of JSON lines."""
    reason = ""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        try:
            details = json.loads(line).get("error_detail")
        except ValueError:
            continue  # what a library wrote past the logger
        if details:
            reason = f"{details[0].get('exc_type')}: {details[0].get('exc_value')}"
    return reason
