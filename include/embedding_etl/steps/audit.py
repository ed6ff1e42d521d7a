"""The DAG `audit`: every pipeline compared with what storage, ledger and Milvus say, mended where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.steps.task_context import Summary, open_runtime, param, run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL_PIPELINES = "all"


def is_wanted(pipeline: str) -> bool:
    """Short circuit: whether the form means this pipeline, and whether anything of it was ever indexed."""
    from include.embedding_etl.pipeline_files import find_pipeline
    from include.embedding_etl.places import Places
    from include.embedding_etl.runtime import Runtime

    if param("pipeline") not in (ALL_PIPELINES, pipeline):
        return False
    places = Places()
    # Without its connections: those of a pipeline that was never used may not exist.
    with Runtime(find_pipeline(places.pipelines_dir, pipeline), places) as runtime:
        return bool(runtime.ledger.collections.of_pipeline(pipeline))


def compare(pipeline: str) -> Summary:
    """Audit. Nothing is changed; the log has the table."""
    from include.embedding_etl.audit import audit, describe

    with open_runtime(pipeline) as runtime:
        result = audit(runtime, run_id(), print)
    for line in describe(result.to_json()):
        print(line)  # noqa: T201 - the task's log is where people look
    return {"faults": result.faults, "pending": result.pending, **result.compared}


def needs_repair(pipeline: str, compared: Mapping[str, int]) -> str:
    """Branch: repair where the form wants it and something differs."""
    differs = compared["faults"] + compared["pending"] > 0
    return f"{pipeline}.repair" if param("repair") and differs else f"{pipeline}.clear_up"


def repair(pipeline: str) -> Summary:
    """Mend what differs, and converge."""
    from include.embedding_etl.repair import repair as run_repair

    with open_runtime(pipeline) as runtime:
        result = run_repair(runtime, run_id(), int(param("approve_deletes") or 0), print)
    for line in (*result.done, *(f"Not done: {problem}" for problem in result.problems)):
        print(line)  # noqa: T201 - the task's log is where people look
    return {"done": len(result.done), "problems": len(result.problems)}


def clear_up(pipeline: str) -> Summary:
    """Retention: old collections, vectors of unused fingerprints, files of old runs."""
    from include.embedding_etl.retention import clear_up as run_clear_up

    with open_runtime(pipeline) as runtime:
        lines = run_clear_up(runtime, run_id())
    for line in lines:
        print(line)  # noqa: T201 - the task's log is where people look
    return {"cleared": len(lines)}


def report(pipeline: str) -> Summary:
    """The last audit of this run decides.

    Raises:
        IntegrityError: more faults than the pipeline allows; the message is the table.
    """
    from include.embedding_etl.audit import describe

    with open_runtime(pipeline) as runtime:
        records = runtime.ledger.audits.last(pipeline, 20)  # others may have audited since
        allowed = runtime.pipeline.thresholds.max_audit_faults
    record = next((each for each in records if each.run_id == run_id()), None)
    if record is None:
        raise IntegrityError(f"{pipeline}: this run's audit is not in the ledger: see the log of `compare`")
    if record.faults > allowed:
        raise IntegrityError(
            "\n".join(describe(record.findings))
            + f"\nmax_audit_faults of {pipeline} is {allowed}. To mend it, trigger this DAG with `repair`, or: "
            f"`etl audit {pipeline} --repair`"
        )
    return {"faults": record.faults}
