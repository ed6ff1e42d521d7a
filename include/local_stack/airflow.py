"""Airflow's four components, configured by environment variables alone; nothing here imports Airflow."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx

from include.embedding_etl.errors import TransientError
from include.embedding_etl.places import PROJECT_ROOT
from include.local_stack.configuration import StackConfiguration
from include.local_stack.env_file import write_private
from include.local_stack.paths import StackPaths
from include.local_stack.ports import HOST
from include.local_stack.process import Component, RunFile, log_path

_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "2",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "demo:admin",
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",  # the Test button of connections
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",  # a new or changed pipeline file is seen within seconds
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "600",
    # After a kill -9 the tasks of the dead come back within a minute or two, not after five.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "AIRFLOW__API__EXPOSE_CONFIG": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__LOGGING__UVICORN_LOGGING_LEVEL": "WARNING",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    # These say several lines every ten seconds, for ever.
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
        "airflow.dag_processing=WARNING,airflow.serialization=WARNING,airflow.models.dag=WARNING,"
        "airflow.jobs.triggerer_job_runner=WARNING"
    ),
    "AIRFLOW__TRIGGERER__CAPACITY": "100",
}
_ON_ONE_MACHINE = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "4",  # each is a process of 150 MB
}
_COMPONENTS = {
    # name: (arguments, key of the component in the health report)
    "api-server": (("api-server",), None),
    "scheduler": (("scheduler", "--skip-serve-logs"), "scheduler"),  # its log server would bind every interface
    "dag-processor": (("dag-processor",), "dag_processor"),
    "triggerer": (("triggerer", "--skip-serve-logs"), "triggerer"),
}
# Anything else of the caller's environment that steers Airflow or AWS would make his stack another one than ours.
_NOT_INHERITED = ("AIRFLOW", "AWS_", "_AIRFLOW", "PYTHONDONTWRITEBYTECODE", "ETL_")
_CHOICES_OF_THE_CALLER = ("ETL_PIPELINES_DIR", "ETL_MODELS_DIR")  # other directories than the project's


def airflow_environment(configuration: StackConfiguration) -> dict[str, str]:
    """What every Airflow process, tasks included, is told by its environment."""
    paths, demo = configuration.paths, configuration.demo
    return {
        **_SETTINGS,
        **(configuration.airflow_settings or _on_one_machine(paths)),
        **configuration.airflow_keys,
        **demo,
        **{name: os.environ[name] for name in _CHOICES_OF_THE_CALLER if name in os.environ},
        "AIRFLOW_HOME": str(paths.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(paths.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file(configuration)),
        # The port alone leaves the execution API on 8080, and every task fails with "connection refused".
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{demo['ETL_AIRFLOW_URL']}/execution/",
        "AIRFLOW__API__BASE_URL": demo["ETL_AIRFLOW_URL"],
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(paths.logs / "airflow"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(paths.logs / "airflow" / "dag_processor"),
        "AIRFLOW_CONN_ETL_S3": _s3_connection(demo),
        "AIRFLOW_CONN_ETL_MILVUS": _milvus_connection(demo),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }


def _on_one_machine(paths: StackPaths) -> dict[str, str]:
    return {**_ON_ONE_MACHINE, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{paths.airflow / 'airflow.db'}"}


def inherited_environment() -> dict[str, str]:
    """What Airflow's processes get of the caller's environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
    return {**inherited, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}"}


def airflow_components(configuration: StackConfiguration) -> list[Component]:
    """The api-server, the scheduler, the dag-processor and the triggerer, each a process of its own."""
    environment = airflow_environment(configuration)
    port = configuration.ports["airflow"]
    url = configuration.demo["ETL_AIRFLOW_URL"]
    components = []
    for name, (arguments, health_key) in _COMPONENTS.items():
        serving = health_key is None
        components.append(
            Component(
                name=name,
                arguments=(
                    *airflow_command(),
                    *arguments,
                    *(("--host", HOST, "--port", str(port.number)) if serving else ()),
                ),
                environment=environment,
                inherited=inherited_environment(),
                directory=configuration.paths.airflow,
                ports=(port,) if serving else (),
                healthy=partial(_is_healthy, url, health_key or "metadatabase"),
                stop_timeout_s=8.0,
            )
        )
    return components


def prepare_airflow(configuration: StackConfiguration) -> None:
    """Write the password file and migrate the metadata database, unless both are up to date.

    Raises:
        TransientError: the migration failed; the message names the log file.
    """
    paths = configuration.paths
    paths.airflow.mkdir(parents=True, exist_ok=True)
    paths.logs.mkdir(parents=True, exist_ok=True)
    users = {configuration.demo["ETL_AIRFLOW_USER"]: configuration.demo["ETL_AIRFLOW_PASSWORD"]}
    write_private(_passwords_file(configuration), json.dumps(users))
    migrated = paths.airflow / "migrated"  # the migration takes 10 s even where there is nothing to do
    wanted = version("apache-airflow")
    if migrated.exists() and migrated.read_text(encoding="utf-8") == wanted:
        return
    log_file = log_path(paths, "airflow-db-migrate")
    with log_file.open("ab") as log:
        finished = subprocess.run(
            (*airflow_command(), "db", "migrate"),
            cwd=paths.airflow,
            env={**inherited_environment(), **airflow_environment(configuration)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if finished.returncode:
        raise TransientError(f"`airflow db migrate` failed; see {log_file}")
    migrated.write_text(wanted, encoding="utf-8")


def airflow_command() -> tuple[str, str]:
    """The words that a command line of Airflow begins with."""
    # Not the `airflow` script: its first line names a Python by path, which breaks when the project is moved.
    return sys.executable, str(Path(sys.executable).with_name("airflow"))


def _passwords_file(configuration: StackConfiguration) -> Path:
    return configuration.paths.airflow / "passwords.json"


def _s3_connection(demo: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "conn_type": "aws",
            "login": demo["AWS_ACCESS_KEY_ID"],
            "password": demo["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": demo["ETL_S3_ENDPOINT"], "region_name": "us-east-1"},
        }
    )


def _milvus_connection(demo: Mapping[str, str]) -> str:
    document = {"conn_type": "milvus", "host": demo["ETL_MILVUS_URI"]}
    user, separator, password = demo.get("ETL_MILVUS_TOKEN", "").partition(":")
    return json.dumps({**document, "login": user, "password": password} if separator else document)


def _is_healthy(url: str, key: str, run_file: RunFile) -> bool:
    """Whether Airflow reports the component as healthy, by a heartbeat of this very process."""
    try:
        response = httpx.get(f"{url}/api/v2/monitor/health", timeout=5, trust_env=False)
        report = response.json().get(key) if response.status_code == httpx.codes.OK else None
    except (httpx.TransportError, ValueError):
        return False
    if not isinstance(report, dict) or report.get("status") != "healthy":
        return False
    heartbeats = [value for name, value in report.items() if name.startswith("latest_")]
    # An earlier process's heartbeat stays healthy for half a minute after it was killed.
    return all(value and datetime.fromisoformat(value).timestamp() >= run_file.created_s - 1 for value in heartbeats)
