"""What the Failures page shows: letters by class, and one page of them."""

import time
from dataclasses import dataclass

from include.embedding_etl.dead_letters import LetterChoice, ledger_filter
from include.embedding_etl.ledger.dead_letters import DAY_MS
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.advice import Advice, advice_for

PAGE = 50
DAYS = 14
_LOOKED_AT = 5_000  # a glob is compared here, not in the database: a page must not take for ever


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One error class."""

    name: str
    letters: int
    last_at_ms: int
    new_per_day: tuple[int, ...]  # of the last DAYS days, today last
    advice: Advice


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Some letters, the newest first."""

    letters: tuple[DeadLetter, ...]
    before: int | None  # where the next page begins; None = there is none


def read_classes(runtime: Runtime, choice: LetterChoice) -> list[ClassRow]:
    """The letters of a choice by class; of its glob only how it begins."""
    today = int(time.time() * 1000) // DAY_MS
    first = today - DAYS + 1
    figures = runtime.ledger.dead_letters.figures(ledger_filter(runtime, choice), first * DAY_MS)
    return [
        ClassRow(
            one.error_class,
            one.letters,
            one.last_at_ms,
            tuple(one.new_by_day.get(day, 0) for day in range(first, today + 1)),
            advice_for(one.error_class),
        )
        for one in figures
    ]


def read_page(runtime: Runtime, choice: LetterChoice, before: int | None) -> LetterPage:
    """The next letters of a choice."""
    wanted, keys = ledger_filter(runtime, choice), KeyFilter([choice.key_glob or "**"])
    step = _LOOKED_AT if choice.key_glob else PAGE + 1
    looked_at = runtime.ledger.dead_letters.list(wanted, before, step)
    found = [letter for letter in looked_at if keys.accepts(letter.key)]
    if len(found) > PAGE:
        return LetterPage(tuple(found[:PAGE]), found[PAGE - 1].id)
    return LetterPage(tuple(found), looked_at[-1].id if len(looked_at) == step else None)
