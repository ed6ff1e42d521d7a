"""What a pipeline file may say, but for its lanes: one pipeline per YAML file. Unknown keys are refused."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.strict_model import Strict
from include.embedding_etl.types import Limits

NAME = r"^[a-z][a-z0-9_]{0,39}$"  # becomes part of DAG ids, collection names and aliases
LANE_NAME = r"^[a-z][a-z0-9]{0,39}$"  # no underscore: the last one of an alias divides pipeline and lane

DESTINATION = (
    r"^(mailto:[^\s@:/?#,]+@[^\s@:/?#,]+|env:[A-Za-z_][A-Za-z0-9_]*|variable:[\w.-]{1,200}|connection:[\w.-]{1,200})$"
)


class ListingSettings(Strict):
    """How a bucket is listed. More than one stream is for buckets of a million objects and more."""

    parallel: Annotated[int, Field(ge=1, le=64)] = 1  # streams at once, of a store that lists in byte order (S3 does)


class EventSettings(Strict):
    """A queue of the bucket's notifications that wakes the pipeline's ingestion: docs/events.md."""

    queue_url: str
    connection_id: str | None = None  # an Airflow connection of type aws; None = the source's
    visibility_timeout_s: Annotated[int, Field(ge=30, le=43_200)] = 300  # a triggerer that dies keeps messages so long
    repeat_after_s: Annotated[float, Field(ge=60)] = 600.0  # a wake-up that brought no run is repeated
    min_interval_s: Annotated[float, Field(ge=0)] = 30.0  # two wake-ups are so far apart at least

    @field_validator("queue_url")
    @classmethod
    def _a_standard_queue(cls, queue_url: str) -> str:
        if not re.match(r"^https?://[^/?#@\s]+/[^?#@\s]+$", queue_url):
            raise ValueError(
                "allowed is the URL of an SQS queue: https://sqs.eu-west-1.amazonaws.com/123456789012/name"
            )
        if queue_url.endswith(".fifo"):
            raise ValueError("a FIFO queue shows nothing while one message is in hand: use a standard queue")
        return queue_url


class SourceSettings(Strict):
    """Where the objects are."""

    uri: str
    connection_id: str | None = None  # an Airflow connection of type aws; None = the usual AWS chain
    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    listing: ListingSettings = ListingSettings()
    events: EventSettings | None = None  # None = only the schedule, and people, start a run

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if not re.match(r"^(s3://[^/]+(/.*)?|file:///.*|/.*|\./.*)$", uri):
            raise ValueError("allowed are s3://bucket/prefix and a local directory (/path, ./path or file:///path)")
        return uri

    @field_validator("events")
    @classmethod
    def _of_a_bucket(cls, events: EventSettings | None, info: ValidationInfo) -> EventSettings | None:
        if events is not None and not str(info.data.get("uri", "s3://")).startswith("s3://"):
            raise ValueError("only a bucket sends events: leave it out where source.uri is a directory")
        return events


class BulkImportSettings(Strict):
    """Fill collections from files that the Milvus server reads itself: docs/production.md, First load in bulk."""

    staging_uri: str  # a directory or s3://bucket/prefix where tasks write and the server reads
    server_path: str | None = None  # what the server calls it; None = the directory, or the prefix within the bucket
    min_rows: Annotated[int, Field(ge=1)] = 100_000  # shards with fewer new rows are upserted
    timeout_s: Annotated[float, Field(ge=1)] = 3_600.0  # how long a task waits for one job

    @field_validator("staging_uri")
    @classmethod
    def _shared_place(cls, uri: str) -> str:
        if not re.match(r"^(s3://[^/]+/[^/].*|file:///.+|/.+)$", uri):
            raise ValueError("allowed are s3://bucket/prefix and an absolute path, which the Milvus server sees too")
        return uri.rstrip("/")

    @property
    def named_by_server(self) -> str:
        """The staging place in the server's words."""
        parts = urlsplit(self.staging_uri)
        return (self.server_path or (parts.path.lstrip("/") if parts.scheme == "s3" else parts.path)).rstrip("/")


