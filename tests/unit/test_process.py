"""Components are found after every kind of accident and stopped with all they started; nobody else is touched."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from include.local_stack.process import (
    kill_leftovers,
    log_path,
    marked_processes,
    read_run_file,
    start,
    stop,
)

PARENT = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('ready', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


def wait_for_line(paths, name):
    deadline = time.monotonic() + 20
    while "ready" not in log_path(paths, name).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_started_component_is_known_and_logs_to_its_file(stack_paths, component):
    started = start(stack_paths, component("sh", "-c", "echo ready; sleep 600"))
    wait_for_line(stack_paths, "sleeper")
    assert read_run_file(stack_paths, "sleeper") == started
    assert psutil.Process(started.pid).parent() is not None


def test_it_runs_in_a_session_of_its_own(stack_paths, component):
    started = start(stack_paths, component("sh", "-c", "ps -o sid= -p $$; echo ready; sleep 600"))
    wait_for_line(stack_paths, "sleeper")
    assert int(log_path(stack_paths, "sleeper").read_text().split()[0]) == started.pid


def test_stop_ends_children_too(stack_paths, component):
    start(stack_paths, component(sys.executable, "-c", PARENT))
    wait_for_line(stack_paths, "sleeper")
    assert len(marked_processes(stack_paths)) == 2
    assert len(stop(stack_paths, [component()])) == 2
    assert marked_processes(stack_paths) == []
    assert read_run_file(stack_paths, "sleeper") is None


def test_what_ignores_sigterm_is_killed_after_its_time(stack_paths, component):
    start(stack_paths, component(sys.executable, "-c", STUBBORN))
    wait_for_line(stack_paths, "sleeper")
    begun = time.monotonic()
    stop(stack_paths, [component()])
    assert marked_processes(stack_paths) == []
    assert 0.4 < time.monotonic() - begun < 30


def test_children_of_a_killed_parent_are_found(stack_paths, component):
    parent = start(stack_paths, component(sys.executable, "-c", PARENT))
    wait_for_line(stack_paths, "sleeper")
    dying = psutil.Process(parent.pid)
    dying.kill()
    dying.wait(timeout=10)
    assert read_run_file(stack_paths, "sleeper") is None
    assert len(stop(stack_paths, [component()])) == 1
    assert marked_processes(stack_paths) == []


def test_processes_without_a_run_file_are_found(stack_paths, component):
    start(stack_paths, component())
    (stack_paths.run / "sleeper.json").unlink()
    assert len(kill_leftovers(stack_paths)) == 1
    assert marked_processes(stack_paths) == []


def test_a_reused_pid_is_not_touched(stack_paths, component):
    start(stack_paths, component())
    stop(stack_paths, [component()])
    with subprocess.Popen(["sleep", "600"]) as innocent:
        try:
            stale = {"pid": innocent.pid, "created_s": time.time() - 3600, "digest": "x"}
            (stack_paths.run / "sleeper.json").write_text(json.dumps(stale))
            assert read_run_file(stack_paths, "sleeper") is None
            assert stop(stack_paths, [component()]) == []
            assert kill_leftovers(stack_paths) == []
            assert innocent.poll() is None
        finally:
            innocent.kill()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": 1, "other": 2}', "not json"])
def test_a_damaged_run_file_counts_as_none(stack_paths, content):
    stack_paths.run.mkdir(parents=True)
    (stack_paths.run / "sleeper.json").write_text(content)
    assert read_run_file(stack_paths, "sleeper") is None


def test_stopping_one_component_leaves_the_others(stack_paths, component):
    start(stack_paths, component())
    other = start(stack_paths, component(name="other"))
    stop(stack_paths, [component()])
    assert read_run_file(stack_paths, "other") == other


def test_another_way_of_starting_changes_the_digest_and_another_shell_does_not(component):
    assert component("sleep", "1").digest != component("sleep", "2").digest
    assert component("sleep", "1", A="1").digest != component("sleep", "1", A="2").digest
    assert component("sleep", "1").digest == component("sleep", "1").digest
