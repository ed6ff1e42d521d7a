"""How many objects would lose their rows at once, and whether that needs a person."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from include.embedding_etl.diff import Action
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection, find_live
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Entry

SHOWN_KEYS = 20


@dataclass(frozen=True, slots=True)
class Deletions:
    """What one lane would delete now."""

    lane: str
    doomed: int  # objects whose rows would go
    indexed: int  # objects that have rows
    allowed: int  # how many need no approval
    first_keys: tuple[str, ...]  # up to SHOWN_KEYS of the doomed, in key order

    @property
    def needs_approval(self) -> bool:
        """More than the pipeline's thresholds allow."""
        return self.doomed > self.allowed


def doomed_entries(runtime: Runtime, collection: LaneCollection, prefix: str = "") -> Iterator[Entry]:
    """Entries of objects below a prefix that the source no longer has, or that the lane no longer takes."""
    for change in lane_changes(runtime, collection, prefix):
        if change.action is Action.DELETE and change.entry is not None:
            yield change.entry


def count_deletions(runtime: Runtime, collection: LaneCollection, prefix: str = "") -> Deletions:
    """Count them, and keep the first few keys for people. What is allowed is a fraction of what is below the prefix."""
    limits = runtime.pipeline.thresholds
    doomed = (entry.key for entry in doomed_entries(runtime, collection, prefix))
    first_keys = tuple(islice(doomed, SHOWN_KEYS))
    indexed = runtime.ledger.entries.totals(collection.name, prefix).objects
    allowed = max(limits.min_delete_objects, int(limits.max_delete_fraction * indexed))
    return Deletions(collection.lane, len(first_keys) + sum(1 for _ in doomed), indexed, allowed, first_keys)


def live_collections(runtime: Runtime) -> list[LaneCollection]:
    """The live collections that Milvus has."""
    found = [find_live(runtime, lane) for lane in runtime.pipeline.lanes]
    return [live for live in found if live is not None and runtime.store.has_collection(live.name)]


def pending_approval(runtime: Runtime, prefix: str = "") -> Sequence[Deletions]:
    """The lanes that would delete more than may go without a person's word. All are counted before any row goes.

    Args:
        prefix: What the run has listed: only rows of keys that begin so are counted.
    """
    counted = [count_deletions(runtime, live, prefix) for live in live_collections(runtime)]
    return [deletions for deletions in counted if deletions.needs_approval]


def describe_deletions(source_uri: str, lanes: Sequence[Deletions]) -> str:
    """The same for a person who has to decide, as Markdown. Keys come from strangers: they stay inside a code block."""
    parts = []
    for deletions in lanes:
        keys = "\n".join(_quoted(key) for key in deletions.first_keys)
        more = deletions.doomed - len(deletions.first_keys)
        rest = f"\n… and {more} more" if more else ""
        parts.append(
            f"**Lane {deletions.lane}**: {deletions.doomed} of {deletions.indexed} indexed objects are no longer in "
            f"`{source_uri}`. Up to {deletions.allowed} may go without being asked.\n\n```\n{keys}{rest}\n```\n"
        )
    return "\n".join(parts) or "Nothing is waiting any more: the objects are back."


def _quoted(key: str) -> str:
    return json.dumps(key[:200], ensure_ascii=False).replace("`", "\\u0060")
