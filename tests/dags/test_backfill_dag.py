"""The field *Only keys below* of the DAG's form, in a real Airflow."""

import json
import subprocess
from collections.abc import Callable

from tests.fixtures_pipeline import Project

RunDag = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_of_a_prefix_in_airflow_indexes_that_part_only(project: Project, run_airflow: RunDag) -> None:
    for key in ("a/1.txt", "a/2.txt", "b/1.txt"):
        project.put(key, f"the text of {key}")
    done = run_airflow("dags", "test", f"ingest__{project.name}", "--conf", json.dumps({"prefix": "a/"}))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Green for the keys below 'a/' only" in done.stdout + done.stderr
    assert {key for key, _ in project.rows().values()} == {"a/1.txt", "a/2.txt"}
    with project.open() as runtime:
        (run,) = runtime.ledger.runs.last(project.name, 5)
        assert (run.kind, run.state) == ("backfill", "succeeded")


def test_a_form_with_a_prefix_and_lanes_to_write_again_is_refused_at_once(
    project: Project, run_airflow: RunDag
) -> None:
    form = {"prefix": "a/", "rewrite": ["text"]}
    done = run_airflow("dags", "test", f"ingest__{project.name}", "--conf", json.dumps(form))
    assert "leave out the prefix or rewrite" in done.stdout + done.stderr
    with project.open() as runtime:
        assert runtime.ledger.runs.last(project.name, 5) == []
