"""Where tasks run on several machines, a ledger or state that only one of them sees is refused before any work."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.steps.shared_places import executors, require_shared_places
from tests.fixtures_pipeline import Project

RunDag = Callable[..., subprocess.CompletedProcess[str]]
SHARED = {
    "state_uri": "s3://state/prefix",
    "ledger_url": "postgresql+psycopg://etl@db/ledger",
}


@pytest.fixture
def bucket_project(project: Project) -> Project:
    project.configure(source={"uri": "s3://bucket/prefix"})
    return project


def check(project: Project, **places: object) -> None:
    found = Places.model_validate({"_env_file": None, "pipelines_dir": project.root / "pipelines", **SHARED, **places})
    require_shared_places(find_pipeline(found.pipelines_dir, project.name), found)


@pytest.mark.parametrize(
    "executor",
    [
        "CeleryExecutor",
        "KubernetesExecutor",
        "LocalExecutor,CeleryExecutor",
        "LocalExecutor, fast:airflow.providers.celery.executors.celery_executor.CeleryExecutor",
        "LocalExecutor;team_a=CeleryExecutor",
        "my_company.executors.FarExecutor",
    ],
)
def test_only_what_all_workers_see_will_do(
    bucket_project: Project, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    check(bucket_project)
    for uri in ("/var/state", "file:///var/state", "./state"):
        with pytest.raises(ConfigError, match=r"ETL_STATE_URI is .*s3://bucket/prefix.*ETL_STATE_IS_SHARED=true"):
            check(bucket_project, state_uri=uri)
    with pytest.raises(ConfigError, match=r"ETL_LEDGER_URL .*postgresql\+psycopg://"):
        check(bucket_project, ledger_url="sqlite:////var/ledger.db")


@pytest.mark.parametrize(
    "executor",
    ["LocalExecutor", "airflow.executors.local_executor.LocalExecutor", "team_a=LocalExecutor;LocalExecutor"],
)
def test_on_one_machine_anything_will_do(project: Project, monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    check(project, state_uri="/var/state", ledger_url="sqlite:////var/ledger.db")


def test_a_pod_of_kubernetes_is_one_of_many_whatever_its_configuration_says(
    bucket_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    assert executors() == ["KubernetesExecutor"]
    with pytest.raises(ConfigError, match="Tasks of KubernetesExecutor"):
        check(bucket_project, state_uri="/var/state")


def test_a_source_in_a_directory_is_named_with_its_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with pytest.raises(ConfigError, match=rf"{project.name}\.yaml: source\.uri is file://"):
        check(project)


def test_directories_that_every_worker_has_mounted_are_taken_by_word_of_the_operator(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    check(project, state_uri="file:///mnt/state", state_is_shared=True)
    with pytest.raises(ConfigError, match="which no network file system keeps whole") as caught:
        check(project, ledger_url="sqlite:////mnt/ledger.db", state_is_shared=True)
    assert "ETL_STATE_URI" not in str(caught.value)
    assert SourceSettings(uri="file:///mnt/source")


def test_the_password_of_the_ledger_is_not_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with pytest.raises(ConfigError) as caught:
        check(project, ledger_url="sqlite:////var/hunter2.db", state_uri="/var/state")
    assert "hunter2" not in str(caught.value)


def test_a_run_says_so_in_its_first_task_and_writes_nothing(project: Project, run_airflow: RunDag) -> None:
    project.put_many(2)
    done = run_airflow("dags", "test", f"ingest__{project.name}", AIRFLOW__CORE__EXECUTOR="CeleryExecutor")
    said = done.stdout + done.stderr
    assert "Tasks of CeleryExecutor run on more than one machine" in said
    assert "ETL_STATE_URI" in said
    assert "ETL_LEDGER_URL" in said
    assert "source.uri" in said
    assert not Path(project.root / "ledger.db").exists()
    assert not list((project.root / "state").iterdir())
    assert project.endpoint.texts == []


def test_every_other_step_refuses_too(project: Project, run_airflow: RunDag) -> None:
    form = json.dumps({"pipeline": project.name, "lane": "text"})
    done = run_airflow("dags", "test", "reindex", "--conf", form, AIRFLOW__CORE__EXECUTOR="CeleryExecutor")
    assert "Tasks of CeleryExecutor run on more than one machine" in done.stdout + done.stderr
    assert not Path(project.root / "ledger.db").exists()
