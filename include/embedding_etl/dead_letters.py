"""Dead letters for people: find them, have them tried again, or decide to do without.

All of it is about the letters of the live collections, which `etl status` counts. A candidate fails on its own account:
what its reindex could not process is in that reindex's verification, and the next reindex tries it again.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa

from include.embedding_etl.batching import batched
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_collection import live_fingerprints
from include.embedding_etl.ledger.records import DeadLetter, LetterFilter, LetterState
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime

BATCH = 1_000
EXAMPLES = 20
_IDS = pa.schema([("id", pa.int64())])
_HISTORY: tuple[LetterState, ...] = ("resolved", "all")  # they outlive the fingerprint they were written for
_FIRST_MS = 100_000_000_000  # as seconds it would be the year 5138: epochs from here on are milliseconds


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """Which letters are meant. What is empty narrows nothing down."""

    lane: str = ""
    error_class: str = ""
    key_glob: str = ""  # with the rules of `source.include` in a pipeline file
    since_ms: int | None = None  # failed at this time or later
    ids: tuple[int, ...] = ()  # open ones; a letter that is named may be dismissed, too
    state: LetterState = "open"


@dataclass(frozen=True, slots=True)
class Replay:
    """Letters that are to be tried again. Their ids are in a file, because they may be many."""

    path: str  # below the state URI
    due: int


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What became of replayed letters."""

    healed: int  # the object is indexed now, or gone
    failed_again: int
    waiting: int  # not tried: the ingestion did not get that far
    examples: tuple[DeadLetter, ...]  # the first of those that failed again


def parse_since(text: str) -> int | None:
    """A point in time as epoch milliseconds; "" is None.

    Args:
        text: An ISO date or time (without a zone it is UTC), or an epoch in seconds or milliseconds.
    Raises:
        ConfigError: it is neither.
    """
    if not text:
        return None
    if re.fullmatch(r"\d{9,15}", text):
        epoch = int(text)
        return epoch if epoch >= _FIRST_MS else epoch * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"since: {text!r} is no time; allowed are 2026-11-22, 2026-11-22T08:30, the same with a zone (+01:00), "
            f"or seconds since 1970"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def list_letters(runtime: Runtime, choice: LetterChoice, limit: int) -> list[DeadLetter]:
    """The newest letters of a choice.

    Raises:
        ConfigError: the pipeline has no such lane.
    """
    return list(islice(find_letters(runtime, choice), limit))


def find_letters(runtime: Runtime, choice: LetterChoice) -> Iterator[DeadLetter]:
    """All letters of a choice, the newest first, with flat memory.

    Raises:
        ConfigError: the pipeline has no such lane.
    """
    if choice.lane and choice.lane not in runtime.pipeline.lanes:
        lanes = ", ".join(runtime.pipeline.lanes)
        raise ConfigError(f"lane: {runtime.pipeline.name} has no lane {choice.lane!r}; it has: {lanes}")
    keys = KeyFilter([choice.key_glob or "**"])
    return (letter for letter in _pages(runtime, ledger_filter(runtime, choice)) if keys.accepts(letter.key))


def ledger_filter(runtime: Runtime, choice: LetterChoice) -> LetterFilter:
    """The choice as the ledger understands it: of the glob only how it begins."""
    return LetterFilter(
        pipeline=runtime.pipeline.name,
        lane=choice.lane or None,
        error_class=choice.error_class or None,
        state="unresolved" if choice.ids and choice.state == "open" else choice.state,
        since_ms=choice.since_ms,
        fingerprints=None if choice.state in _HISTORY else live_fingerprints(runtime),
        ids=choice.ids or None,
        key_prefix=_literal_start(choice.key_glob),
    )


def get_letter(runtime: Runtime, letter_id: int) -> DeadLetter:
    """One letter of the pipeline, in whatever state.

    Raises:
        ConfigError: there is none of that id.
    """
    letter = runtime.ledger.dead_letters.get(letter_id)
    if letter is None or letter.pipeline != runtime.pipeline.name:
        raise ConfigError(f"{runtime.pipeline.name} has no dead letter {letter_id}; see `etl dead-letters list`")
    return letter


def replay(runtime: Runtime, run_id: str, choice: LetterChoice) -> Replay:
    """Make letters due: the next ingestion tries their objects again. May be repeated.

    Args:
        runtime: Of the pipeline.
        run_id: Whose file remembers which letters they were.
        choice: Which letters.
    Raises:
        ConfigError: as `find_letters`.
    """
    path, due = RunFiles(runtime.pipeline.name, run_id).replay, 0
    with runtime.state.writer(path, _IDS) as writer:
        for batch in batched(find_letters(runtime, choice), BATCH):
            ids = [letter.id for letter in batch]
            writer.write(pa.RecordBatch.from_pydict({"id": ids}, _IDS))
            due += runtime.ledger.dead_letters.reset(ids)
    return Replay(path, due)


def replay_outcome(runtime: Runtime, path: str) -> ReplayOutcome:
    """What became of the letters of a replay."""
    chosen = failed_again = waiting = 0
    examples: list[DeadLetter] = []
    for batch in runtime.state.iter_batches(path):
        ids: Sequence[int] = batch.column("id").to_pylist()
        chosen += len(ids)
        for letter in runtime.ledger.dead_letters.still_open(ids):
            failed_again += letter.attempts > 0
            waiting += letter.attempts == 0
            if letter.attempts and len(examples) < EXAMPLES:
                examples.append(letter)
    return ReplayOutcome(chosen - failed_again - waiting, failed_again, waiting, tuple(examples))


def dismiss(runtime: Runtime, choice: LetterChoice, reason: str = "", by: str = "") -> int:
    """Decide to do without these versions of their objects. They count as failures no more.

    Args:
        runtime: Of the pipeline.
        choice: Which letters.
        reason: Why, for those who look at them later.
        by: Who decided it.
    Returns:
        How many letters were dismissed.
    Raises:
        ConfigError: the choice is empty, or as `find_letters`.
    """
    if choice == LetterChoice():
        raise ConfigError("say which letters to dismiss: by id, lane, error class, key or time; --key '**' means all")
    ledger = runtime.ledger.dead_letters
    return sum(
        ledger.dismiss([letter.id for letter in batch], reason, by)
        for batch in batched(find_letters(runtime, choice), BATCH)
    )


def _literal_start(glob: str) -> str:
    """How every key begins that the glob accepts: a glob without a slash is about the last part of a key."""
    return re.split(r"[*?\[]", glob, maxsplit=1)[0] if "/" in glob else ""


def _pages(runtime: Runtime, wanted: LetterFilter) -> Iterator[DeadLetter]:
    before_id: int | None = None
    while page := runtime.ledger.dead_letters.list(wanted, before_id, BATCH):
        yield from page
        before_id = page[-1].id
