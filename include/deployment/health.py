"""Health checks for containers: `python -m include.deployment.health WHAT`, WHAT one of CHECKS.

`airflow jobs check` and `celery inspect` through Airflow's application import all of Airflow each time, several seconds
of processor time. These import none of it. Exit code 0 = healthy.
"""

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from include.deployment.environment import required
from include.embedding_etl.errors import EmbeddingEtlError, TransientError

_TIMEOUT_S = 10


def check_metadatabase() -> None:
    """The API server answers, and reaches its database."""
    _require("metadatabase", _report(_api_url()))


def check_scheduler() -> None:
    """This very scheduler, by its own health server ([scheduler] enable_health_check)."""
    port = os.environ.get("AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT", "8974")
    _require("scheduler", _report(f"http://127.0.0.1:{port}/health"))


def check_dag_processor() -> None:
    """By the heartbeat that the API server sees."""
    _require("dag_processor", _report(_api_url()))


def check_triggerer() -> None:
    """By the heartbeat that the API server sees."""
    _require("triggerer", _report(_api_url()))


def check_worker() -> None:
    """This very worker answers a ping through the broker."""
    from celery import Celery
    from kombu.exceptions import OperationalError

    name = f"celery@{socket.gethostname()}"
    control = Celery(broker=required("AIRFLOW__CELERY__BROKER_URL")).control
    try:
        answers = control.inspect(destination=[name], timeout=_TIMEOUT_S).ping()
    except OperationalError as error:
        raise TransientError("the broker does not answer") from error
    if not answers:
        raise TransientError(f"{name} does not answer")


CHECKS: Mapping[str, Callable[[], None]] = {
    "api-server": check_metadatabase,
    "scheduler": check_scheduler,
    "dag-processor": check_dag_processor,
    "triggerer": check_triggerer,
    "worker": check_worker,
}


def _api_url() -> str:
    return f"{os.environ.get('AIRFLOW_INTERNAL_URL', 'http://127.0.0.1:8080')}/api/v2/monitor/health"


def _report(url: str) -> Mapping[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as response:
            document = json.load(response)
    except (OSError, ValueError) as error:
        raise TransientError(f"{url}: {error}") from error
    return document if isinstance(document, dict) else {}


def _require(component: str, report: Mapping[str, Any]) -> None:
    # The scheduler's own server answers without naming itself.
    status = (report.get(component) or {}).get("status") if component in report else report.get("status")
    if status != "healthy":
        raise TransientError(f"{component} is {status or 'not known'}")


def main() -> None:
    """Check what the argument names."""
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        sys.exit(f"one of: {', '.join(CHECKS)}")
    try:
        CHECKS[sys.argv[1]]()
    except EmbeddingEtlError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
