"""Collections and aliases in Milvus against ledger.collections."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.vectorstore.failures import NotFound

GRACE_S = 3600.0  # what is younger may be about to be recorded
_OWNER = ("pipeline", "lane", "fingerprint")


def check_collection(runtime: Runtime, live: LaneCollection, differences: Differences) -> bool:
    """Whether a live collection is what the ledger says it is, so that its rows can be compared."""
    kind, subject = _what_is_wrong(runtime, live)
    if kind:
        differences.add(Difference(kind, live.lane, live.name, subject))
    return kind in ("", "other index")


def _what_is_wrong(runtime: Runtime, live: LaneCollection) -> tuple[str, str]:
    store, index = runtime.store, live.settings.index
    if not store.has_collection(live.name):
        return "missing collection", live.name
    if (dimension := store.dimension(live.name)) != live.info.dimension:
        return "other dimension", f"{live.name} has {dimension}, not {live.info.dimension}"
    stored, wanted = store.properties(live.name), live.spec.properties
    for name in _OWNER:
        if stored.get(name) != wanted[name]:
            return "other fingerprint", f"{live.name}: {name} is {stored.get(name)!r}, not {wanted[name]!r}"
    found = store.index(live.name)
    if found is None:
        return "missing index", live.name
    if found != (index.type, index.metric):
        return "other index", f"{live.name} has {found[0]} {found[1]}, not {index.type} {index.metric}"
    return "", ""


def check_alias(runtime: Runtime, lane: str, differences: Differences) -> None:
    """Whether readers of a lane see its live collection. During a cutover, that is the cutover's business."""
    alias, pipeline = runtime.pipeline.alias(lane), runtime.pipeline.name
    target, live = runtime.store.alias_target(alias), runtime.ledger.collections.live(pipeline, lane)
    if live is None or target == live.name or is_reindexed(runtime, lane):
        return
    if target is None:
        differences.add(Difference("missing alias", lane, live.name, alias))
    else:
        differences.add(Difference("alias elsewhere", lane, live.name, f"{alias} → {target}"))


def check_ownership(runtime: Runtime, differences: Differences) -> None:
    """Collections of this pipeline that only one of Milvus and ledger knows. Live ones: see `check_collection`."""
    for record in runtime.ledger.collections.of_pipeline(runtime.pipeline.name):
        idle = record.state != "live" and not is_reindexed(runtime, record.lane)
        if idle and not runtime.store.has_collection(record.name):
            differences.add(Difference("lost collection", record.lane, record.name, record.name))
    for name in runtime.store.list_collections():
        if is_unowned(runtime, name):
            differences.add(Difference("unowned collection", "", name, name))


def is_unowned(runtime: Runtime, name: str) -> bool:
    """Whether a collection carries this pipeline's name, and no ledger entry stands for it."""
    record = runtime.ledger.collections.get(name)
    if record is not None and record.dropped_at_ms is None:
        return False
    try:
        properties = runtime.store.properties(name)
    except NotFound:
        return False  # dropped in this moment
    return properties.get("pipeline") == runtime.pipeline.name and _is_old(properties)


def is_reindexed(runtime: Runtime, lane: str) -> bool:
    """Whether a reindex of the lane is at work."""
    lease = runtime.ledger.leases.find(runtime.reindexing(lane))
    return lease is not None and lease.expires_at_ms > time.time() * 1000


def _is_old(properties: Mapping[str, str]) -> bool:
    try:
        created = datetime.fromisoformat(properties.get("created_at", ""))
    except ValueError:
        return True
    return (datetime.now(UTC) - created.astimezone(UTC)).total_seconds() > GRACE_S
