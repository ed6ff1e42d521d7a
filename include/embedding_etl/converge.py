"""converge: make every collection of a pipeline equal to what storage holds. Stage after stage, in one process.

This is what `etl run` does. In Airflow the same stages run as tasks (steps.py, dags/ingest.py); there is no second way
in which rows get into Milvus or out of it.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stages.embed import embed
from include.embedding_etl.stages.identify import identify
from include.embedding_etl.stages.purge import purge
from include.embedding_etl.stages.report import Report, report
from include.embedding_etl.stages.route import route
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.stages.sync import sync


@dataclass(frozen=True, slots=True)
class Request:
    """What a person or a schedule asks of one run."""

    rewrite: Set[str] = frozenset()  # lanes whose rows are all written again, from stored vectors
    approved_deletes: int = 0  # up to how many objects may vanish at once


def converge(
    runtime: Runtime, run_id: str, request: Request | None = None, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Run all stages and count again at the end.

    Args:
        tell: Called with one short line before each step, for progress.
    Returns:
        The report; it says whether the run is green. A stage that failed is named in its problems.
    """
    request = request or Request()
    failures: list[str] = []
    try:
        tell(f"scan: listing {runtime.pipeline.source.uri}")
        scan(runtime, run_id)
        tell("identify: looking at what is new or changed")
        identify(runtime, run_id)
        for lane in runtime.pipeline.lanes:
            _converge_lane(runtime, run_id, lane, request, failures, tell)
        if not failures:
            tell("purge: rows of objects that are gone")
            purge(runtime, run_id, request.approved_deletes)
    except EmbeddingEtlError as error:
        failures.append(str(error))
    except BaseException:
        runtime.ledger.runs.finish(run_id, "failed")
        raise
    tell("report: counting storage, ledger and Milvus")
    return report(runtime, run_id, failures)


def _converge_lane(
    runtime: Runtime, run_id: str, lane: str, request: Request, failures: list[str], tell: Callable[[str], None]
) -> None:
    """One lane's failure does not keep the others from being done; it keeps the run from deleting anything."""
    try:
        tell(f"route {lane}: comparing with what is indexed")
        for reference in route(runtime, run_id, lane, request.rewrite):
            tell(f"embed {reference}")
            embed(runtime, run_id, reference)
            tell(f"sync {reference}")
            sync(runtime, run_id, reference)
    except EmbeddingEtlError as error:
        failures.append(f"lane {lane}: {error}")
