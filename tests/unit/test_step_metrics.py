"""What steps send when they are tried again, and when an alias was switched; received by a real UDP socket."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics.statsd_logger import get_statsd_logger
from airflow.sdk.execution_time.context import set_current_context
from airflow.sdk.observability import stats
from statsd import StatsClient

from include.embedding_etl.stage_figures import Figures
from include.embedding_etl.steps.metrics import count_retry, send_cutover, send_embedded, send_synced
from tests.fixtures_monitoring import StatsdServer

LANE = "pipeline=demo,lane=text"


@pytest.fixture(autouse=True)
def _statsd(statsd_server: StatsdServer) -> Iterator[None]:
    factory, legacy = stats_state()
    port = int(statsd_server.environment["AIRFLOW__METRICS__STATSD_PORT"])
    stats.initialize(
        factory=lambda: get_statsd_logger(
            stats_class=StatsClient,
            host="127.0.0.1",
            port=port,
            influxdb_tags_enabled=True,
            statsd_influxdb_enabled=True,
        ),
        export_legacy_names=False,
    )
    yield
    stats.initialize(factory=factory, export_legacy_names=legacy)


def stats_state() -> tuple[Any, bool]:
    from airflow.sdk._shared.observability.metrics import stats as module

    return module._factory, module._export_legacy_names


def attempt(number: int) -> Any:
    return set_current_context({"ti": SimpleNamespace(try_number=number)})  # type: ignore[typeddict-item]


def test_the_first_attempt_is_no_retry_and_every_other_is_one(statsd_server: StatsdServer) -> None:
    for number in (1, 2, 3):
        with attempt(number):
            count_retry("demo", "text", "embed")
    assert statsd_server.lines() == [f"embedding_etl.retries_total,{LANE},step=embed:1|c"] * 2


def test_a_cutover_is_counted(statsd_server: StatsdServer) -> None:
    send_cutover("demo", "text")
    assert statsd_server.lines() == [f"embedding_etl.cutovers_total,{LANE}:1|c"]


def test_shards_send_what_they_did_and_nothing_where_they_did_nothing(statsd_server: StatsdServer) -> None:
    figures = Figures(chunks=7, reused_chunks=2)
    figures.model_s = 0.25
    send_embedded("demo", "text", figures)
    send_synced("demo", "text", Figures(rows=9))
    send_synced("demo", "text", Figures())
    assert statsd_server.lines() == [
        f"embedding_etl.embedded_chunks_total,{LANE}:7|c",
        f"embedding_etl.reused_chunks_total,{LANE}:2|c",
        f"embedding_etl.model_seconds_total,{LANE}:0.25|c",
        f"embedding_etl.rows_written_total,{LANE}:9|c",
    ]
