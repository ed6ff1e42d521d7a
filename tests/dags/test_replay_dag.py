"""The DAG replay_dead_letters in a real Airflow with a migrated database.

`airflow dags test` runs one DAG and no scheduler, so nobody would run the ingestion that it triggers: here a thread
does, with the same converge, and tells Airflow's database how it ended.
"""

import json
import re
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from include.embedding_etl.ledger.records import LetterFilter
from tests.dags.conftest import parse_dags
from tests.fixtures_pipeline import Project

ROOT = Path(__file__).resolve().parents[2]
RunDag = Callable[..., subprocess.CompletedProcess[str]]
VALIDATE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
dag = DagBag(sys.argv[1]).dags["replay_dead_letters"]
refused = []
for values in json.loads(sys.argv[2]):
    try:
        for name, value in values.items():
            dag.params.get_param(name).resolve(value)
    except ParamValidationError:
        refused.append(values)
fields = {name: dag.params.get_param(name) for name in dag.params}
print("RESULT" + json.dumps({
    "refused": refused,
    "enums": {name: field.schema.get("enum") for name, field in fields.items()},
    "untold": [name for name, field in fields.items() if not field.description or not field.schema.get("title")],
    "examples": fields["error_class"].schema["examples"],
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "tags": sorted(dag.tags),
}))
"""


def ask(environment: dict[str, str], project: Project, *values: dict[str, object]) -> dict:
    return parse_dags(VALIDATE, environment, project, json.dumps(values))


@pytest.fixture
def failed(project: Project) -> Project:
    """Ten objects, three of which the endpoint has refused; it would take them now."""
    project.thresholds = {"max_failed_fraction": 0.5}
    project.configure()
    project.put_many(7)
    project.put("a/one.txt", "unwanted words")
    project.put("a/two.txt", "unwanted still")
    project.put("b/three.txt", "unwanted too")
    project.endpoint.refused_word = "unwanted"
    assert project.run().lanes["text"].dead_letters == 3
    project.endpoint.refused_word = ""
    return project


@contextmanager
def scheduler(environment: dict[str, str], project: Project, state: str = "success") -> Iterator[list[str]]:
    """Run what is triggered, for as long as the context lasts. Yields the run ids it has seen."""
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    ended, seen = threading.Event(), list[str]()

    def work() -> None:
        while not ended.wait(0.2):
            with closing(sqlite3.connect(path, timeout=30)) as database:
                query = "select run_id from dag_run where dag_id = ? and state = 'queued'"
                for (run_id,) in database.execute(query, (f"ingest__{project.name}",)).fetchall():
                    project.run()
                    with database:
                        database.execute("update dag_run set state = ? where run_id = ?", (state, run_id))
                    seen.append(run_id)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def letters(project: Project, state: str = "open") -> dict[str, int]:
    with project.open() as runtime:
        found = runtime.ledger.dead_letters.list(LetterFilter(project.name, state=state))  # type: ignore[arg-type]
    return {letter.key: letter.attempts for letter in found}


def task_states(environment: dict[str, str]) -> dict[str, str]:
    """Of the newest run of the DAG."""
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        query = """select task_id, state from task_instance where run_id = (
            select run_id from dag_run where dag_id = 'replay_dead_letters' order by id desc limit 1)"""
        return dict(database.execute(query))


def replay(run_airflow: RunDag, project: Project, **values: object) -> subprocess.CompletedProcess[str]:
    conf = json.dumps({"pipeline": project.name, **values})
    return run_airflow("dags", "test", "replay_dead_letters", "--conf", conf)


def process_dags(run_airflow: RunDag, paused: bool = False) -> None:
    """What a DAG processor does: only DAGs in the database can be triggered."""
    assert run_airflow("dags", "reserialize", AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=str(paused)).returncode == 0


def test_the_form_offers_what_there_is_and_refuses_the_rest(
    airflow_environment: dict[str, str], project: Project
) -> None:
    wrong = [
        {"pipeline": "nothing"},
        {"lane": "texts"},
        {"since": "yesterday"},
        {"since": ""},
        {"error_class": 7},
        {"key_glob": ["*"]},
        {"ids": ["one"]},
    ]
    right: dict[str, object] = {
        "pipeline": project.name,
        "lane": "all lanes",
        "since": "2026-11-22T08:30:00+01:00",
        "key_glob": "*.pdf",
    }
    right["ids"] = [1, 2]
    form = ask(airflow_environment, project, *wrong, right, {"since": None, "error_class": None, "lane": "text"})
    assert form["refused"] == wrong
    assert form["enums"] == {
        "pipeline": [project.name],
        "lane": ["all lanes", "text"],
        "error_class": None,
        "key_glob": None,
        "since": None,
        "ids": None,
    }
    assert form["untold"] == []
    assert form["tasks"] == {"choose": ["ingest"], "ingest": ["report"], "report": []}
    assert form["tags"] == ["embedding-etl", "failures"]


def test_every_error_class_that_the_form_suggests_exists(airflow_environment: dict[str, str], project: Project) -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "include" / "embedding_etl").rglob("*.py"))
    assert [name for name in ask(airflow_environment, project)["examples"] if f'"{name}"' not in code] == []


def test_chosen_letters_are_healed_or_named_and_the_others_are_left_alone(
    failed: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    process_dags(run_airflow)
    failed.endpoint.refused_word = "still"
    with scheduler(airflow_environment, failed) as ingestions:
        done = replay(run_airflow, failed, key_glob="a/**", error_class="InputRefused", lane="text")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert len(ingestions) == 1
    assert "Of 2 dead letters 1 are healed, 1 failed again, 0 were not tried." in done.stdout
    assert re.search(r"text 'a/two.txt': InputRefused: .*refused", done.stdout)
    assert "hunter2" not in done.stdout
    assert letters(failed) == {"a/two.txt": 1, "b/three.txt": 1}
    assert list(letters(failed, "resolved")) == ["a/one.txt"]
    assert set(task_states(airflow_environment).values()) == {"success"}
    path = airflow_environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        query = "select max(length(value)) from xcom where dag_id = 'replay_dead_letters'"
        assert database.execute(query).fetchone()[0] < 1024


def test_letters_that_the_page_has_selected_are_replayed_and_no_others(
    failed: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    process_dags(run_airflow)
    with failed.open() as runtime:
        found = runtime.ledger.dead_letters.list(LetterFilter(failed.name))
    chosen = next(letter.id for letter in found if letter.key == "b/three.txt")
    with scheduler(airflow_environment, failed):
        form = {"lane": "all lanes", "error_class": None, "key_glob": None, "since": None, "ids": [chosen]}
        done = replay(run_airflow, failed, **form)
    assert "Of 1 dead letters 1 are healed" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
    assert letters(failed) == {"a/one.txt": 1, "a/two.txt": 1}


def test_a_red_ingestion_makes_the_run_red_and_the_letters_stay_due(
    failed: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    process_dags(run_airflow)
    failed.endpoint.fail_next = 1_000
    with scheduler(airflow_environment, failed, "failed"):
        done = replay(run_airflow, failed)
    assert "3 of 3 letters were not tried; they stay due" in done.stdout + done.stderr
    assert task_states(airflow_environment) == {"choose": "success", "ingest": "failed", "report": "failed"}
    assert set(letters(failed).values()) == {0}


def test_a_paused_ingestion_is_told_instead_of_waited_for(
    failed: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    process_dags(run_airflow, paused=True)
    done = replay(run_airflow, failed)
    assert f"ingest__{failed.name} was not started: is it paused?" in done.stdout + done.stderr
    assert task_states(airflow_environment) == {"choose": "success", "ingest": "failed", "report": "failed"}


def test_nothing_to_replay_ends_there(
    failed: Project, run_airflow: RunDag, airflow_environment: dict[str, str]
) -> None:
    done = replay(run_airflow, failed, error_class="EncryptedPdf", since="2026-01-01T00:00:00Z")
    assert done.returncode == 0
    assert "Nothing to replay" in done.stdout
    assert "text: 3 InputRefused" in done.stdout
    assert task_states(airflow_environment) == {"choose": "success", "ingest": "skipped", "report": "skipped"}
    assert set(letters(failed).values()) == {1}


def test_a_lane_of_another_pipeline_is_refused_by_name(failed: Project, run_airflow: RunDag) -> None:
    other = failed.root / "pipelines" / f"{failed.name}.yaml"
    second = other.read_text().replace(failed.name, "second").replace("text:", "prose:", 1)
    (other.parent / "second.yaml").write_text(second)
    done = replay(run_airflow, failed, lane="prose")
    assert f"{failed.name} has no lane 'prose'; it has: text" in done.stdout + done.stderr
    assert set(letters(failed).values()) == {1}
