"""Whether a candidate may replace the live collection, and what readers will see differently.

equal      its ids are exactly those that the source and its settings ask for, at the right versions
sound      every vector has unit norm
findable   its index finds what an exact search over its vectors finds
familiar   how many neighbours are those of the live collection: reported, for a person to judge
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from include.embedding_etl.deletions import count_deletions
from include.embedding_etl.diff import Action, merge
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.lane_settings import IndexSettings
from include.embedding_etl.recall import NEIGHBOURS, ExactSearch
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.row_comparison import compare_rows
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Entry, Hit, JsonValue, Vectors
from include.embedding_etl.vectorstore.schema import row_id
from include.embedding_etl.wording import counted

SHOWN_QUERIES = 10
QUERIES_A_CALL = 50
PENDING = (Action.EMBED, Action.RELABEL, Action.DELETE)


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """One stored chunk as a query: which objects are near it now, and which will be."""

    object_key: str
    text: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(slots=True)
class Verification:
    """What was found. `problems` refuse the candidate; `questions` need a person's word."""

    rows: int = 0
    differences: dict[str, int] = field(default_factory=dict)  # kind -> rows
    off_norm: int = 0
    recall: float = 1.0
    queries: int = 0
    overlap: float | None = None  # share of the same objects among the neighbours; None = nothing to compare with
    dead_letters: int = 0
    samples: list[SampleQuery] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for the ledger."""
        return asdict(self)


def verify(runtime: Runtime, candidate: LaneCollection, live: LaneCollection, request: ReindexRequest) -> Verification:
    """Look at all rows of the candidate once, and ask its index `request.sample` queries. Changes nothing."""
    result = Verification()
    exact = ExactSearch(request.sample)
    compared = compare_rows(runtime, candidate, exact.see_page, ["vector"])
    result.differences = dict(Counter(difference.kind for difference in compared))
    result.rows, result.off_norm, result.queries = exact.rows, exact.off_norm, len(exact.ids)
    _count_changes(runtime, candidate, result)
    index = request.index or candidate.settings.index
    found = _search(runtime, candidate.name, exact.queries, index)
    result.recall = exact.recall(found, candidate.settings.index.metric)
    _compare_neighbours(runtime, live, exact, found, candidate, result)
    _ask_about_losses(runtime, candidate, live, result)
    _judge(request, result)
    return result


def _count_changes(runtime: Runtime, candidate: LaneCollection, result: Verification) -> None:
    actions = Counter(change.action for change in lane_changes(runtime, candidate))
    result.dead_letters = actions[Action.DEAD]
    pending = {action.value: actions[action] for action in PENDING if actions[action]}
    if pending:
        todo = ", ".join(f"{count} to {action}" for action, count in pending.items())
        result.problems.append(f"the candidate is not complete: {todo}")
    routed = actions[Action.DEAD] + actions[Action.KEEP]
    allowed = runtime.pipeline.thresholds.max_failed_fraction
    if routed and actions[Action.DEAD] / routed > allowed:
        result.problems.append(
            f"{actions[Action.DEAD]} of {routed} objects could not be embedded, more than max_failed_fraction "
            f"({allowed:.0%}) allows"
        )


def _judge(request: ReindexRequest, result: Verification) -> None:
    totals = sum(result.differences.values())
    if totals:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(result.differences.items()))
        result.problems.append(f"its rows are not those that are expected: {kinds}")
    if result.off_norm:
        result.problems.append(counted(result.off_norm, "vector is not of unit norm", "vectors are not of unit norm"))
    if result.recall < request.min_recall:
        result.problems.append(
            f"recall@{NEIGHBOURS} of its index is {result.recall:.3f} over {result.queries} queries, below min_recall "
            f"{request.min_recall:g}: choose another index or other parameters"
        )
    if result.questions and not request.approval:
        result.problems += [f"{question}: needs a person's approval" for question in result.questions]


def _ask_about_losses(runtime: Runtime, candidate: LaneCollection, live: LaneCollection, result: Verification) -> None:
    """What readers find now and would not find any more."""
    deletions = count_deletions(runtime, live)
    if deletions.needs_approval:
        result.questions.append(
            f"{deletions.doomed} of {deletions.indexed} objects vanished from storage and will be gone"
        )
    count, first = 0, ""
    gone = (change.key for change in lane_changes(runtime, live) if change.action is Action.DELETE)
    for key, is_gone in merge(_only_in(runtime, live, candidate), gone, str, str):
        if key is not None and is_gone is None:
            count, first = count + 1, first or key
    if count:
        result.questions.append(
            f"{counted(count, 'object')} can be found now, without rows in the candidate (dead letters, or "
            f"not readable now); the first is {first!r}"
        )


def _only_in(runtime: Runtime, live: LaneCollection, candidate: LaneCollection) -> Iterator[str]:
    """Keys with verified rows in the live collection and none in the candidate."""

    def verified(collection: LaneCollection) -> Iterator[Entry]:
        return (entry for entry in runtime.ledger.entries.stream(collection.name) if entry.rows and entry.version)

    for before, after in merge(verified(live), verified(candidate), lambda one: one.key, lambda one: one.key):
        if before is not None and after is None:
            yield before.key


def _search(runtime: Runtime, name: str, queries: Vectors, index: IndexSettings) -> list[list[Hit]]:
    """One more than is compared: a query finds its own row."""
    found: list[list[Hit]] = []
    for first in range(0, len(queries), QUERIES_A_CALL):
        some = queries[first : first + QUERIES_A_CALL]
        found += runtime.store.search(name, some, NEIGHBOURS + 1, fields=["object_key"], params=index.search)
    return found


def _compare_neighbours(
    runtime: Runtime,
    live: LaneCollection,
    exact: ExactSearch,
    after: Sequence[Sequence[Hit]],
    candidate: LaneCollection,
    result: Verification,
) -> None:
    """By object: another chunker gives the same object other rows. A query is a row of the object, on both sides."""
    texts = runtime.store.fetch(candidate.name, exact.ids[:SHOWN_QUERIES], ["text"])
    stored = _live_rows(runtime, live, exact)
    queries = np.asarray([vector for _, vector in stored.values()], np.float32)
    before = dict(zip(stored, _search(runtime, live.name, queries, live.settings.index) if stored else [], strict=True))
    overlaps = []
    for number, (row, key) in enumerate(zip(exact.ids, exact.keys, strict=True)):
        now = _neighbours(before[number], stored[number][0], key) if number in before else ()
        then = _neighbours(after[number], row, key)
        if number in before and (now or then):
            overlaps.append(len(set(now) & set(then)) / max(len(set(now)), len(set(then))))
        if number < SHOWN_QUERIES:
            result.samples.append(SampleQuery(key, str(texts.get(row, {}).get("text", ""))[:200], now, then))
    result.overlap = sum(overlaps) / len(overlaps) if overlaps else None


def _live_rows(runtime: Runtime, live: LaneCollection, exact: ExactSearch) -> dict[int, tuple[str, JsonValue]]:
    """For each query, by its number: id and vector of the same row of the object, or of its first."""
    if not runtime.store.has_collection(live.name):
        return {}
    firsts = [row_id(live.pipeline, live.lane, key, 0) for key in exact.keys]
    stored = runtime.store.fetch(live.name, list(dict.fromkeys([*exact.ids, *firsts])), ["vector"])
    found: dict[int, tuple[str, JsonValue]] = {}
    for number, (same, first) in enumerate(zip(exact.ids, firsts, strict=True)):
        row = stored.get(same) or stored.get(first)
        if row is not None:
            found[number] = (str(row["id"]), row["vector"])
    return found


def _neighbours(hits: Sequence[Hit], row: str, key: str) -> tuple[str, ...]:
    """Objects near a row, nearest first, each once, without the row's own."""
    keys = [str(hit.fields["object_key"]) for hit in hits if hit.id != row][:NEIGHBOURS]
    return tuple(dict.fromkeys(each for each in keys if each != key))
