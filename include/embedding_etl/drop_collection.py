"""Drop a physical collection that nobody reads: a candidate, or a retired one."""

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.runtime import Runtime


def drop_collection(runtime: Runtime, name: str, run_id: str) -> None:
    """Drop it by its real name, forget what the ledger believes about its rows, and close its dead letters.

    Milvus first: a crash in between leaves a record without a collection, which the next try or the audit mends.

    Args:
        name: Real name of a collection of the runtime's pipeline.
        run_id: Who drops it; nobody may be writing to it.
    Raises:
        ConfigError: it is live, or none of this pipeline's; the message lists what may be dropped.
        IntegrityError: an alias points at it.
        TransientError: a run is writing to it.
    """
    ledger, pipeline = runtime.ledger, runtime.pipeline.name
    known = {record.name: record for record in ledger.collections.of_pipeline(pipeline)}
    record = known.get(name)
    if record is None or record.state == "live":
        droppable = ", ".join(each.name for each in known.values() if each.state != "live") or "none"
        reason = "is live" if record else "is no collection of this pipeline"
        raise ConfigError(f"{name} {reason}; collections of {pipeline} that may be dropped: {droppable}")
    lease = runtime.lease(name, run_id)
    with durable_write("drop_collection"):
        runtime.store.drop_collection(name)
    with durable_write("drop_commit"):
        ledger.collections.mark_dropped(name)
    ledger.leases.release(lease)
    others = (each for each in known.values() if each.name != name and each.lane == record.lane)
    if all(each.fingerprint != record.fingerprint for each in others):
        ledger.dead_letters.resolve_fingerprint(pipeline, record.lane, record.fingerprint)
