"""Which open dead letters hold their objects back."""

from dataclasses import replace

import pytest

from include.embedding_etl.lane_changes import LetterCursor, hash_limits
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.types import Limits
from tests.fixtures_ledger import make_object

LETTER = DeadLetter(
    1,
    "demo",
    "text",
    "k",
    "e1",
    "f1",
    "extract",
    "NoText",
    "no text",
    1,
    1,
    1,
    None,
    "run-1",
    "embed text/0",
    None,
    "l1",
)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"version": "e0"}, False),  # the object has changed
        ({"key": "j"}, False),
        ({"key": "l"}, False),
        ({"attempts": 0}, False),  # a person asked for another try
        ({"limits_hash": "l0"}, False),  # a limit has changed
        ({"limits_hash": None}, True),  # older than that rule
        ({"dismissed_at_ms": 5}, True),
        ({"dismissed_at_ms": 5, "attempts": 0}, True),  # asked for, then decided otherwise
        ({"dismissed_at_ms": 5, "version": "e0"}, False),
        ({"dismissed_at_ms": 5, "limits_hash": "l0"}, False),
    ],
)
def test_a_letter_holds_back_what_it_was_written_for(changes: dict[str, object], held: bool) -> None:
    letters = LetterCursor(iter([replace(LETTER, **changes)]), "l1")  # type: ignore[arg-type]
    assert letters.holds(make_object("k")) is held


def test_the_cursor_keeps_in_step_with_the_objects() -> None:
    letters = LetterCursor(iter(replace(LETTER, key=key) for key in ("b", "d", "e")), "l1")
    assert [key for key in "abcdef" if letters.holds(make_object(key))] == ["b", "d", "e"]


def test_every_limit_counts() -> None:
    limits = Limits()
    assert hash_limits(limits) == hash_limits(Limits())
    changed = {hash_limits(replace(limits, **{name: getattr(limits, name) + 1})) for name in Limits.__slots__}
    assert len(changed - {hash_limits(limits)}) == len(Limits.__slots__)
