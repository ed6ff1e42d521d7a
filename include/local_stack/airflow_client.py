"""The few calls of Airflow's REST API that the demo needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import httpx

from include.embedding_etl.errors import ConfigError, TransientError
from include.local_stack.configuration import StackConfiguration

Json = dict[str, Any]
FINISHED = ("success", "failed")
_READ_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task instance of a run."""

    task_id: str
    map_index: int  # -1 = not mapped
    state: str  # "" = not scheduled yet
    try_number: int
    duration_s: float

    @property
    def label(self) -> str:
        """`text.embed[2]`."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class AirflowClient:
    """A logged-in user of Airflow's API. Use as a context."""

    def __init__(self, configuration: StackConfiguration) -> None:
        demo = configuration.demo
        self._http = httpx.Client(base_url=demo["ETL_AIRFLOW_URL"], timeout=30, trust_env=False)
        self._login = {"username": demo["ETL_AIRFLOW_USER"], "password": demo["ETL_AIRFLOW_PASSWORD"]}

    def __enter__(self) -> Self:
        token = self._call("POST", "/auth/token", json=self._login)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def keep_pool(self, name: str, slots: int, description: str) -> None:
        """Create a pool, or give it the wanted number of slots."""
        document = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        if self._http.get(f"/api/v2/pools/{name}").status_code == httpx.codes.NOT_FOUND:
            self._call("POST", "/api/v2/pools", json=document)
        else:
            self._call("PATCH", f"/api/v2/pools/{name}", json=document)

    def wait_for_dag(self, dag_id: str, since_s: float, timeout_s: float) -> None:
        """Wait until the DAG has been parsed.

        Args:
            dag_id: The DAG.
            since_s: When the dag-processor started; what was parsed before may be another version of the file.
            timeout_s: Give up after this.
        Raises:
            ConfigError: its file cannot be imported; the message is Airflow's.
            TransientError: it did not appear in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            response = self._http.get(f"/api/v2/dags/{dag_id}")  # 404 until it has been parsed once
            if response.status_code == httpx.codes.OK and _parsed_since(response.json(), since_s):
                return
            if time.monotonic() > deadline_s:
                errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
                if errors:
                    raise ConfigError(f"{errors[0]['filename']} cannot be imported:\n{errors[0]['stack_trace']}")
                raise TransientError(f"Airflow has not parsed the DAG {dag_id} within {timeout_s:.0f} s")
            time.sleep(0.5)

    def unpause(self, dag_id: str) -> None:
        """Let the DAG's runs start."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def running_run(self, dag_id: str) -> str | None:
        """The id of a run that is running now."""
        runs = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"state": ["running"], "limit": 1})[
            "dag_runs"
        ]
        return str(runs[0]["dag_run_id"]) if runs else None

    def trigger(self, dag_id: str, **form: Any) -> str:
        """Start a run by hand, as its form would, and return its id.

        Raises:
            TransientError: Airflow refuses a value of the form; the message says which.
        """
        document = {"logical_date": None, "conf": form}
        return str(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=document)["dag_run_id"])

    def give_up(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, as a person would whose worker has died."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def question(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """What a waiting task asks a person: subject, body, options."""
        return self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails")

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer it."""
        url = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self._call("PATCH", url, json={"chosen_options": [option], "params_input": {}})

    def run_state(self, dag_id: str, run_id: str) -> str:
        """queued, running, success or failed."""
        return str(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        """All task instances of a run."""
        url, found = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", list[Json]()
        while True:
            page = self._call("GET", url, params={"limit": 100, "offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return [
                    TaskState(
                        task_id=task["task_id"],
                        map_index=task["map_index"],
                        state=task["state"] or "",
                        try_number=task["try_number"],
                        duration_s=task["duration"] or 0.0,
                    )
                    for task in found
                ]

    def follow(self, dag_id: str, run_id: str, timeout_s: float, report: Callable[[list[TaskState]], None]) -> str:
        """Watch a run until it has finished.

        Args:
            dag_id: The DAG.
            run_id: The run.
            timeout_s: Give up after this.
            report: Told all task instances at every look.
        Returns:
            "success" or "failed".
        Raises:
            TransientError: it did not finish in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            state = self.run_state(dag_id, run_id)
            report(self.task_states(dag_id, run_id))
            if state in FINISHED:
                return state
            if time.monotonic() > deadline_s:
                raise TransientError(f"the run {run_id} has not finished within {timeout_s:.0f} s; it goes on")
            time.sleep(1)

    def _call(self, method: str, url: str, **arguments: Any) -> Json:
        # A busy machine makes Airflow late now and then. Asking again is harmless; triggering again would not be.
        attempts = _READ_ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                response = self._http.request(method, url, **arguments)
                if response.is_success:
                    return response.json()  # type: ignore[no-any-return]
                problem = f"{response.status_code} {response.text[:300]}"
                if not response.is_server_error:
                    break
            except httpx.TransportError as error:
                problem = f"no answer ({type(error).__name__})"
            if attempt < attempts:
                time.sleep(1)
        raise TransientError(f"Airflow at {self._http.base_url} refused {method} {url}: {problem}")


def _parsed_since(dag: Json, since_s: float) -> bool:
    parsed = dag["last_parsed_time"]
    return not dag["is_stale"] and parsed is not None and datetime.fromisoformat(parsed).timestamp() >= since_s
