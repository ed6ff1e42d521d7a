"""Every metric that this project gives: name, unit, meaning, labels. docs/monitoring.md has the same table.

Task code sends them through Airflow's statsd or OpenTelemetry, and the status app shows them to Prometheus. One name
for both: Prometheus writes an underscore where statsd has a dot. No label ever holds an object key: there are as many
keys as objects, and what monitoring keeps grows with every combination of labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter"]
Given = Literal["both", "tasks", "triggerer"]  # by tasks and to Prometheus, or by tasks or the triggerer only


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure means."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    given: Given = "both"

    @property
    def prometheus_name(self) -> str:
        """As Prometheus and the exporters of statsd and OpenTelemetry spell it."""
        return self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure now."""

    metric: Metric
    value: float
    labels: Mapping[str, str]


LANE = ("pipeline", "lane")

FRESHNESS = Metric(
    "embedding_etl.freshness_seconds",
    "gauge",
    "seconds",
    LANE,
    "Age of the oldest object that waits to be indexed, by the time storage gives it; 0 = none waits",
)
FRESHNESS_TARGET = Metric(
    "embedding_etl.freshness_target_seconds",
    "gauge",
    "seconds",
    ("pipeline",),
    "The pipeline file's freshness_target_h; absent where the file has none",
)
LAST_SUCCESS = Metric(
    "embedding_etl.last_success_timestamp_seconds",
    "gauge",
    "seconds since 1970",
    ("pipeline",),
    "When the last green ingestion ended; absent before the first",
)
OBJECTS = Metric(
    "embedding_etl.objects",
    "gauge",
    "objects",
    (*LANE, "state"),
    "Objects by state: indexed, pending, dead, dismissed, deferred, to_delete",
)
UNROUTED = Metric(
    "embedding_etl.unrouted_objects", "gauge", "objects", ("pipeline",), "Objects in storage that no lane accepts"
)
ROWS = Metric(
    "embedding_etl.rows",
    "gauge",
    "rows",
    (*LANE, "place"),
    "Rows of the live collection: verified by the ledger, or held by Milvus",
)
AGREEMENT = Metric(
    "embedding_etl.agreement",
    "gauge",
    "1 or 0",
    LANE,
    "1 = storage, ledger and Milvus agree; 0 = they do not; absent while a run writes or Milvus does not answer",
)
DEAD_LETTERS = Metric(
    "embedding_etl.dead_letters",
    "gauge",
    "letters",
    (*LANE, "error_class"),
    "Open dead letters by error class, without the dismissed ones",
)
EMBEDDED_CHUNKS = Metric(
    "embedding_etl.embedded_chunks_total", "counter", "chunks", LANE, "Chunks that the model has turned into vectors"
)
REUSED_CHUNKS = Metric(
    "embedding_etl.reused_chunks_total",
    "counter",
    "chunks",
    LANE,
    "Chunks whose vectors came from the embedding store, without the model",
)
MODEL_SECONDS = Metric(
    "embedding_etl.model_seconds_total", "counter", "seconds", LANE, "Time spent in calls of the model"
)
ROWS_WRITTEN = Metric(
    "embedding_etl.rows_written_total", "counter", "rows", LANE, "Rows that were written to Milvus and read back"
)
CUTOVERS = Metric(
    "embedding_etl.cutovers_total", "counter", "cutovers", LANE, "Switches of the lane's alias to another collection"
)
RETRIES = Metric(
    "embedding_etl.retries_total",
    "counter",
    "attempts",
    (*LANE, "step"),
    "Attempts after the first one, of embed, sync and cut_over",
    given="tasks",
)
EVENT_MESSAGES = Metric(
    "embedding_etl.event_messages_total",
    "counter",
    "messages",
    ("pipeline", "outcome"),
    "Messages received from the bucket's queue: kept until a run is recorded, or ignored",
    given="triggerer",
)
WAKE_UPS = Metric(
    "embedding_etl.wake_ups_total",
    "counter",
    "events",
    ("pipeline",),
    "Events that asked Airflow for a run, each for all messages in hand",
    given="triggerer",
)

METRICS = (
    FRESHNESS,
    FRESHNESS_TARGET,
    LAST_SUCCESS,
    OBJECTS,
    UNROUTED,
    ROWS,
    AGREEMENT,
    DEAD_LETTERS,
    EMBEDDED_CHUNKS,
    REUSED_CHUNKS,
    MODEL_SECONDS,
    ROWS_WRITTEN,
    CUTOVERS,
    RETRIES,
    EVENT_MESSAGES,
    WAKE_UPS,
)
