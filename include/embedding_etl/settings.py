"""Settings: one pipeline per YAML file, and the places (ledger, state, Milvus, S3) from the environment.

Nothing here is read at import. Unknown keys are refused; every message names the file, the key and what is allowed.
Longer than our modules are meant to be: all that a pipeline file may say stands in one place.
"""

import difflib
import re
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.index_kinds import INDEX_KINDS, refusal
from include.embedding_etl.types import ChunkSettings, Limits

PROJECT_ROOT = Path(__file__).resolve().parents[2]
NAME = r"^[a-z][a-z0-9_]{0,39}$"  # becomes part of DAG ids, collection names and aliases
LANE_NAME = r"^[a-z][a-z0-9]{0,39}$"  # no underscore: the last one of an alias divides pipeline and lane
QUEUE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"  # becomes part of task ids

DESTINATION = (
    r"^(mailto:[^\s@:/?#,]+@[^\s@:/?#,]+|env:[A-Za-z_][A-Za-z0-9_]*|variable:[\w.-]{1,200}|connection:[\w.-]{1,200})$"
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListingSettings(_Strict):
    """How a bucket is listed. More than one stream is for buckets of a million objects and more."""

    parallel: Annotated[int, Field(ge=1, le=64)] = 1  # streams at once, of a store that lists in byte order (S3 does)


class EventSettings(_Strict):
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


class SourceSettings(_Strict):
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


class BulkImportSettings(_Strict):
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


class MilvusSettings(_Strict):
    """Where the vectors go. Without a connection id, ETL_MILVUS_URI decides."""

    connection_id: str | None = None
    bulk_import: BulkImportSettings | None = None  # None = every row is upserted


ModelKind = Literal[
    "sentence-transformers",
    "openai",
    "resnet",
    "torchvision-resnet50",
    "efficientnet-lite0",
    "clip",
    "whisper",
    "perceiver",
]


class ModelSettings(_Strict):
    """Which model, and how it runs. `precision` "auto" is bf16 where the processor has it, else fp32."""

    kind: ModelKind
    id: str
    revision: str = "main"  # hub models: pin a commit
    weights: Literal["hub", "package", "repository", "path", "remote"] = "hub"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4  # openai: the most batches that are asked for at once
    dimension: Annotated[int, Field(ge=1, le=32_768)] | None = None  # openai: what to ask for
    base_url: str | None = None  # openai: the endpoint
    api_key_env: str | None = None  # openai: name of the variable that holds the key, never the key
    max_tokens: Annotated[int, Field(ge=1)] | None = None  # openai: the endpoint's window
    tokenizer: str | None = None  # openai: a tokenizer.json to count with


class IndexSettings(_Strict):
    """The Milvus index of the lane's collections."""

    type: Literal["HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"] = "HNSW"
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"
    params: dict[str, int | float | str] = {"M": 16, "efConstruction": 200}  # not used by the types that have no such
    search: dict[str, int | float | str] = {}  # parameters of a search; readers of the alias choose their own

    @field_validator("params")
    @classmethod
    def _params_of_the_type(cls, params: dict[str, int | float | str], info: ValidationInfo) -> dict[str, Any]:
        kind = INDEX_KINDS.get(info.data.get("type", ""))
        # Where none were written, the ledger has recorded the default with any type.
        if kind is not None and params != cls.model_fields["params"].default:
            _require(info.data["type"], refusal(params, kind.default_params))
        return params

    @field_validator("search")
    @classmethod
    def _search_of_the_type(cls, search: dict[str, int | float | str], info: ValidationInfo) -> dict[str, Any]:
        if kind := INDEX_KINDS.get(info.data.get("type", "")):
            _require(info.data["type"], refusal(search, kind.search_params))
        return search


def _require(index_type: str, reason: str) -> None:
    if reason:
        raise ValueError(f"{index_type}: {reason}")


class LaneSettings(_Strict):
    """What accepts some media types, turns them into vectors with one model, and owns one alias."""

    accepts: Annotated[tuple[str, ...], Field(min_length=1)]  # media types or globs: "image/*"
    model: ModelSettings
    chunk: ChunkSettings = ChunkSettings()
    index: IndexSettings = IndexSettings()
    queue: Annotated[str, Field(pattern=QUEUE_NAME)] | None = None  # of tasks with the model; None = Airflow's default
    pool: Annotated[str, Field(pattern=QUEUE_NAME)] | None = None  # of its embed tasks; None = pools.embed

    @property
    def place(self) -> str:
        """What the ids of a reindex's tasks end with, so that each place of a model has tasks of its own."""
        return (f"_{self.queue}" if self.queue else "") + (f"__{self.pool}" if self.pool else "")

    @field_validator("accepts")
    @classmethod
    def _media_types(cls, accepts: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in accepts:
            if not re.match(r"^[a-z*]+/[a-z0-9.+*-]+$", pattern):
                raise ValueError(f"{pattern!r} is not a media type such as text/plain or image/*")
        return accepts


class ThresholdSettings(_Strict):
    """When a run stops and asks instead of going on."""

    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1  # open dead letters / routed objects
    max_delete_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_delete_objects: Annotated[int, Field(ge=0)] = 50  # up to this many deletions never need a person
    ask_about_deletes_h: Annotated[float, Field(ge=0)] = 24.0  # how long Airflow waits for an answer; 0 = do not ask
    max_audit_faults: Annotated[int, Field(ge=0)] = 0  # more than this and the audit's run is red


class RetentionSettings(_Strict):
    """How long things stay that nobody needs for being right. The audit DAG clears up."""

    keep_vectors_days: Annotated[float, Field(ge=0)] = 30.0  # of fingerprints that no collection uses any more
    keep_run_files_days: Annotated[float, Field(ge=0)] = 7.0  # snapshots and shard files


class ShardSettings(_Strict):
    """How the work is cut into mapped tasks."""

    max_shards: Annotated[int, Field(ge=1, le=1000)] = (
        8  # a lane; bounds Airflow's mapping whatever the number of objects
    )
    max_shard_objects: Annotated[int, Field(ge=1)] = 2_000  # below max_shards, a new shard is opened at this size


class PoolSettings(_Strict):
    """Airflow pools: sync of one Milvus Lite server wants a pool of one slot. The pools must exist in Airflow."""

    embed: str = "default_pool"
    sync: str = "default_pool"


class NotifySettings(_Strict):
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


class PipelineSettings(_Strict):
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


class Places(BaseSettings):
    """Where ledger, state, Milvus and S3 are: ETL_* variables, `.local/demo.env` as the fallback."""

    model_config = SettingsConfigDict(
        env_prefix="ETL_",
        env_file=(PROJECT_ROOT / ".local" / "demo.env", ".env"),
        extra="ignore",
        populate_by_name=True,
    )

    ledger_url: SecretStr = SecretStr(f"sqlite:///{PROJECT_ROOT / '.local' / 'ledger.db'}")
    state_uri: str = str(PROJECT_ROOT / ".local" / "state")
    milvus_uri: str = "http://127.0.0.1:19530"
    milvus_token: SecretStr = SecretStr("")
    milvus_database: str = "default"
    pipelines_dir: Path = PROJECT_ROOT / "include" / "pipelines"
    models_dir: Path = PROJECT_ROOT / ".local" / "models"
    lease_ttl_s: Annotated[float, Field(ge=1)] = 300.0  # a run that shows no life for so long may be taken over
    state_is_shared: bool = False  # directories that are named here are mounted on every worker, at the same path
    task_threads: Annotated[int, Field(ge=1)] | None = None  # None = this machine's cores / tasks_per_machine
    tasks_per_machine: Annotated[int, Field(ge=1)] = 1  # how many embed tasks run on one machine at once
    s3_endpoint: str | None = None
    s3_region: str | None = None
    aws_access_key_id: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_ACCESS_KEY_ID", "aws_access_key_id")
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key")
    )
    aws_session_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_SESSION_TOKEN", "aws_session_token")
    )


