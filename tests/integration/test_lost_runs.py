"""Runs that were killed for good do not stay `running` for ever; runs that live are never taken for dead."""

import os
import signal
import subprocess
import time
from typing import Any

import pytest

from include.embedding_etl.lost_runs import QUIET_LEASES, give_up, lost_runs
from include.embedding_etl.retention import clear_up
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.turn import may_ask_about_deletes, take_turn
from tests.faults.test_frozen_process import start_frozen
from tests.fixtures_ledger import make_collection
from tests.fixtures_pipeline import Project

pytestmark = pytest.mark.both_ledgers
DAY_MS = 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def lost(runtime: Runtime, days: float = 0.0) -> list[str]:
    return [life.run_id for life in lost_runs(runtime, now_ms() + int(days * DAY_MS))]


def state_of(runtime: Runtime, run_id: str) -> str:
    run = runtime.ledger.runs.get(run_id)
    assert run is not None
    return run.state


def test_a_command_that_was_killed_is_given_up_and_a_frozen_one_is_not(project: Project) -> None:
    project.put_many(2)
    frozen = start_frozen(project, "upsert")
    try:
        with project.open() as runtime:
            (run_id,) = runtime.ledger.runs.running(project.name)
            assert lost(runtime) == []
            frozen.kill()
            frozen.wait()
            assert clear_up(runtime, "retention") == [
                f"run {run_id} is marked as failed: its process {frozen.pid} died without a report"
            ]
            run = runtime.ledger.runs.get(run_id)
        assert run is not None
        assert (run.state, run.given_up) == ("failed", f"its process {frozen.pid} died without a report")
    finally:
        stop(frozen)


def test_the_next_run_gives_up_the_one_that_was_killed(project: Project) -> None:
    project.put_many(2)
    killed = project.run_process("upsert:after")
    assert killed.returncode == -signal.SIGKILL
    with project.open() as runtime:
        (run_id,) = runtime.ledger.runs.running(project.name)
    assert project.run().green
    with project.open() as runtime:
        assert state_of(runtime, run_id) == "failed"
        assert runtime.ledger.runs.running(project.name) == []
    assert project.rows() == project.expected_rows()


def test_a_quiet_run_is_given_up_after_a_day_and_comes_back_by_its_next_sign_of_life(project: Project) -> None:
    with open_elsewhere(project) as runtime:
        take_turn(runtime, "run-1")
        assert runtime.places.lease_ttl_s * QUIET_LEASES * 1000 == DAY_MS
        assert lost(runtime, days=1) == []  # its lease was good for five minutes more
        ((life, why),) = lost_runs(runtime, now_ms() + int(1.01 * DAY_MS)).items()
        assert "has shown no life since" in why
        assert give_up(runtime, life, why)
        assert state_of(runtime, "run-1") == "failed"
        runtime.lease(runtime.turn, "run-1")
        assert state_of(runtime, "run-1") == "running"
        assert not give_up(runtime, life, why)  # judged by what was seen before


@pytest.mark.parametrize(("ended", "expected"), [(None, "failed"), ("rejected", "rejected")])
def test_a_reindex_ends_with_the_run_that_is_given_up(project: Project, ended: Any, expected: str) -> None:
    with open_elsewhere(project) as runtime:
        runtime.ledger.collections.add(make_collection("live", project.name))
        runtime.ledger.collections.add(make_collection("candidate", project.name, state="candidate"))
        runtime.ledger.runs.start("reindex-1", project.name, "reindex")
        runtime.ledger.reindexes.start("reindex-1", project.name, "text", {}, "candidate", "live")
        if ended:
            runtime.ledger.reindexes.set_state("reindex-1", ended)
        ((life, why),) = lost_runs(runtime, now_ms() + 2 * DAY_MS).items()
        assert give_up(runtime, life, why)
        reindex = runtime.ledger.reindexes.get("reindex-1")
        assert reindex is not None
        assert (reindex.state, reindex.ended_at_ms is None) == (expected, False)


def test_a_run_that_finished_is_not_opened_again_by_its_last_heartbeat(project: Project) -> None:
    with open_elsewhere(project) as runtime:
        take_turn(runtime, "run-1")
        runtime.ledger.runs.finish("run-1", "succeeded")
        runtime.lease(runtime.turn, "run-1")
        assert state_of(runtime, "run-1") == "succeeded"


def test_a_run_that_waits_for_a_person_lives(project: Project) -> None:
    with open_elsewhere(project) as runtime:
        take_turn(runtime, "run-1")
        assert may_ask_about_deletes(runtime, "run-1", hours=72)
        assert lost(runtime, days=3.9) == []
        assert lost(runtime, days=4.1) == ["run-1"]


@pytest.mark.parametrize(("word", "days", "expected"), [(True, 0, ["run-1"]), (False, 400, [])])
def test_what_airflow_says_counts(project: Project, word: bool, days: float, expected: list[str]) -> None:
    with open_elsewhere(project) as runtime:
        runtime.has_ended = lambda _: word
        take_turn(runtime, "run-0")
        runtime.ledger.runs.finish("run-0", "succeeded")
        runtime.ledger.runs.start("run-1", project.name)
        assert lost(runtime, days) == expected


def open_elsewhere(project: Project) -> Runtime:
    """As a task of Airflow's: its run is many processes."""
    with project.open() as here:
        return Runtime(here.pipeline, here.places)


def stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
