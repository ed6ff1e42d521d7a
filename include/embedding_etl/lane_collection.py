"""A physical collection of a lane, with the settings it was built with: its own recorded ones, not those in the YAML.

So editing a lane's model breaks nothing. Ingestion goes on with the live collection's settings until a reindex, which
builds a candidate with the new ones; and a retired collection can still be converged with its old model.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import CollectionRecord, CollectionState
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import CollectionSpec, ModelInfo
from include.embedding_etl.vectorstore.schema import physical_name

# They change neither a vector nor an index.
_WITHOUT_EFFECT = frozenset({"batch_size", "concurrency", "api_key_env", "search"})


@dataclass(frozen=True, slots=True)
class LaneCollection:
    """A lane with one of its collections and the model that it was built with."""

    pipeline: str
    lane: str
    name: str
    fingerprint: str
    state: CollectionState
    settings: LaneSettings  # accepts and batch size as in the YAML; model, chunk and index as recorded
    as_written: LaneSettings  # what the YAML said when it was created
    info: ModelInfo
    differs: tuple[str, ...]  # keys of the YAML that wait for a reindex

    @property
    def alias(self) -> str:
        """What readers of the lane use."""
        return f"{self.pipeline}_{self.lane}"

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
                "pipeline": self.pipeline,
                "lane": self.lane,
                "fingerprint": self.fingerprint,
                "model_id": self.info.model_id,
                "weights_hash": self.info.weights_hash,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def open_collection(runtime: Runtime, name: str) -> LaneCollection:
    """A collection that the ledger knows, with its recorded settings.

    Raises:
        IntegrityError: the ledger does not know it, or it was dropped.
        ConfigError: the weights on this machine are not those that it was built with, or its lane is no longer in the
            pipeline file.
    """
    record = runtime.ledger.collections.get(name)
    if record is None or record.dropped_at_ms is not None:
        raise IntegrityError(f"{name}: the ledger knows no such collection, or it was dropped")
    wanted = runtime.pipeline.lanes.get(record.lane)
    if wanted is None:
        raise ConfigError(f"{name}: pipeline {runtime.pipeline.name} has no lane {record.lane!r} any more")
    recorded = LaneSettings.model_validate(record.settings["lane"])
    pace = {name: getattr(wanted.model, name) for name in ("batch_size", "concurrency")}
    model = recorded.model.model_copy(update=pace)
    index = recorded.index
    if wanted.index.type == index.type and wanted.index.search:
        index = index.model_copy(update={"search": wanted.index.search})  # how to search needs no reindex
    settings = wanted.model_copy(update={"model": model, "chunk": recorded.chunk, "index": index})
    info = resolve_model(model, runtime.places.models_dir)
    actual = fingerprint(info, settings.chunk)
    if actual != record.fingerprint:
        raise ConfigError(
            f"lane {record.lane}: the weights of {info.model_id} on this machine are not those that {record.name} was "
            f"built with (fingerprint {actual[:8]}, expected {record.fingerprint[:8]}). Install that revision, or "
            f"reindex."
        )
    as_written = LaneSettings.model_validate(record.settings["as_written"])
    return LaneCollection(
        record.pipeline,
        record.lane,
        record.name,
        record.fingerprint,
        record.state,
        settings,
        as_written,
        info,
        differences(as_written, wanted),
    )


def find_live(runtime: Runtime, lane: str) -> LaneCollection | None:
    """The lane's live collection; None before the first run.

    Raises:
        ConfigError: as `open_collection`.
    """
    record = runtime.ledger.collections.live(runtime.pipeline.name, lane)
    return open_collection(runtime, record.name) if record is not None else None


def live_fingerprints(runtime: Runtime) -> dict[str, str]:
    """Of every lane that has a live collection, by the ledger alone: no model is looked for."""
    records = runtime.ledger.collections.of_pipeline(runtime.pipeline.name)
    return {record.lane: record.fingerprint for record in records if record.state == "live"}


def ensure_live(runtime: Runtime, lane: str) -> LaneCollection:
    """The lane's live collection; on the first run it is created from the YAML, with its alias."""
    found = find_live(runtime, lane)
    if found is None:
        wanted = runtime.pipeline.lanes[lane]
        found = create_collection(runtime, lane, wanted, wanted, "live")
    if runtime.store.has_collection(found.name) and runtime.store.alias_target(found.alias) is None:
        with durable_write("alias"):
            runtime.store.point_alias(found.alias, found.name)
    return found


def create_collection(
    runtime: Runtime, lane: str, settings: LaneSettings, as_written: LaneSettings, state: CollectionState
) -> LaneCollection:
    """Create and record a new physical collection.

    Milvus first, ledger second: a crash in between leaves an empty collection that nobody owns, never rows twice. A
    name that exists in Milvus already (a ledger was lost, a run died here) is passed over: its content is unknown.

    Args:
        settings: What it is built with.
        as_written: What the YAML says that this stands for; later differences are told against it.
        state: What it is from now on.
    """
    ledger, pipeline = runtime.ledger, runtime.pipeline.name
    info = resolve_model(settings.model, runtime.places.models_dir)
    # "auto" depends on the machine: what was decided here is recorded, so that every worker does the same.
    precise = settings.model.model_copy(update={"precision": info.precision} if info.precision != "remote" else {})
    settings = settings.model_copy(update={"model": precise})
    digest = fingerprint(info, settings.chunk)
    number = ledger.collections.next_number(pipeline, lane)
    while runtime.store.has_collection(name := physical_name(pipeline, lane, digest, number)):
        number += 1
    created = LaneCollection(pipeline, lane, name, digest, state, settings, as_written, info, ())
    with durable_write("collection_create"):
        runtime.store.create_collection(created.spec)
    with durable_write("collection_commit"):
        ledger.collections.add(
            CollectionRecord(
                name=name,
                pipeline=pipeline,
                lane=lane,
                fingerprint=digest,
                settings={
                    "lane": settings.model_dump(mode="json"),
                    "as_written": as_written.model_dump(mode="json"),
                },
                state=state,
                created_at_ms=int(time.time() * 1000),
            )
        )
    return created


def differences(recorded: LaneSettings, wanted: LaneSettings) -> tuple[str, ...]:
    """Keys whose values in the YAML only a reindex would apply."""
    return tuple(
        f"{part}.{key}"
        for part in ("model", "chunk", "index")
        for key, value in _fields(getattr(wanted, part)).items()
        if key not in _WITHOUT_EFFECT and value != _fields(getattr(recorded, part))[key]
    )


def _fields(part: object) -> dict[str, object]:
    return {name: getattr(part, name) for name in getattr(type(part), "model_fields", None) or part.__slots__}  # type: ignore[attr-defined]
