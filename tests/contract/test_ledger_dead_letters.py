"""What every ledger database must do with dead letters."""

from dataclasses import replace

import pytest

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.dead_letters import MESSAGE_CHARACTERS
from include.embedding_etl.ledger.records import DeadLetter
from tests.fixtures_ledger import HOSTILE_KEYS, make_letter


def open_letters(ledger: Ledger, lane: str = "text") -> list[DeadLetter]:
    return list(ledger.dead_letters.open_for("demo", lane))


def test_pain_20_a_bad_object_is_recorded_with_its_reason(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k")])
    (letter,) = open_letters(ledger)
    assert (letter.pipeline, letter.lane, letter.key, letter.version, letter.fingerprint, letter.run_id) == (
        "demo", "text", "k", "e1", "f1", "run-1",
    )  # fmt: skip
    assert (letter.stage, letter.error_class, letter.message) == ("extract", "EncryptedPdf", "the file is encrypted")
    assert (letter.attempts, letter.resolved_at_ms) == (1, None)
    assert letter.first_at_ms == letter.last_at_ms > 1_700_000_000_000


def test_another_failure_of_the_same_version_counts_and_tells_the_newest_reason(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k")])
    (first,) = open_letters(ledger)
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k", error_class="Timeout", run_id="run-2")])
    (again,) = open_letters(ledger)
    assert (again.id, again.attempts, again.error_class, again.run_id) == (first.id, 2, "Timeout", "run-2")
    assert again.first_at_ms == first.first_at_ms
    assert again.last_at_ms >= first.last_at_ms


@pytest.mark.parametrize(("version", "fingerprint"), [("e2", "f1"), ("e1", "f2")])
def test_a_new_version_or_fingerprint_opens_a_new_letter_and_resolves_the_old_one(
    ledger: Ledger, version: str, fingerprint: str
) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k"), make_letter("other")])
    ledger.dead_letters.record("demo", "text", fingerprint, [make_letter("k", version=version)])
    newest, other = open_letters(ledger)
    assert (newest.version, newest.fingerprint, newest.attempts) == (version, fingerprint, 1)
    assert (other.key, other.attempts) == ("other", 1)
    (old,) = ledger.dead_letters.list(state="resolved")
    assert (old.key, old.version, old.fingerprint) == ("k", "e1", "f1")


def test_a_resolved_letter_is_history_and_a_later_failure_starts_anew(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k"), make_letter("other")])
    ledger.dead_letters.resolve("demo", "text", ["k", "unknown"])
    assert [letter.key for letter in open_letters(ledger)] == ["other"]
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k")])
    assert [(letter.key, letter.attempts) for letter in open_letters(ledger)] == [("k", 1), ("other", 1)]
    (old,) = ledger.dead_letters.list(state="resolved")
    assert old.resolved_at_ms is not None


def test_lanes_and_pipelines_do_not_see_each_other(ledger: Ledger) -> None:
    for pipeline, lane in (("demo", "text"), ("demo", "image"), ("other", "text")):
        ledger.dead_letters.record(pipeline, lane, "f1", [make_letter("k")])
    ledger.dead_letters.resolve("demo", "image", ["k"])
    assert len(open_letters(ledger, "text")) == 1
    assert open_letters(ledger, "image") == []
    assert ledger.dead_letters.counts("other") == {"text": {"EncryptedPdf": 1}}


def test_hostile_keys_survive_and_stream_in_byte_order(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in HOSTILE_KEYS])
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in HOSTILE_KEYS])
    assert [letter.key for letter in open_letters(ledger)] == sorted(HOSTILE_KEYS, key=str.encode)
    assert {letter.attempts for letter in open_letters(ledger)} == {2}
    ledger.dead_letters.resolve("demo", "text", HOSTILE_KEYS)
    assert open_letters(ledger) == []


def test_a_long_message_is_cut(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [replace(make_letter("k"), message="ü" * 5_000)])
    assert open_letters(ledger)[0].message == "ü" * MESSAGE_CHARACTERS


def test_counts_are_of_open_letters_by_lane_and_class(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abc"])
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("d", error_class="Timeout")])
    ledger.dead_letters.record("demo", "image", "f1", [make_letter("a", error_class="Bomb")])
    ledger.dead_letters.resolve("demo", "text", ["c"])
    assert ledger.dead_letters.counts("demo") == {"image": {"Bomb": 1}, "text": {"EncryptedPdf": 2, "Timeout": 1}}


def test_reset_makes_the_chosen_open_letters_due(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abc"])
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("d", error_class="Timeout")])
    ledger.dead_letters.record("demo", "image", "f1", [make_letter("a")])
    ledger.dead_letters.record("other", "text", "f1", [make_letter("a")])
    ledger.dead_letters.resolve("demo", "text", ["c"])

    assert ledger.dead_letters.reset("demo", lane="text", error_class="EncryptedPdf", keys=["b", "c", "d"]) == 1
    assert {letter.key: letter.attempts for letter in open_letters(ledger)} == {"a": 1, "b": 0, "d": 1}
    assert ledger.dead_letters.reset("demo", stage="embed") == 0
    assert ledger.dead_letters.reset("demo") == 3
    assert [letter.attempts for letter in ledger.dead_letters.list("other")] == [1]


def test_the_list_is_newest_first_in_pages_and_filtered(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abcde"])
    ledger.dead_letters.record("demo", "image", "f1", [make_letter("x", error_class="Bomb")])
    first = ledger.dead_letters.list("demo", lane="text", limit=3)
    rest = ledger.dead_letters.list("demo", lane="text", limit=3, before_id=first[-1].id)
    assert [letter.key for letter in first + rest] == ["e", "d", "c", "b", "a"]
    assert [letter.key for letter in ledger.dead_letters.list(error_class="Bomb")] == ["x"]
    assert [letter.key for letter in ledger.dead_letters.list(key="b", stage="extract")] == ["b"]
    ledger.dead_letters.resolve("demo", "text", ["b"])
    assert ledger.dead_letters.list(key="b") == ()
    assert [letter.key for letter in ledger.dead_letters.list(key="b", state="all")] == ["b"]
