"""A run that freezes, is believed dead, and wakes up again cannot undo newer work. Real SIGSTOP and SIGCONT."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from include.embedding_etl.converge import converge
from include.embedding_etl.errors import TransientError
from tests.fixtures_pipeline import Project

LEASE_TTL_S = 2


def start_frozen(project: Project, failpoint: str) -> subprocess.Popen[str]:
    """Start a run that stops itself at the failpoint, and wait until it has."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("etl")), "run", project.name, "--json"],
        env={
            **os.environ,
            **project.environment,
            "ETL_FAILPOINT": f"{failpoint}:stop",
            "ETL_LEASE_TTL_S": str(LEASE_TTL_S),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def wake(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    return stdout


@pytest.mark.parametrize(
    "failpoint", ["intend", "entry_commit", "purge_commit", "upsert", "stale_delete", "purge_delete"]
)
def test_a_run_that_was_believed_dead_undoes_nothing_for_good(project: Project, failpoint: str) -> None:
    project.put_many(4)
    project.put("long.txt", " ".join(f"sentence {number} speaks of it." for number in range(60)))
    assert project.run().green
    project.put("doc-000.txt", "second version")
    project.put("long.txt", "short now")
    project.remove("doc-003.txt")
    frozen = start_frozen(project, failpoint)
    time.sleep(LEASE_TTL_S + 0.5)
    project.put("doc-000.txt", "third version")
    project.put("doc-003.txt", "it came back")
    assert project.run().green
    assert project.rows() == project.expected_rows()
    assert "lease lost" in wake(frozen)
    report = project.run()
    assert report.problems == []
    assert project.rows() == project.expected_rows()
    assert project.run().lanes["text"].figures["rows"] == 0


def test_a_second_run_is_refused_while_the_first_may_still_be_alive(project: Project) -> None:
    project.put_many(2)
    assert project.run().green
    project.put("new.txt", "something new")
    frozen = start_frozen(project, "upsert")
    try:
        with project.open() as runtime, pytest.raises(TransientError, match=r"ingestion of .* is held by cli__"):
            converge(runtime, "second")
    finally:
        frozen.send_signal(signal.SIGCONT)
        frozen.communicate(timeout=60)
    assert project.run().green
    assert project.rows() == project.expected_rows()
