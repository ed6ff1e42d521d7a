"""The DAG `audit` in a real Airflow with a migrated database."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.dags.conftest import parse_dags
from tests.fixtures_audit import Scene, delete_rows, drop_the_alias, found
from tests.fixtures_pipeline import Project

ROOT = Path(__file__).resolve().parents[2]
RunDag = Callable[..., subprocess.CompletedProcess[str]]
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).dags["audit"]
fields = {name: dag.params.get_param(name) for name in dag.params}
print("RESULT" + json.dumps({
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "rules": {task.task_id: task.trigger_rule.value for task in dag.tasks},
    "pools": {task.task_id: task.pool for task in dag.tasks},
    "schedule": str(dag.schedule), "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
    "enum": fields["pipeline"].schema["enum"], "doc": dag.doc_md,
    "untold": [name for name, field in fields.items() if not field.description or not field.schema.get("title")],
}))
"""


def ask(environment: dict[str, str], statement: str, *values: str) -> list[tuple[str, str]]:
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement, values).fetchall()


def last_run(environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """State of the newest run, and of its tasks."""
    ((run, state),) = ask(
        environment, "SELECT run_id, state FROM dag_run WHERE dag_id = 'audit' ORDER BY id DESC LIMIT 1"
    )
    tasks = ask(environment, "SELECT task_id, state FROM task_instance WHERE dag_id = 'audit' AND run_id = ?", run)
    return state, dict(tasks)


def trigger(run_airflow: RunDag, **params: object) -> str:
    done = run_airflow("dags", "test", "audit", "--conf", json.dumps(params))
    return done.stdout + done.stderr


def test_each_pipeline_is_compared_and_the_last_task_decides(
    airflow_environment: dict[str, str], project: Project
) -> None:
    project.configure(pools={"sync": "milvus"})
    dag, name = parse_dags(PARSE, airflow_environment, project), project.name
    assert dag["tasks"] == {
        f"{name}.is_wanted": [f"{name}.compare"],
        f"{name}.compare": [f"{name}.needs_repair"],
        f"{name}.needs_repair": [f"{name}.clear_up", f"{name}.repair"],
        f"{name}.repair": [f"{name}.compare_again"],
        f"{name}.compare_again": [f"{name}.clear_up"],
        f"{name}.clear_up": [f"{name}.report"],
        f"{name}.report": [],
    }
    assert dag["rules"][f"{name}.report"] == dag["rules"][f"{name}.clear_up"] == "none_failed"
    assert dag["pools"][f"{name}.repair"] == "milvus"
    assert dag["enum"] == ["all", name]
    assert dag["untold"] == []
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("@daily", False, 1)


def test_an_audit_in_airflow_finds_is_red_repairs_and_is_green(
    scene: Scene, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    name = scene.project.name
    assert "clean; compared 15 objects" in trigger(run_airflow)
    state, tasks = last_run(airflow_environment)
    assert (state, tasks[f"{name}.report"], tasks[f"{name}.repair"]) == ("success", "success", "skipped")

    delete_rows(scene)
    drop_the_alias(scene)
    said = trigger(run_airflow)
    assert "4 faults" in said
    assert "3 × missing row, such as 'doc-000.txt' chunk 0" in said
    state, tasks = last_run(airflow_environment)
    assert (state, tasks[f"{name}.report"], tasks[f"{name}.clear_up"]) == ("failed", "failed", "success")
    assert found(scene.audit()) == {"missing row": 3, "missing alias": 1}

    said = trigger(run_airflow, pipeline=name, repair=True)
    assert f"alias {scene.project.alias} points at {scene.live}" in said
    state, tasks = last_run(airflow_environment)
    assert (state, set(tasks.values())) == ("success", {"success"})
    assert scene.audit().findings == ()
    assert scene.project.rows() == scene.expected
    sizes = ask(airflow_environment, "SELECT key, length(value) FROM xcom WHERE dag_id = 'audit'")
    assert max(int(size) for _, size in sizes) < 1024


def test_faults_up_to_the_threshold_leave_the_run_green(
    scene: Scene, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    scene.project.thresholds = {"max_audit_faults": 3}
    scene.project.configure()
    delete_rows(scene)
    trigger(run_airflow)
    assert last_run(airflow_environment)[0] == "success"
    drop_the_alias(scene)
    trigger(run_airflow)
    assert last_run(airflow_environment)[0] == "failed"


def test_pipelines_that_are_not_meant_or_were_never_ingested_are_skipped(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    project.put_many(2)
    other = Project(project.root, project.milvus_uri, project.endpoint)
    (other.root / "other-source").mkdir(exist_ok=True)
    other.configure(source={"uri": f"file://{other.root / 'other-source'}"})
    trigger(run_airflow)
    state, tasks = last_run(airflow_environment)
    assert (state, tasks[f"{project.name}.is_wanted"], tasks[f"{project.name}.report"]) == (
        "success",
        "success",
        "skipped",
    )
    assert project.run().green
    trigger(run_airflow, pipeline=other.name)
    assert last_run(airflow_environment)[1][f"{project.name}.compare"] == "skipped"
    trigger(run_airflow, pipeline=project.name)
    assert last_run(airflow_environment)[1][f"{project.name}.compare"] == "success"
