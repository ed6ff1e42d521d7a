"""What the demo says while a run goes on."""

import io

from rich.console import Console

from include.local_stack.airflow_client import TaskState
from include.local_stack.run_progress import RunProgress


def lines(*looks):
    written = io.StringIO()
    progress = RunProgress(Console(file=written, width=200))
    for tasks in looks:
        progress.report(tasks)
    return [line.split(" s  ", 1)[1] for line in written.getvalue().splitlines()]


def task(state, task_id="text.shard.embed", map_index=0, try_number=1, duration_s=0.0):
    return TaskState(task_id, map_index, state, try_number, duration_s)


def test_each_change_is_told_once():
    running, done = task("running"), task("success", duration_s=2.04)
    assert lines([running], [running], [done], [done]) == [
        "text.shard.embed[0] running",
        "text.shard.embed[0] done in 2.0 s",
    ]


def test_a_second_try_is_told_again():
    assert lines([task("up_for_retry")], [task("running", try_number=2)], [task("success", try_number=2)]) == [
        "text.shard.embed[0] failed, will be tried again",
        "text.shard.embed[0] (try 2) running",
        "text.shard.embed[0] (try 2) done in 0.0 s",
    ]


def test_a_failure_is_loud_and_a_lane_without_work_is_not_mentioned():
    assert lines([task("failed", "report", -1), task("skipped"), task("", "purge", -1)]) == ["report FAILED"]


def test_it_is_never_silent_for_long(monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("include.local_stack.run_progress.time.monotonic", lambda: next(clock))
    told = lines([task("running", "scan", -1)], [task("running", "scan", -1)])
    assert told[-1] == "0 of 1 tasks ended; running: scan"