class MilvusSettings(Strict):
    """Where the vectors go. Without a connection id, ETL_MILVUS_URI decides."""

    connection_id: str | None = None
    bulk_import: BulkImportSettings | None = None  # None = every row is upserted


class ThresholdSettings(Strict):
    """When a run stops and asks instead of going on."""

    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1  # open dead letters / routed objects
    max_delete_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_delete_objects: Annotated[int, Field(ge=0)] = 50  # up to this many deletions never need a person
    ask_about_deletes_h: Annotated[float, Field(ge=0)] = 24.0  # how long Airflow waits for an answer; 0 = do not ask
    max_audit_faults: Annotated[int, Field(ge=0)] = 0  # more than this and the audit's run is red


class RetentionSettings(Strict):
    """How long things stay that nobody needs for being right. The audit DAG clears up."""

    keep_vectors_days: Annotated[float, Field(ge=0)] = 30.0  # of fingerprints that no collection uses any more
    keep_run_files_days: Annotated[float, Field(ge=0)] = 7.0  # snapshots and shard files


class ShardSettings(Strict):
    """How the work is cut into mapped tasks."""

    max_shards: Annotated[int, Field(ge=1, le=1000)] = (
        8  # a lane; bounds Airflow's mapping whatever the number of objects
    )
    max_shard_objects: Annotated[int, Field(ge=1)] = 2_000  # below max_shards, a new shard is opened at this size


class PoolSettings(Strict):
    """Airflow pools: sync of one Milvus Lite server wants a pool of one slot. The pools must exist in Airflow."""

    embed: str = "default_pool"
    sync: str = "default_pool"


class NotifySettings(Strict):
    """Who is told what. Addresses that hold a secret are named here, never written."""

    on_failure: tuple[str, ...] = ()  # told of every run that fails, and of a freshness that misses its target
    digest: Literal["daily", "never"] = "never"
    digest_to: Annotated[tuple[str, ...], Field(validate_default=True)] = ()  # empty: those of on_failure

    @field_validator("on_failure", "digest_to")
    @classmethod
    def _no_secrets(cls, destinations: tuple[str, ...]) -> tuple[str, ...]:
        for place, destination in enumerate(destinations):
            if not re.match(DESTINATION, destination):
                # Not shown: it may be an address with a token in it.
                raise ValueError(
                    f"entry {place + 1}: allowed are mailto:person@example.org, env:NAME (a variable of the "
                    "environment), variable:NAME and connection:ID (Airflow's); an address with a secret in it, such "
                    "as that of a webhook, is kept there and not in this file"
                )
        return destinations

    @field_validator("digest_to")
    @classmethod
    def _somebody_reads_it(cls, digest_to: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("digest") == "daily" and not digest_to and not info.data.get("on_failure"):
            raise ValueError("digest is daily, but neither digest_to nor on_failure says who gets it")
        return digest_to


class PipelineSettings(Strict):
    """One source, one schedule, several lanes: one file in include/pipelines/."""

    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    source: SourceSettings
    milvus: MilvusSettings = MilvusSettings()
    schedule: str | None = None  # cron or @daily; None = by hand
    owner: str = "embedding-etl"
    tags: tuple[str, ...] = ()
    lanes: Annotated[dict[Annotated[str, Field(pattern=LANE_NAME)], LaneSettings], Field(min_length=1)]
    limits: Limits = Limits()
    thresholds: ThresholdSettings = ThresholdSettings()
    retention: RetentionSettings = RetentionSettings()
    shards: ShardSettings = ShardSettings()
    pools: PoolSettings = PoolSettings()
    notify: NotifySettings = NotifySettings()
    freshness_target_h: Annotated[float, Field(gt=0)] | None = None  # an object may wait for so long to be indexed

    def alias(self, lane: str) -> str:
        """The alias that readers of this lane use."""
        return f"{self.name}_{lane}"

    def embed_pool(self, lane: str) -> str:
        """The Airflow pool of the lane's embed tasks."""
        return self.lanes[lane].pool or self.pools.embed
