"""What every ledger database must answer to monitoring: what runs did, and when one was green."""

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import WorkDone


def test_work_is_added_up_over_runs_that_have_ended(ledger: Ledger) -> None:
    for run_id in ("one", "two", "at work"):
        ledger.runs.start(run_id, "demo")
        ledger.runs.add_stage(run_id, "scan", {"objects": 9}, 1.0)
        ledger.runs.add_stage(run_id, "embed", {"chunks": 5, "reused_chunks": 2}, 3.0, 1.5, lane="text", shard=0)
        ledger.runs.add_stage(run_id, "embed", {"chunks": 4}, 3.0, 0.5, lane="text", shard=1)  # of before reused_chunks
        ledger.runs.add_stage(run_id, "sync", {"rows": 11, "objects": 3}, 1.0, lane="text")
        ledger.runs.add_stage(run_id, "sync", {"rows": 1}, 1.0, lane="image")
    ledger.runs.start("other", "other")
    ledger.runs.add_stage("other", "sync", {"rows": 100}, 1.0, lane="text")
    for run_id, state in (("one", "succeeded"), ("two", "failed"), ("other", "succeeded")):
        ledger.runs.finish(run_id, state)  # type: ignore[arg-type]
    assert ledger.runs.work_done("demo") == {"text": WorkDone(18, 4, 22, 4.0), "image": WorkDone(0, 0, 2, 0.0)}
    assert ledger.runs.work_done("nobody") == {}


def test_the_last_green_ingestion_is_neither_a_red_one_nor_a_reindex(ledger: Ledger) -> None:
    assert ledger.runs.last_success_ms("demo") is None
    ledger.runs.start("red", "demo")
    ledger.runs.finish("red", "failed")
    ledger.runs.start("reindex", "demo", "reindex")
    ledger.runs.finish("reindex", "succeeded")
    ledger.runs.start("at work", "demo")
    assert ledger.runs.last_success_ms("demo") is None
    ledger.runs.start("green", "demo")
    ledger.runs.finish("green", "succeeded")
    green = ledger.runs.get("green")
    assert green is not None
    assert ledger.runs.last_success_ms("demo") == green.ended_at_ms


def test_runs_of_a_day_are_those_that_were_started_since(ledger: Ledger) -> None:
    ledger.runs.start("one", "demo")
    ledger.runs.start("two", "demo")
    ledger.runs.start("other", "other")
    one = ledger.runs.get("one")
    assert one is not None
    assert {run.run_id for run in ledger.runs.since("demo", one.started_at_ms)} == {"one", "two"}
    assert ledger.runs.since("demo", one.started_at_ms + 60_000) == []
