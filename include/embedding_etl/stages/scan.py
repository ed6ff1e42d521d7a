"""scan: list the source, or what is below a prefix of it, completely and in key order, into a snapshot file."""

from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import Snapshot, write_snapshot
from include.embedding_etl.stage_figures import stage

LISTING_WAIT_S = 10.0  # another run may be at it: most listings are short


def scan(runtime: Runtime, run_id: str, prefix: str = "") -> Snapshot:
    """List everything under the pipeline's source. What the globs leave out is, for this pipeline, not there.

    The listing's lease is held until identify has ended: an older listing never undoes what a newer one has shown.

    Args:
        prefix: List only what begins so; the snapshot says it, and the stages behind keep to it.
    Raises:
        ConfigError: no key of the source begins with the prefix.
        TransientError, IntegrityError: the listing did not complete, or another run lists the source now: there is
            no snapshot then, and no tombstone.
    """
    source = runtime.pipeline.source
    lease = runtime.lease(runtime.listing, run_id, LISTING_WAIT_S)
    with stage(runtime, run_id, "scan") as figures, Heartbeat(runtime.ledger, lease), durable_write("snapshot"):
        snapshot = write_snapshot(
            runtime.state,
            RunFiles(runtime.pipeline.name, run_id).snapshot,
            source.uri,
            runtime.source.list(prefix),
            KeyFilter(source.include, source.exclude).accepts,
            lease.token,
            prefix,
        )
        figures["objects"] = snapshot.objects
        figures["bytes"] = snapshot.bytes
    return snapshot
