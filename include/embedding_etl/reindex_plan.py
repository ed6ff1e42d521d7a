"""What a reindex will do and cost, before it is begun."""

from collections.abc import Iterator

from include.embedding_etl.candidate import wanted_settings
from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.estimate import estimate
from include.embedding_etl.lane_changes import accepts
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import JsonValue, ObjectRecord
from include.embedding_etl.wording import counted


def plan_reindex(runtime: Runtime, request: ReindexRequest) -> tuple[list[str], dict[str, JsonValue]]:
    """Judge by what the ledger knows; nothing is listed, nothing is written.

    Returns:
        Lines for a log, and the same figures for programs.
    Raises:
        ConfigError: nothing is indexed yet.
    """
    live = runtime.ledger.collections.live(runtime.pipeline.name, request.lane)
    if live is None:
        raise ConfigError(f"lane {request.lane} has nothing indexed yet: run ingest__{runtime.pipeline.name} first")
    if request.earlier:
        return [f"{request.lane}: back from {live.name} to {request.earlier}"], {"live": live.name}
    settings, _ = wanted_settings(runtime, live, request)
    info = resolve_model(settings.model, runtime.places.models_dir)
    digest = fingerprint(info, settings.chunk)
    cost = estimate(runtime, request.lane, digest, info.dimension, _objects(runtime, request.lane))
    kept = "the same vectors" if digest == live.fingerprint else f"vectors of {info.model_id} ({info.dimension})"
    unknown = "unknown: no run to judge by"
    index = f"{settings.index.type}/{settings.index.metric}"
    lines = [
        f"{request.lane}: a candidate for {live.name}, with {kept}, index {index}",
        f"  {counted(cost.objects, 'object')}; the vectors of {cost.reusable} are stored already",
        f"  rows: {unknown if cost.rows is None else f'about {cost.rows}'}",
        f"  to read: {cost.bytes_to_read} bytes",
        f"  model: {unknown if cost.model_s is None else f'about {cost.model_s} s, at the speed of recent runs'}",
        f"  vectors in Milvus: {unknown if cost.vector_bytes is None else f'about {cost.vector_bytes} bytes'}",
    ]
    summary: dict[str, JsonValue] = {
        "live": live.name,
        "model": info.model_id,
        "objects": cost.objects,
        "reusable": cost.reusable,
        "rows": cost.rows,
        "model_s": cost.model_s,
        "bytes_to_read": cost.bytes_to_read,
        "vector_bytes": cost.vector_bytes,
    }
    return lines, summary


def _objects(runtime: Runtime, lane: str) -> Iterator[ObjectRecord]:
    for record in runtime.ledger.objects.stream(runtime.pipeline.name):
        if not (record.vanished or record.skip_reason) and accepts(runtime, lane, record):
            yield record
