"""The DAG in a real Airflow with a migrated database."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.dags.conftest import parse_dags
from tests.fixtures_pipeline import Project
from tests.grpc_proxy import grpc_proxy, refused

ROOT = Path(__file__).resolve().parents[2]
RunDag = Callable[..., subprocess.CompletedProcess[str]]
PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
started = time.process_time()
bag = DagBag(sys.argv[1])
seconds = time.process_time() - started
heavy = sorted({"torch", "transformers", "sentence_transformers", "pymilvus", "ctranslate2", "av"} & set(sys.modules))
dags = {
    dag.dag_id: {
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "rules": {task.task_id: task.trigger_rule.value for task in dag.tasks},
        "owner": dag.owner, "tags": sorted(dag.tags), "doc": dag.doc_md, "max_active_runs": dag.max_active_runs,
        "outlets": [asset.name for task in dag.tasks for asset in task.outlets],
        "pools": {task.task_id: task.pool for task in dag.tasks},
    }
    for dag in bag.dags.values()
}
print("RESULT" + json.dumps({"dags": dags, "errors": bag.import_errors, "heavy": heavy, "seconds": seconds}))
"""


def test_parsing_is_light(airflow_environment: dict[str, str], project: Project) -> None:
    parsed = parse_dags(PARSE, airflow_environment, project)
    assert parsed["errors"] == {}
    assert parsed["heavy"] == []
    assert parsed["seconds"] < 2


def test_the_dag_reads_like_the_data_flow(airflow_environment: dict[str, str], project: Project) -> None:
    dag = parse_dags(PARSE, airflow_environment, project)["dags"][f"ingest__{project.name}"]
    assert dag["tasks"] == {
        "plan": ["wait_for_turn"],
        "wait_for_turn": ["scan"],
        "scan": ["identify"],
        "identify": ["text.route"],
        "text.route": ["text.shard.embed"],
        "text.shard.embed": ["text.shard.sync"],
        "text.shard.sync": ["report", "weigh_deletes"],
        "weigh_deletes": ["approve_deletes", "purge"],
        "approve_deletes": ["purge"],
        "purge": ["report"],
        "report": [],
    }
    assert dag["rules"]["report"] == "all_done"
    assert dag["rules"]["purge"] == "none_failed"
    assert dag["outlets"] == [project.alias]
    assert dag["max_active_runs"] == 2  # one may wait for a person
    assert dag["owner"] == "embedding-etl"
    assert {"embedding-etl", "ingest"} <= set(dag["tags"])
    assert project.alias in dag["doc"]


def test_a_broken_pipeline_file_is_shown_and_takes_no_other_dag_down(
    airflow_environment: dict[str, str], project: Project
) -> None:
    broken = project.root / "pipelines" / "broken.yaml"
    broken.write_text("name: broken\nsorce: {uri: s3://x/}\nlanes: {}\n")
    parsed = parse_dags(PARSE, airflow_environment, project)
    assert [name for name in parsed["dags"] if name.startswith("ingest__")] == [f"ingest__{project.name}"]
    assert "reindex" in parsed["dags"]
    ((file, message),) = parsed["errors"].items()
    assert file.endswith("broken_pipelines.py")
    assert str(broken) in message
    assert "Did you mean 'source'" in message


