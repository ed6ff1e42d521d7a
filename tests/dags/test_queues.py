"""Where tasks run: each lane's queue and pool are those of every task that loads its model, and of no other."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dags.conftest import parse_dags
from tests.fixtures_pipeline import Project

RunDag = Callable[..., subprocess.CompletedProcess[str]]

PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(sys.argv[1])
serialised = {dag.dag_id: DagSerialization.from_dict(DagSerialization.to_dict(dag)) for dag in bag.dags.values()}
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    **{
        dag_id: {task.task_id: [task.queue, task.pool, sorted(task.downstream_task_ids)] for task in dag.tasks}
        for dag_id, dag in serialised.items()
    },
}))
"""


def two_places(project: Project, **pools: str) -> dict[str, Any]:
    """A second lane, whose model runs elsewhere. Returns the pipeline file's content."""
    path = project.root / "pipelines" / f"{project.name}.yaml"
    document = yaml.safe_load(path.read_text())
    text = document["lanes"]["text"]
    document["lanes"]["far"] = {**text, "queue": "gpu", "accepts": ["text/markdown"], **pools}
    path.write_text(yaml.safe_dump(document))
    return document


def places(tasks: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """{task: (queue, pool)} of those that run anywhere but in the defaults."""
    return {
        name: (queue, pool) for name, (queue, pool, _) in tasks.items() if (queue, pool) != ("default", "default_pool")
    }


def test_ingestion_embeds_where_the_lane_says(airflow_environment: dict[str, str], project: Project) -> None:
    document = two_places(project, pool="gpus")
    document["pools"] = {"embed": "etl_embed", "sync": "etl_sync"}
    (project.root / "pipelines" / f"{project.name}.yaml").write_text(yaml.safe_dump(document))
    parsed = parse_dags(PARSE, airflow_environment, project)
    assert parsed["errors"] == {}
    assert places(parsed[f"ingest__{project.name}"]) == {
        "text.shard.embed": ("default", "etl_embed"),
        "text.shard.sync": ("default", "etl_sync"),
        "far.shard.embed": ("gpu", "gpus"),
        "far.shard.sync": ("default", "etl_sync"),
    }


@pytest.mark.parametrize("dag_id", ["reindex", "rollback"])
def test_a_reindex_has_tasks_for_every_place(
    airflow_environment: dict[str, str], project: Project, dag_id: str
) -> None:
    two_places(project)
    tasks = parse_dags(PARSE, airflow_environment, project)[dag_id]
    assert places(tasks) == {
        "build_gpu.embed": ("gpu", "default_pool"),
        "catch_up_gpu": ("gpu", "default_pool"),
        "cut_over_gpu": ("gpu", "default_pool"),
    }
    after = {name: downstream for name, (_, _, downstream) in tasks.items()}
    assert after["scan"] == ["choose_place"]
    assert after["choose_place"] == ["catch_up", "catch_up_gpu", "route", "route_gpu"]
    assert after["build_gpu.sync"] == ["catch_up_gpu"]
    assert after["catch_up"] == after["catch_up_gpu"] == ["verify"]
    assert after["needs_approval"] == ["approve", "choose_place_again"]
    assert after["choose_place_again"] == ["cut_over", "cut_over_gpu"]
    assert after["cut_over"] == after["cut_over_gpu"] == ["report"]


def test_lanes_of_one_queue_but_two_pools_have_places_of_their_own(
    airflow_environment: dict[str, str], project: Project
) -> None:
    document = two_places(project, pool="gpus")
    document["lanes"]["third"] = {**document["lanes"]["far"], "pool": "big_gpus", "accepts": ["text/html"]}
    (project.root / "pipelines" / f"{project.name}.yaml").write_text(yaml.safe_dump(document))
    tasks = parse_dags(PARSE, airflow_environment, project)["reindex"]
    assert tasks["build_gpu__gpus.embed"][:2] == ["gpu", "gpus"]
    assert tasks["build_gpu__big_gpus.embed"][:2] == ["gpu", "big_gpus"]


def test_the_demo_sends_its_biggest_models_to_the_gpu_queue(
    airflow_environment: dict[str, str], project: Project
) -> None:
    pipelines = Path(__file__).resolve().parents[2] / "include" / "pipelines"
    environment = {**airflow_environment, "ETL_PIPELINES_DIR": str(pipelines)}
    project.root.joinpath("pipelines").rename(project.root / "aside")
    project.root.joinpath("pipelines").symlink_to(pipelines)
    parsed = parse_dags(PARSE, environment, project)

    def on_gpu(pipeline: str) -> set[str]:
        tasks = parsed[f"ingest__{pipeline}"]
        return {name.partition(".")[0] for name in tasks if name.endswith(".embed") and tasks[name][0] == "gpu"}

    assert on_gpu("demo") == {"multimodal", "video"}
    assert on_gpu("media") == {"image", "multimodal", "audio", "video"}


def test_a_reindex_runs_in_the_place_of_its_lane_only(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    project.put("one.txt", "some words")
    project.put("two.md", "# Some title\n\nand other words")
    document = two_places(project)
    assert project.run().green
    document["lanes"]["far"]["chunk"] = {"overlap_tokens": 1}
    (project.root / "pipelines" / f"{project.name}.yaml").write_text(yaml.safe_dump(document))
    form = {"pipeline": project.name, "lane": "far", "approval": False}
    done = run_airflow("dags", "test", "reindex", "--conf", json.dumps(form))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    states = states_of_last_run(airflow_environment, "reindex")
    for task in ("route{}", "build{}.embed", "build{}.sync", "catch_up{}", "cut_over{}"):
        assert states[task.format("_gpu")] == "success", states
        assert states[task.format("")] == "skipped", states
    with project.open() as runtime:
        (last,) = runtime.ledger.reindexes.last(project.name, 1)
        assert runtime.store.alias_target(f"{project.name}_far") == last.candidate


def states_of_last_run(environment: dict[str, str], dag_id: str) -> dict[str, str]:
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    query = """select task_id, state from task_instance where dag_id = :dag and run_id = (
        select run_id from dag_run where dag_id = :dag order by id desc limit 1)"""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute(query, {"dag": dag_id}).fetchall())
