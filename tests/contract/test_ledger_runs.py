"""What every ledger database must do with runs."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import RunRecord, StageRecord, StageTotals


def get(ledger: Ledger, run_id: str) -> RunRecord:
    run = ledger.runs.get(run_id)
    assert run is not None
    return run


def test_a_run_starts_reports_and_ends(ledger: Ledger) -> None:
    ledger.runs.start("r", "demo")
    running = get(ledger, "r")
    assert (running.pipeline, running.state, running.ended_at_ms, running.stages) == ("demo", "running", None, ())
    ledger.runs.add_stage("r", "scan", {"objects": 5}, 1.5)
    ledger.runs.add_stage("r", "embed", {"chunks": 7}, 2.0, 1.25, lane="text", shard=3)
    ledger.runs.finish("r", "succeeded")
    ended = get(ledger, "r")
    assert ended.state == "succeeded"
    assert ended.ended_at_ms is not None
    assert ended.ended_at_ms >= ended.started_at_ms > 1_700_000_000_000
    assert sorted(ended.stages, key=lambda record: record.stage) == [
        StageRecord("embed", "text", 3, {"chunks": 7}, 2.0, 1.25),
        StageRecord("scan", "", 0, {"objects": 5}, 1.5, 0.0),
    ]


def test_pain_18_a_retried_shard_replaces_its_own_figures_and_no_others(ledger: Ledger) -> None:
    ledger.runs.start("r", "demo")
    ledger.runs.add_stage("r", "embed", {"chunks": 10, "failed": 1}, 5.0, 4.0, lane="text", shard=0)
    ledger.runs.add_stage("r", "embed", {"chunks": 20}, 6.0, 5.0, lane="text", shard=1)
    ledger.runs.add_stage("r", "embed", {"chunks": 3}, 1.0, 0.5, lane="image", shard=0)
    ledger.runs.add_stage("r", "embed", {"chunks": 11}, 2.0, 1.0, lane="text", shard=0)
    totals = {(total.stage, total.lane): total for total in get(ledger, "r").totals()}
    assert totals["embed", "text"] == StageTotals("embed", "text", 2, {"chunks": 31}, 8.0, 6.0)
    assert totals["embed", "image"] == StageTotals("embed", "image", 1, {"chunks": 3}, 1.0, 0.5)


def test_figures_of_shards_that_report_at_once_all_arrive(ledger: Ledger) -> None:
    ledger.runs.start("r", "demo")

    def report(shard: int) -> None:
        ledger.runs.add_stage("r", "sync", {"rows": 1}, 0.5, lane="text", shard=shard)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(report, range(40)))
    assert get(ledger, "r").totals() == [StageTotals("sync", "text", 40, {"rows": 40}, 20.0, 0.0)]


def test_a_restarted_run_keeps_its_start_and_its_figures(ledger: Ledger) -> None:
    ledger.runs.start("r", "demo")
    ledger.runs.add_stage("r", "scan", {"objects": 5}, 1.5)
    ledger.runs.finish("r", "failed")
    before = get(ledger, "r")
    time.sleep(0.01)
    ledger.runs.start("r", "demo")
    again = get(ledger, "r")
    assert (again.state, again.ended_at_ms, again.started_at_ms) == ("running", None, before.started_at_ms)
    assert again.stages == before.stages


def test_the_last_runs_come_newest_first(ledger: Ledger) -> None:
    for run_id in ("b", "a", "c"):
        ledger.runs.start(run_id, "demo")
        time.sleep(0.003)
    ledger.runs.start("x", "other")
    assert [run.run_id for run in ledger.runs.last("demo", 2)] == ["c", "a"]
    assert ledger.runs.last("nobody", 2) == []


def test_runs_that_have_not_ended_are_named(ledger: Ledger) -> None:
    for run_id in ("b", "a", "c"):
        ledger.runs.start(run_id, "demo")
    ledger.runs.start("x", "other")
    ledger.runs.finish("c", "failed")
    assert ledger.runs.running("demo") == ["a", "b"]


def test_unknown_runs_are_none_and_cannot_be_reported_on(ledger: Ledger) -> None:
    assert ledger.runs.get("nobody") is None
    with pytest.raises(IntegrityError):
        ledger.runs.finish("nobody", "failed")
    with pytest.raises(IntegrityError):
        ledger.runs.add_stage("nobody", "scan", {}, 1.0)
