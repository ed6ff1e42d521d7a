"""The DAGs `reindex` and `rollback`: graph and form. tests/integration/test_reindex_in_airflow.py runs them."""

from pathlib import Path

import pytest

from tests.dags.conftest import parse_dags
from tests.fixtures_pipeline import Project

ROOT = Path(__file__).resolve().parents[2]
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    **{
        dag.dag_id: {
            "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
            "rules": {task.task_id: task.trigger_rule.value for task in dag.tasks},
            "retries": {task.task_id: task.retries for task in dag.tasks},
            "at_once": {task.task_id: task.max_active_tis_per_dagrun for task in dag.tasks},
            "form": {name: dag.params.get_param(name).serialize() for name in dag.params},
            "schedule": str(dag.schedule),
        }
        for dag in bag.dags.values()
    },
}, default=str))
"""


@pytest.mark.parametrize("dag_id", ["reindex", "rollback"])
def test_the_graph_reads_like_the_steps(airflow_environment: dict[str, str], project: Project, dag_id: str) -> None:
    dag = parse_dags(PARSE, airflow_environment, project)[dag_id]
    assert dag["tasks"] == {
        "plan": ["begin"],
        "begin": ["scan"],
        "scan": ["route"],
        "route": ["build.embed"],
        "build.embed": ["build.sync"],
        "build.sync": ["catch_up"],
        "catch_up": ["verify"],
        "verify": ["needs_approval"],
        "needs_approval": ["approve", "cut_over"],
        "approve": ["cut_over"],
        "cut_over": ["report"],
        "report": [],
    }
    assert dag["rules"]["report"] == "all_done"  # whatever happened, it says so and lets go of the leases
    assert dag["rules"]["cut_over"] == dag["rules"]["catch_up"] == "none_failed"
    assert dag["rules"]["verify"] == "all_success"
    assert dag["retries"]["approve"] == 0  # no means no
    assert dag["retries"]["verify"] > 0
    assert dag["at_once"]["build.sync"] == 1  # the pools of several pipelines need not agree on one slot


def test_the_form_offers_what_there_is(airflow_environment: dict[str, str], project: Project) -> None:
    form = parse_dags(PARSE, airflow_environment, project)["reindex"]["form"]
    assert list(form) == [
        "pipeline",
        "lane",
        "rebuild",
        "index",
        "min_recall",
        "sample",
        "approval",
        "grace_hours",
    ]
    schemas = {name: param.get("schema", param) for name, param in form.items()}
    assert schemas["pipeline"]["enum"] == [project.name]
    assert schemas["lane"]["enum"] == ["text"]
    assert schemas["rebuild"]["enum"] == ["vectors", "index"]
    assert all(schema["title"] for schema in schemas.values())


def test_without_any_pipeline_there_is_no_form_and_no_error(
    airflow_environment: dict[str, str], project: Project
) -> None:
    (project.root / "pipelines" / f"{project.name}.yaml").unlink()
    parsed = parse_dags(PARSE, airflow_environment, project)
    assert parsed["errors"] == {}
    assert "reindex" not in parsed
    assert "rollback" not in parsed
