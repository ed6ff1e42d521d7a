"""An Airflow with a migrated database of its own, and no scheduler: `airflow dags test` needs none."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_pipeline import Project

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 480  # with one command of Airflow: a busy machine takes minutes for what takes half of one alone
RunDag = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run a DAG twice have the time for it, unless they say otherwise."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(2 * PATIENCE_S))


def parse_dags(script: str, environment: dict[str, str], project: Project, *arguments: str) -> Any:
    """What a script says of the DAGs in a process of its own; it prints RESULT and JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "dags"), *arguments],
        env={**environment, **project.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([_airflow(), "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture
def run_airflow(airflow_environment: dict[str, str], project: Project) -> RunDag:
    """Run an `airflow` command that sees the project's pipeline."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_airflow(), *arguments],
            env={**airflow_environment, **project.environment, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


def _airflow() -> str:
    return str(Path(sys.executable).with_name("airflow"))