def test_pain_15_a_run_in_airflow_is_green_and_xcom_carries_references_only(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    project.configure(shards={"max_shards": 2, "max_shard_objects": 5})
    project.put_many(12)
    done = run_airflow("dags", "test", f"ingest__{project.name}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert project.rows() == project.expected_rows()
    states, sizes = ask_database(airflow_environment, project)
    assert states == ["success"]
    assert 0 < max(sizes) < 1024  # references and counts, never vectors
    project.remove("doc-003.txt")
    project.put("new.txt", "something new")
    assert run_airflow("dags", "test", f"ingest__{project.name}").returncode == 0
    events = asset_events(airflow_environment, project)
    assert [(event["rows_upserted"], event["rows_deleted"], event["dead_letters"]) for event in events] == [
        (12, 0, 0),
        (1, 1, 0),
    ]


def test_pain_22_a_run_that_is_not_done_is_red_in_airflow(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    project.put_many(3)
    assert run_airflow("dags", "test", f"ingest__{project.name}").returncode == 0
    with project.open() as runtime:
        runtime.store.delete(runtime.store.alias_target(project.alias) or "", sorted(project.rows())[:2])
    red = run_airflow("dags", "test", f"ingest__{project.name}")
    assert "2 are missing" in red.stdout + red.stderr
    again = run_airflow("dags", "test", f"ingest__{project.name}", "--conf", json.dumps({"rewrite": ["text"]}))
    assert again.returncode == 0
    assert project.rows() == project.expected_rows()
    assert ask_database(airflow_environment, project)[0] == ["success", "failed", "success"]


def test_pain_22_a_task_that_failed_makes_the_run_red_although_all_rows_are_there(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    project.put_many(3)
    with grpc_proxy(project.milvus_uri.removeprefix("http://")) as proxy:
        proxy.spoil("Flush", refused(grpc.StatusCode.PERMISSION_DENIED))
        red = run_airflow("dags", "test", f"ingest__{project.name}", ETL_MILVUS_URI=proxy.uri)
    assert project.rows() == project.expected_rows()
    assert "the task text.shard.sync" in red.stdout + red.stderr
    assert ask_database(airflow_environment, project)[0] == ["failed"]
    with project.open() as runtime:
        assert [run.state for run in runtime.ledger.runs.last(project.name, 5)] == ["failed"]
    assert run_airflow("dags", "test", f"ingest__{project.name}").returncode == 0


def test_a_run_that_airflow_has_no_more_is_given_up_and_one_of_the_command_line_is_not(
    project: Project, run_airflow: RunDag
) -> None:
    project.put_many(1)
    deleted, by_hand = f"ingest__{project.name}/deleted", "by-hand"
    with project.open() as runtime:
        runtime.ledger.runs.start(deleted, project.name)
        runtime.ledger.runs.start(by_hand, project.name)
    assert run_airflow("dags", "test", f"ingest__{project.name}").returncode == 0
    with project.open() as runtime:
        runs = {run.run_id: run.outcome for run in runtime.ledger.runs.last(project.name, 5)}
    assert runs[deleted] == "failed; given up: it ended, or was deleted, without a report"
    assert runs[by_hand] == "running"


def asset_events(environment: dict[str, str], project: Project) -> list[dict[str, int]]:
    """The metadata of all events of the lane's asset, oldest first."""
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        rows = database.execute(
            "select e.extra from asset_event e join asset a on a.id = e.asset_id where a.name = ? order by e.id",
            (project.alias,),
        )
        return [json.loads(row[0]) for row in rows]


def ask_database(environment: dict[str, str], project: Project) -> tuple[list[str], list[int]]:
    """States of the DAG's runs and sizes of all XComs, from Airflow's own database."""
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        dag_id = f"ingest__{project.name}"
        states = [
            row[0] for row in database.execute("select state from dag_run where dag_id = ? order by id", (dag_id,))
        ]
        rows = database.execute("select length(value) from xcom where dag_id = ?", (dag_id,))
        return states, [row[0] for row in rows if row[0] is not None]


@pytest.mark.parametrize(
    ("error", "action"),
    [("TransientError", "retry"), ("ConfigError", "fail"), ("IntegrityError", "fail"), ("PoisonObject", "fail")],
)
def test_only_transient_errors_are_retried(
    airflow_environment: dict[str, str], project: Project, error: str, action: str
) -> None:
    script = f"""
import sys
from include.embedding_etl.steps.dag_defaults import RETRY_POLICY
from include.embedding_etl import errors
arguments = ("k", "s", "c", "m") if "{error}" == "PoisonObject" else ("m",)
decision = RETRY_POLICY.evaluate(errors.{error}(*arguments), 1, 3)
print(decision.action.value)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**airflow_environment, **project.environment, **{"PYTHONPATH": str(ROOT)}},
        capture_output=True,
        text=True,
        check=True,
        cwd=os.fspath(ROOT),
    )
    assert done.stdout.split()[-1] == action
