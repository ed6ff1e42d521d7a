"""converge: make every collection of a pipeline equal to what storage holds. Stage after stage, in one process.

This is what `etl run` does. In Airflow the same stages run as tasks (steps.py, dags/ingest.py); there is no second way
in which rows get into Milvus or out of it.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.lane_collection import LaneCollection, ensure_live
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.stages.embed import embed
from include.embedding_etl.stages.identify import identify
from include.embedding_etl.stages.purge import purge, purge_collection
from include.embedding_etl.stages.report import Report, report
from include.embedding_etl.stages.route import route, route_rewrite
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.stages.sync import sync
from include.embedding_etl.storage.select import check_source_prefix
from include.embedding_etl.turn import give_turn_back, take_turn


@dataclass(frozen=True, slots=True)
class Request:
    """What a person or a schedule asks of one run."""

    rewrite: Set[str] = frozenset()  # lanes whose rows are all written again, from stored vectors
    approved_deletes: int = 0  # up to how many objects may vanish at once
    prefix: str = ""  # only objects whose keys begin so; "" = all


def converge(
    runtime: Runtime, run_id: str, request: Request | None = None, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Run all stages and count again at the end.

    Args:
        tell: Called with one short line before each step, for progress.
    Returns:
        The report; it says whether the run is green. A stage that failed is named in its problems.
    Raises:
        ConfigError: the request contradicts itself or the pipeline.
        TransientError: another run of the pipeline is at work.
    """
    request = request or Request()
    check_request(runtime.pipeline, request)
    failures: list[str] = []
    take_turn(runtime, run_id, prefix=request.prefix)
    try:
        look_at_source(runtime, run_id, tell, request.prefix)
        for lane in runtime.pipeline.lanes:
            _converge_lane(runtime, run_id, lane, request, failures, tell)
        if not failures:
            tell("purge: rows of objects that are gone")
            purge(runtime, run_id, request.approved_deletes)
    except EmbeddingEtlError as error:
        failures.append(str(error))
    except BaseException:
        runtime.ledger.runs.finish(run_id, "failed")
        give_turn_back(runtime, run_id)
        raise
    tell("report: counting storage, ledger and Milvus")
    return report(runtime, run_id, failures)


def check_request(pipeline: PipelineSettings, request: Request) -> None:
    """Whether a run can do what is asked, before it begins.

    Raises:
        ConfigError: it cannot.
    """
    check_source_prefix(pipeline.source, request.prefix)
    if request.prefix and request.rewrite:
        raise ConfigError("rewrite: a lane's rows are written again all or none: leave out the prefix or rewrite")


def look_at_source(runtime: Runtime, run_id: str, tell: Callable[[str], None], prefix: str = "") -> None:
    """Bring ledger.objects up to what the source holds now, or holds now below a prefix."""
    below = f", only keys below {prefix!r}" if prefix else ""
    tell(f"scan: listing {runtime.pipeline.source.uri}{below}")
    scan(runtime, run_id, prefix)
    tell("identify: looking at what is new or changed")
    identify(runtime, run_id)


def converge_collection(
    runtime: Runtime,
    run_id: str,
    collection: LaneCollection,
    tell: Callable[[str], None],
    first_shard: int = 0,
) -> None:
    """Make one collection equal to ledger.objects, deletions included: a candidate, or one that was retired.

    Raises:
        EmbeddingEtlError: as the stages.
    """
    tell(f"route {collection.name}: comparing with what is in it")
    _work_off(runtime, run_id, route(runtime, run_id, collection, first_shard), tell)
    tell(f"purge {collection.name}")
    purge_collection(runtime, run_id, collection, first_shard)


def _converge_lane(
    runtime: Runtime, run_id: str, lane: str, request: Request, failures: list[str], tell: Callable[[str], None]
) -> None:
    """One lane's failure does not keep the others from being done; it keeps the run from deleting anything."""
    try:
        tell(f"route {lane}: comparing with what is indexed")
        cut = route_rewrite if lane in request.rewrite else route
        _work_off(runtime, run_id, cut(runtime, run_id, ensure_live(runtime, lane)), tell)
    except EmbeddingEtlError as error:
        failures.append(f"lane {lane}: {error}")


def _work_off(runtime: Runtime, run_id: str, references: list[str], tell: Callable[[str], None]) -> None:
    for reference in references:
        tell(f"embed {reference}")
        embed(runtime, run_id, reference)
        tell(f"sync {reference}")
        sync(runtime, run_id, reference)
