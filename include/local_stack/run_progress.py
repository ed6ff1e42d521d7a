"""Tells how a run of a DAG goes on, line by line, so that nobody has to wait in silence."""

import time
from collections.abc import Sequence

from rich.console import Console

from include.local_stack.airflow_client import TaskState

_TELLING = {
    "success": "done",
    "failed": "FAILED",
    "upstream_failed": "not run: an earlier task failed",
    "up_for_retry": "failed, will be tried again",
    "running": "running",
}
_ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")


class RunProgress:
    """Prints each change of a task's state once. Tasks without work are skipped and not worth a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_s = time.monotonic()
        self._told: dict[tuple[str, int], str] = {}
        self._last_line_s = self._started_s

    def report(self, tasks: Sequence[TaskState]) -> None:
        """Compare with what was told before."""
        for task in tasks:
            told = f"{task.state}/{task.try_number}"
            if task.state in _TELLING and self._told.get((task.task_id, task.map_index)) != told:
                self._told[task.task_id, task.map_index] = told
                self._print(_describe(task))
        if time.monotonic() - self._last_line_s > 15:
            ended = sum(task.state in _ENDED for task in tasks)
            running = ", ".join(task.label for task in tasks if task.state == "running") or "nothing yet"
            self._print(f"{ended} of {len(tasks)} tasks ended; running: {running}")

    def _print(self, line: str) -> None:
        self._last_line_s = time.monotonic()
        elapsed_s = self._last_line_s - self._started_s
        self._console.print(f"  {elapsed_s:4.0f} s  {line}", markup=False, highlight=False)


def _describe(task: TaskState) -> str:
    again = f" (try {task.try_number})" if task.try_number > 1 else ""
    duration = f" in {task.duration_s:.1f} s" if task.state == "success" else ""
    return f"{task.label}{again} {_TELLING[task.state]}{duration}"
