"""scan: list the source completely, in key order, into a snapshot file."""

from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import Snapshot, write_snapshot
from include.embedding_etl.stage_figures import stage


def scan(runtime: Runtime, run_id: str) -> Snapshot:
    """List everything under the pipeline's source. What the globs leave out is, for this pipeline, not there.

    Raises:
        TransientError, IntegrityError: the listing did not complete; there is no snapshot then, and no tombstone.
    """
    source = runtime.pipeline.source
    runtime.ledger.runs.start(run_id, runtime.pipeline.name)
    with stage(runtime, run_id, "scan") as figures, durable_write("snapshot"):
        snapshot = write_snapshot(
            runtime.state,
            RunFiles(runtime.pipeline.name, run_id).snapshot,
            source.uri,
            runtime.source.list(),
            KeyFilter(source.include, source.exclude).accepts,
        )
        figures["objects"] = snapshot.objects
        figures["bytes"] = snapshot.bytes
    return snapshot