def load_pipeline(path: Path) -> PipelineSettings:
    """Read and validate one pipeline file.

    Raises:
        ConfigError: naming the file, the key and what is allowed.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such pipeline file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys such as name, source, lanes; found {type(document).__name__}")
    try:
        pipeline = PipelineSettings.model_validate(document)
    except ValidationError as error:
        lines = [f"{path}: {_explain(detail)}" for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    if pipeline.name != path.stem:
        raise ConfigError(f"{path}: name: is {pipeline.name!r}, but must equal the file's name, {path.stem!r}")
    return pipeline


def pipeline_files(pipelines_dir: Path) -> list[Path]:
    """All pipeline files, sorted by name."""
    return sorted(pipelines_dir.glob("*.yaml"))


def find_pipeline(pipelines_dir: Path, name: str) -> PipelineSettings:
    """Load a pipeline by its name.

    Raises:
        ConfigError: there is none of that name; the message lists those that exist.
    """
    path = pipelines_dir / f"{name}.yaml"
    if not re.match(NAME, name) or not path.is_file():
        known = ", ".join(file.stem for file in pipeline_files(pipelines_dir)) or "none"
        raise ConfigError(f"{pipelines_dir}: no pipeline named {name!r}; there are: {known}")
    return load_pipeline(path)


def _explain(detail: ErrorDetails) -> str:
    """One validation error as `key: what is wrong; what is allowed`."""
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "(the file)"
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = sorted(_fields_at(detail["loc"][:-1]))
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{key}: unknown key.{hint} Allowed: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{key}: is required"
    if detail["loc"][0] == "notify":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}"  # what was found may be a secret
    return f"{key}: {detail['msg'].removeprefix('Value error, ')} (found {detail['input']!r:.80})"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at a place in a pipeline file."""
    model: Any = PipelineSettings
    parts = list(location)
    while parts:
        part = str(parts.pop(0))
        if part == "lanes":
            model = LaneSettings
            parts = parts[1:]
        else:
            annotation = model.model_fields[part].annotation
            model = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
    return list(model.model_fields) if issubclass(model, BaseModel) else [field.name for field in fields(model)]
