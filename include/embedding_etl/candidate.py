"""The collection that is to replace a lane's live one: begun once, and gone on with after a crash."""

from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_collection import LaneCollection, create_collection, open_collection
from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import CollectionRecord, ReindexRecord
from include.embedding_etl.reindex_request import PREVIOUS, ReindexRequest
from include.embedding_etl.runtime import Runtime


def begin_reindex(runtime: Runtime, run_id: str, request: ReindexRequest) -> LaneCollection:
    """Make this run the lane's only reindex, and find or create its candidate.

    A candidate with the same settings, which an earlier run has left, is gone on with.

    Raises:
        IntegrityError: another reindex of the lane is at work; or the earlier collection is gone.
        ConfigError: nothing is indexed yet.
    """
    lane, ledger = request.lane, runtime.ledger
    live = ledger.collections.live(runtime.pipeline.name, lane)
    if live is None:
        name = runtime.pipeline.name
        raise ConfigError(f"lane {lane} has nothing indexed yet: run ingest__{name} or `etl run {name}` first")
    try:
        runtime.lease(runtime.reindexing(lane), run_id)
    except TransientError as error:
        raise IntegrityError(f"lane {lane} is being reindexed already: {error}") from error
    candidate = _reopen(runtime, request, live) if request.earlier else _find_or_create(runtime, request, live)
    ledger.runs.start(run_id, runtime.pipeline.name, "rollback" if request.earlier else "reindex")
    ledger.reindexes.start(run_id, runtime.pipeline.name, lane, request.to_json(), candidate.name, live.name)
    if not runtime.store.has_collection(candidate.name):
        _create_again(runtime, run_id, candidate)
    return candidate


def reindex_record(runtime: Runtime, run_id: str) -> ReindexRecord:
    """What `begin_reindex` wrote down.

    Raises:
        IntegrityError: the run is none that began.
    """
    record = runtime.ledger.reindexes.get(run_id)
    if record is None:
        raise IntegrityError(f"{run_id} is not a reindex that began: see its first task")
    return record


def request_of(record: ReindexRecord) -> ReindexRequest:
    """The request that a reindex was begun with."""
    return ReindexRequest.model_validate(record.request)


def wanted_settings(
    runtime: Runtime, live: CollectionRecord, request: ReindexRequest
) -> tuple[LaneSettings, LaneSettings]:
    """What the candidate is built with, and what of the YAML that stands for."""
    wanted = runtime.pipeline.lanes[request.lane]
    index = request.index or wanted.index
    if request.rebuild == "vectors":
        settings = wanted.model_copy(update={"index": index})
        return settings, settings
    # Everything that decides a vector stays as it is, so that every vector comes from the embedding store.
    recorded = LaneSettings.model_validate(live.settings["lane"])
    as_written = LaneSettings.model_validate(live.settings["as_written"])
    kept = {"index": index, "accepts": wanted.accepts}
    return recorded.model_copy(update=kept), as_written.model_copy(update=kept)


def _find_or_create(runtime: Runtime, request: ReindexRequest, live: CollectionRecord) -> LaneCollection:
    settings, as_written = wanted_settings(runtime, live, request)
    info = resolve_model(settings.model, runtime.places.models_dir)
    digest = fingerprint(info, settings.chunk)
    for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name):
        same_lane = record.lane == request.lane and record.state == "candidate"
        if same_lane and record.fingerprint == digest and _index_of(record) == settings.index:
            with durable_write("candidate_state"):
                runtime.ledger.collections.set_state(record.name, "candidate")  # nobody drops it from here on
            return open_collection(runtime, record.name)
    return create_collection(runtime, request.lane, settings, as_written, "candidate")


def _index_of(record: CollectionRecord) -> object:
    return LaneSettings.model_validate(record.settings["lane"]).index


def _reopen(runtime: Runtime, request: ReindexRequest, live: CollectionRecord) -> LaneCollection:
    """An earlier collection, to be brought up to date and switched back to."""
    known = {
        record.name: record
        for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name)
        if record.lane == request.lane and record.name != live.name
    }
    name = request.earlier
    if name == PREVIOUS:
        switches = runtime.ledger.collections.cutovers(runtime.pipeline.alias(request.lane))
        name = next((each.from_name for each in switches if each.from_name in known), None) or PREVIOUS
    if name not in known:
        names = ", ".join(known) or "none"
        raise ConfigError(
            f"earlier: lane {request.lane} has no collection {name!r} to go back to; live is {live.name}, others that "
            f"were not dropped: {names}"
        )
    with durable_write("candidate_state"):
        runtime.ledger.collections.set_state(name, "candidate")
    return open_collection(runtime, name)


def _create_again(runtime: Runtime, run_id: str, candidate: LaneCollection) -> None:
    """Somebody dropped the candidate in Milvus: what is believed of its rows is not true any more."""
    lease = runtime.lease(candidate.name, run_id)
    with durable_write("collection_create"):
        runtime.store.create_collection(candidate.spec)
    runtime.ledger.entries.forget_versions(lease, candidate.name)
