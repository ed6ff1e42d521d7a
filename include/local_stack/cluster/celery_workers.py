"""Celery workers: each takes the tasks of one queue."""

import threading
from functools import partial
from typing import Any

from include.local_stack.airflow import airflow_command, airflow_environment, inherited_environment
from include.local_stack.cluster.configuration import CONCURRENCY, ClusterConfiguration
from include.local_stack.process import Component, RunFile

_PING_TIMEOUT_S = 3.0
_importing = threading.Lock()  # celery replaces its own module while it is imported: two threads at once see half of it


def worker_components(cluster: ClusterConfiguration) -> list[Component]:
    """`worker-cpu`, `worker-gpu`; further ones of a queue are numbered: `worker-cpu-2`."""
    environment = airflow_environment(cluster.stack)
    return [
        _worker(cluster, queue, f"worker-{queue}" if number == 1 else f"worker-{queue}-{number}", environment)
        for queue, workers in cluster.workers.items()
        for number in range(1, workers + 1)
    ]


def _worker(cluster: ClusterConfiguration, queue: str, name: str, environment: dict[str, str]) -> Component:
    return Component(
        name=name,
        arguments=(
            *airflow_command(),
            *("celery", "worker"),
            *("--queues", queue),
            *("--concurrency", str(CONCURRENCY.get(queue, 1))),
            *("--celery-hostname", name),
            *("--pid", str(cluster.stack.paths.run / f"{name}.celery.pid")),
            "--skip-serve-logs",  # one log folder on one machine; the server of logs would bind every interface
            *("--without-gossip", "--without-mingle"),
        ),
        environment=environment,
        inherited=inherited_environment(),
        directory=cluster.stack.paths.airflow,
        ports=(),
        healthy=partial(_is_healthy, cluster.broker_url, f"celery@{name}"),
        stop_timeout_s=8.0,
    )


def _is_healthy(broker_url: str, node: str, _: RunFile) -> bool:
    """Whether the worker answers a ping through the broker. Celery alone is asked: importing Airflow costs seconds."""
    with _importing:
        import kombu.exceptions
        from celery import Celery

    with Celery(broker=broker_url, set_as_current=False) as app:
        app.conf.broker_connection_retry = False
        try:
            replies: list[dict[str, Any]] = app.control.ping([node], timeout=_PING_TIMEOUT_S)
        except (kombu.exceptions.OperationalError, OSError):
            return False
    return any(node in reply for reply in replies)
