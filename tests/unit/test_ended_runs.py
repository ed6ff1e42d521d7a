"""Whether a run is over, by what Airflow answers: a worker and `airflow dags test` hear of errors differently."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from include.embedding_etl.steps import task_context


def of_a_worker(status: int) -> Exception:
    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status}))


def of_dags_test(status: int) -> Exception:
    request = httpx.Request("GET", "http://airflow/dag-runs/a/b/state")
    return ServerResponseError("Server returned error", request=request, response=httpx.Response(status))


def answer(monkeypatch: pytest.MonkeyPatch, what: str | Exception) -> None:
    def get_dagrun_state(dag_id: str, run_id: str) -> str:
        assert (dag_id, run_id) == ("ingest__x", "manual__1/2")
        if isinstance(what, Exception):
            raise what
        return what

    context: dict[str, Any] = {"ti": SimpleNamespace(get_dagrun_state=get_dagrun_state)}
    monkeypatch.setattr(task_context, "task_context", lambda: context)


@pytest.mark.parametrize("error", [of_a_worker, of_dags_test])
@pytest.mark.parametrize(("status", "over"), [(404, True), (500, None), (403, None)])
def test_only_a_run_that_airflow_does_not_have_is_over(
    monkeypatch: pytest.MonkeyPatch, error: Any, status: int, over: bool | None
) -> None:
    answer(monkeypatch, error(status))
    assert task_context.has_ended("ingest__x/manual__1/2") is over


@pytest.mark.parametrize(
    ("state", "over"), [("success", True), ("failed", True), ("running", False), ("queued", False)]
)
def test_a_run_is_over_as_airflow_says(monkeypatch: pytest.MonkeyPatch, state: str, over: bool) -> None:
    answer(monkeypatch, state)
    assert task_context.has_ended("ingest__x/manual__1/2") is over


def test_of_a_run_of_the_command_line_airflow_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, AssertionError("it was asked"))
    assert task_context.has_ended("by-hand") is None
