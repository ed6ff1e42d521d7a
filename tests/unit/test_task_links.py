"""Links into Airflow name tasks as the DAGs do, or fall back to what is surely there."""

import pytest

from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.status.alone import AloneHost
from include.embedding_etl.status.task_links import lane_tasks, letter_log
from tests.fixtures_status import StatusHost

INGEST = "/dags/ingest__demo/runs/r"
MODEL = {"kind": "sentence-transformers", "id": "m"}
LANES = {
    "text": LaneSettings.model_validate({"accepts": ["text/*"], "model": MODEL}),
    "video": LaneSettings.model_validate({"accepts": ["video/*"], "model": MODEL, "queue": "gpu"}),
}


def letter(run_id: str, task: str, lane: str = "text") -> DeadLetter:
    return DeadLetter(1, "demo", lane, "k", "v", "f", "extract", "NoText", "m", 1, 1, 1, None, run_id, task, None, None)


@pytest.mark.parametrize(
    ("run_id", "task", "link"),
    [
        ("ingest__demo/r", "embed text/0", f"{INGEST}/tasks/text.shard.embed/mapped/0"),
        ("ingest__demo/r", "embed text/63", f"{INGEST}/tasks/text.shard.embed/mapped/63"),
        ("ingest__demo/r", "", INGEST),
        ("ingest__demo/r", "embed text/0/../../x", INGEST),
        ("reindex/r", "embed text/5", "/dags/reindex/runs/r/tasks/build.embed/mapped/5"),
        ("rollback/r", "embed text/5", "/dags/rollback/runs/r/tasks/build.embed/mapped/5"),
        ("reindex/r", "embed text/1001", "/dags/reindex/runs/r/tasks/catch_up"),
        ("reindex/r", "embed text/2000", "/dags/reindex/runs/r/tasks/cut_over"),
        ("reindex/r", "embed text/3002", "/dags/reindex/runs/r/tasks/cut_over"),
        ("audit/r", "embed text/0", "/dags/audit/runs/r"),
        ("run-1", "embed text/0", ""),
    ],
)
def test_a_letter_leads_to_the_log_of_the_task_that_saw_it(run_id: str, task: str, link: str) -> None:
    assert letter_log(StatusHost(), letter(run_id, task), LANES) == link


def test_a_lane_with_a_queue_has_reindex_tasks_of_its_own() -> None:
    host, run = StatusHost(), "/dags/reindex/runs/r/tasks"
    assert letter_log(host, letter("reindex/r", "embed video/5", "video"), LANES) == f"{run}/build_gpu.embed/mapped/5"
    assert letter_log(host, letter("reindex/r", "embed video/1001", "video"), LANES) == f"{run}/catch_up_gpu"
    assert lane_tasks(host, "reindex/r", "video", LANES) == f"{run}/group/build_gpu"


def test_the_tasks_of_a_lane_are_a_group_of_the_run() -> None:
    host = StatusHost()
    assert lane_tasks(host, "ingest__demo/r", "image", LANES) == f"{INGEST}/tasks/group/image.shard"
    assert lane_tasks(host, "reindex/r", "image", LANES) == "/dags/reindex/runs/r/tasks/group/build"
    assert lane_tasks(host, "audit/r", "image", LANES) == lane_tasks(host, "run-1", "image", LANES) == ""


def test_without_airflow_there_are_no_links() -> None:
    assert letter_log(AloneHost("t"), letter("ingest__demo/r", "embed text/0"), LANES) == ""
    assert lane_tasks(AloneHost("t"), "ingest__demo/r", "text", LANES) == ""


def test_the_numbers_of_catch_ups_are_those_of_the_reindex() -> None:
    from include.embedding_etl.cutover import LAST_SHARD, VERY_LAST_SHARD
    from include.embedding_etl.reindex import CATCH_UP_SHARD

    assert (CATCH_UP_SHARD, LAST_SHARD, VERY_LAST_SHARD) == (1_000, 2_000, 3_000)
