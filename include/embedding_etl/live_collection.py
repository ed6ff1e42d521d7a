"""Which physical collection a lane writes to, and with which settings: its own recorded ones, not those in the YAML.

So editing a lane's model breaks nothing. Ingestion goes on with the live collection's settings until a reindex.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger.records import CollectionRecord
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import LaneSettings
from include.embedding_etl.types import CollectionSpec, ModelInfo
from include.embedding_etl.vectorstore.schema import physical_name


@dataclass(frozen=True, slots=True)
class LiveCollection:
    """A lane with the collection it converges and the model that collection was built with."""

    lane: str
    alias: str
    name: str
    fingerprint: str
    settings: LaneSettings  # accepts and batch size as in the YAML; model, chunk and index as recorded
    info: ModelInfo
    differs: tuple[str, ...]  # keys of the YAML that wait for a reindex

    @property
    def spec(self) -> CollectionSpec:
        """What it takes to create the collection again."""
        return CollectionSpec(
            name=self.name,
            dimension=self.info.dimension,
            index_type=self.settings.index.type,
            metric=self.settings.index.metric,
            index_params=self.settings.index.params,
            properties={
                "pipeline": self.alias.removesuffix(f"_{self.lane}"),
                "lane": self.lane,
                "fingerprint": self.fingerprint,
                "model_id": self.info.model_id,
                "weights_hash": self.info.weights_hash,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def find_live(runtime: Runtime, lane: str) -> LiveCollection | None:
    """The lane's live collection with its recorded settings; None before the first run.

    Raises:
        ConfigError: the weights on this machine are not those that the collection was built with.
    """
    record = runtime.ledger.collections.live(runtime.pipeline.name, lane)
    if record is None:
        return None
    wanted = runtime.pipeline.lanes[lane]
    recorded = LaneSettings.model_validate(record.settings["lane"])
    model = recorded.model.model_copy(update={"batch_size": wanted.model.batch_size})
    settings = wanted.model_copy(update={"model": model, "chunk": recorded.chunk, "index": recorded.index})
    info = resolve_model(model, runtime.places.models_dir)
    actual = fingerprint(info, settings.chunk)
    if actual != record.fingerprint:
        raise ConfigError(
            f"lane {lane}: the weights of {info.model_id} on this machine are not those that {record.name} was built "
            f"with (fingerprint {actual[:8]}, expected {record.fingerprint[:8]}). Install that revision, or reindex."
        )
    as_written = LaneSettings.model_validate(record.settings["as_written"])
    return LiveCollection(
        lane,
        runtime.pipeline.alias(lane),
        record.name,
        record.fingerprint,
        settings,
        info,
        differences(as_written, wanted),
    )


def ensure_live(runtime: Runtime, lane: str) -> LiveCollection:
    """The lane's live collection; on the first run it is created from the YAML, with its alias."""
    found = find_live(runtime, lane)
    if found is None:
        found = _create_first(runtime, lane)
    if runtime.store.has_collection(found.name) and runtime.store.alias_target(found.alias) is None:
        with durable_write("alias"):
            runtime.store.point_alias(found.alias, found.name)
    return found


def _create_first(runtime: Runtime, lane: str) -> LiveCollection:
    """Milvus first, ledger second: a crash in between leaves an empty collection that nobody owns, never rows twice.

    A name that exists in Milvus already (a ledger was lost, a run died here) is passed over: its content is unknown.
    """
    ledger, pipeline = runtime.ledger, runtime.pipeline
    wanted = pipeline.lanes[lane]
    info = resolve_model(wanted.model, runtime.places.models_dir)
    # "auto" depends on the machine: what was decided here is recorded, so that every worker does the same.
    precise = wanted.model.model_copy(update={"precision": info.precision} if info.precision != "remote" else {})
    settings = wanted.model_copy(update={"model": precise})
    digest = fingerprint(info, settings.chunk)
    number = ledger.collections.next_number(pipeline.name, lane)
    while runtime.store.has_collection(name := physical_name(pipeline.name, lane, digest, number)):
        number += 1
    live = LiveCollection(lane, pipeline.alias(lane), name, digest, settings, info, ())
    with durable_write("collection_create"):
        runtime.store.create_collection(live.spec)
    with durable_write("collection_commit"):
        ledger.collections.add(
            CollectionRecord(
                name=name,
                pipeline=pipeline.name,
                lane=lane,
                fingerprint=digest,
                settings={
                    "lane": settings.model_dump(mode="json"),
                    "as_written": wanted.model_dump(mode="json"),
                },
                state="live",
                created_at_ms=int(time.time() * 1000),
            )
        )
    return live


def differences(recorded: LaneSettings, wanted: LaneSettings) -> tuple[str, ...]:
    """Keys whose values in the YAML only a reindex would apply."""
    without_effect = {"batch_size", "api_key_env"}
    return tuple(
        f"{part}.{key}"
        for part in ("model", "chunk", "index")
        for key, value in _fields(getattr(wanted, part)).items()
        if key not in without_effect and value != _fields(getattr(recorded, part))[key]
    )


def _fields(part: object) -> dict[str, object]:
    return {name: getattr(part, name) for name in getattr(type(part), "model_fields", None) or part.__slots__}  # type: ignore[attr-defined]
