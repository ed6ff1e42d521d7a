"""What every ledger database must do with dead letters."""

import time
from dataclasses import replace
from typing import Any

import pytest

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.dead_letters import DAY_MS, MESSAGE_CHARACTERS
from include.embedding_etl.ledger.records import DeadLetter, LetterFilter
from tests.fixtures_ledger import HOSTILE_KEYS, make_letter


def open_letters(ledger: Ledger, lane: str = "text", fingerprint: str = "f1") -> list[DeadLetter]:
    return list(ledger.dead_letters.open_for("demo", lane, fingerprint))


def listed(ledger: Ledger, **wanted: Any) -> list[DeadLetter]:
    return list(ledger.dead_letters.list(LetterFilter(**wanted)))


def ids_of(ledger: Ledger, *keys: str, **wanted: Any) -> list[int]:
    return [letter.id for letter in listed(ledger, **wanted) if not keys or letter.key in keys]


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


def test_a_new_version_opens_a_new_letter_and_resolves_the_old_one(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k"), make_letter("other")])
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k", version="e2")])
    newest, other = open_letters(ledger)
    assert (newest.version, newest.attempts) == ("e2", 1)
    assert (other.key, other.attempts) == ("other", 1)
    (old,) = listed(ledger, state="resolved")
    assert (old.key, old.version, old.fingerprint) == ("k", "e1", "f1")


@pytest.mark.parametrize("version", ["e1", "e2"])
def test_a_candidates_letters_neither_replace_nor_resolve_those_of_the_live_collection(
    ledger: Ledger, version: str
) -> None:
    ledger.dead_letters.record("demo", "text", "live", [make_letter("k"), make_letter("other")])
    ledger.dead_letters.record("demo", "text", "candidate", [make_letter("k", version=version, error_class="Bomb")])
    assert [(one.key, one.version, one.attempts) for one in open_letters(ledger, fingerprint="live")] == [
        ("k", "e1", 1),
        ("other", "e1", 1),
    ]
    ledger.dead_letters.resolve("demo", "text", ["k", "other"], "candidate")
    assert [one.key for one in open_letters(ledger, fingerprint="live")] == ["k", "other"]
    assert open_letters(ledger, fingerprint="candidate") == []
    assert ledger.dead_letters.resolve_fingerprint("demo", "text", "live") == 2
    assert listed(ledger) == []


def test_without_a_fingerprint_the_letters_of_all_are_resolved(ledger: Ledger) -> None:
    for fingerprint in ("live", "candidate"):
        ledger.dead_letters.record("demo", "text", fingerprint, [make_letter("k")])
    ledger.dead_letters.resolve("demo", "text", ["k"])
    assert listed(ledger) == []


def test_a_resolved_letter_is_history_and_a_later_failure_starts_anew(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k"), make_letter("other")])
    ledger.dead_letters.resolve("demo", "text", ["k", "unknown"])
    assert [letter.key for letter in open_letters(ledger)] == ["other"]
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k")])
    assert [(letter.key, letter.attempts) for letter in open_letters(ledger)] == [("k", 1), ("other", 1)]
    (old,) = listed(ledger, state="resolved")
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


def test_counts_can_be_of_the_live_collections_only(ledger: Ledger) -> None:
    for lane, fingerprint in (("text", "live"), ("text", "candidate"), ("image", "candidate")):
        ledger.dead_letters.record("demo", lane, fingerprint, [make_letter("k")])
    assert ledger.dead_letters.counts("demo", {"text": "live", "image": "live"}) == {"text": {"EncryptedPdf": 1}}
    assert ledger.dead_letters.counts("demo", {}) == {}
    assert [one.fingerprint for one in listed(ledger, fingerprints={"text": "live"})] == ["live"]


def test_reset_makes_the_chosen_open_letters_due(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abc"])
    chosen = ids_of(ledger, "a", "c")
    ledger.dead_letters.resolve("demo", "text", ["c"])
    assert ledger.dead_letters.reset(chosen) == 1  # c needs nothing any more
    assert {letter.key: letter.attempts for letter in open_letters(ledger)} == {"a": 0, "b": 1}
    assert ledger.dead_letters.reset([]) == 0


def test_more_letters_than_one_statement_takes_can_be_chosen(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(f"{number:04d}") for number in range(2_000)])
    ids = [letter.id for letter in open_letters(ledger)]
    assert ledger.dead_letters.reset(ids) == 2_000
    assert len(list(ledger.dead_letters.still_open(ids))) == 2_000
    assert {letter.attempts for letter in open_letters(ledger)} == {0}


def test_a_dismissed_letter_is_open_but_asks_nothing_of_anybody(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "ab"])
    assert ledger.dead_letters.dismiss(ids_of(ledger, "a")) == 1
    assert [letter.key for letter in listed(ledger)] == ["b"]
    assert [letter.key for letter in listed(ledger, state="dismissed")] == ["a"]
    assert [letter.key for letter in open_letters(ledger)] == ["a", "b"]  # it still holds its object back
    assert [one.key for one in ledger.dead_letters.dismissed_for("demo", "text", "f1")] == ["a"]
    assert list(ledger.dead_letters.dismissed_for("demo", "text", "f2")) == []
    assert ledger.dead_letters.counts("demo") == {"text": {"EncryptedPdf": 1}}
    assert [letter.state for letter in listed(ledger, state="all")] == ["open", "dismissed"]


def test_a_dismissal_ends_with_a_reset_or_with_the_version(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "ab"])
    dismissed = ids_of(ledger)
    ledger.dead_letters.dismiss(dismissed)
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("a")])  # the same version again: still dismissed
    assert listed(ledger) == []
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("a", version="e2")])
    assert [(letter.key, letter.version) for letter in listed(ledger)] == [("a", "e2")]
    assert ledger.dead_letters.reset(dismissed) == 1
    assert [(letter.key, letter.attempts) for letter in listed(ledger)] == [("a", 1), ("b", 0)]
    assert listed(ledger, state="dismissed") == []


def test_a_resolved_letter_cannot_be_dismissed(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("k")])
    chosen = ids_of(ledger)
    ledger.dead_letters.resolve("demo", "text", ["k"])
    assert ledger.dead_letters.dismiss(chosen) == 0
    assert listed(ledger, state="all")[0].dismissed_at_ms is None


def test_what_is_still_open_about_the_objects_of_some_letters(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abcd"])
    ledger.dead_letters.record("demo", "text", "f2", [make_letter("b")])  # of a candidate: another matter
    chosen = ids_of(ledger, "a", "b", "c", fingerprints={"text": "f1"})
    ledger.dead_letters.resolve("demo", "text", ["b"], "f1")
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("c", version="e2")])
    assert sorted((one.key, one.version) for one in ledger.dead_letters.still_open(chosen)) == [
        ("a", "e1"),
        ("c", "e2"),
    ]


def test_one_letter_by_its_id_in_whatever_state(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [replace(make_letter("k"), task="embed text/0", limits_hash="l1")])
    (letter_id,) = ids_of(ledger)
    ledger.dead_letters.resolve("demo", "text", ["k"])
    letter = ledger.dead_letters.get(letter_id)
    assert letter is not None
    assert (letter.key, letter.state, letter.task, letter.limits_hash) == ("k", "resolved", "embed text/0", "l1")
    assert ledger.dead_letters.get(letter_id + 1) is None


def test_another_failure_remembers_the_newest_limits(ledger: Ledger) -> None:
    for limits_hash in ("l1", "l2"):
        ledger.dead_letters.record("demo", "text", "f1", [replace(make_letter("k"), limits_hash=limits_hash)])
    assert [letter.limits_hash for letter in open_letters(ledger)] == ["l2"]


def test_letters_since_a_time_are_those_that_failed_then_or_later(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "ab"])
    time.sleep(0.005)
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("a")])
    again = open_letters(ledger)[0]
    assert again.last_at_ms > again.first_at_ms
    assert [letter.key for letter in listed(ledger, since_ms=again.last_at_ms)] == ["a"]
    assert [letter.key for letter in listed(ledger, since_ms=again.first_at_ms)] == ["b", "a"]
    assert listed(ledger, since_ms=again.last_at_ms + 1) == []


def test_a_secret_in_a_message_never_reaches_the_table(ledger: Ledger) -> None:
    message = "POST https://bob:hunter2@embed.example/v1?api_key=hunter2 failed"
    ledger.dead_letters.record("demo", "text", "f1", [replace(make_letter("k"), message=message)])
    assert open_letters(ledger)[0].message == "POST https://***@embed.example/v1?api_key=*** failed"


def test_the_list_is_newest_first_in_pages_and_filtered(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in "abcde"])
    ledger.dead_letters.record("demo", "image", "f1", [make_letter("x", error_class="Bomb")])
    texts = LetterFilter("demo", "text")
    first = ledger.dead_letters.list(texts, limit=3)
    rest = ledger.dead_letters.list(texts, limit=3, before_id=first[-1].id)
    assert [letter.key for letter in first + rest] == ["e", "d", "c", "b", "a"]
    assert [letter.key for letter in listed(ledger, error_class="Bomb")] == ["x"]
    assert [letter.key for letter in listed(ledger, key="b", stage="extract")] == ["b"]
    assert listed(ledger, stage="embed") == []
    ledger.dead_letters.resolve("demo", "text", ["b"])
    assert listed(ledger, key="b") == []
    assert [letter.key for letter in listed(ledger, key="b", state="all")] == ["b"]


def test_a_dismissal_keeps_its_reason_and_who_said_so(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("a")])
    ledger.dead_letters.dismiss(ids_of(ledger, "a"), "not needed, api_key=hunter2", "ann")
    (letter,) = listed(ledger, state="dismissed")
    assert (letter.dismissed_by, letter.dismiss_reason) == ("ann", "not needed, api_key=***")
    ledger.dead_letters.reset([letter.id])
    (letter,) = listed(ledger)
    assert (letter.dismissed_by, letter.dismiss_reason) == (None, None)


def test_figures_say_how_many_letters_a_class_has_and_when_they_were_new(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("a"), make_letter("b", error_class="NoText")])
    ledger.dead_letters.record("demo", "text", "f1", [make_letter("c")])
    ledger.dead_letters.record("other", "text", "f1", [make_letter("a")])
    today = listed(ledger)[0].first_at_ms // DAY_MS
    first, second = ledger.dead_letters.figures(LetterFilter("demo"), (today - 13) * DAY_MS)
    assert (first.error_class, first.letters, sum(first.new_by_day.values())) == ("EncryptedPdf", 2, 2)
    assert (second.error_class, second.letters) == ("NoText", 1)
    later = ledger.dead_letters.figures(LetterFilter("demo"), (today + 2) * DAY_MS)
    assert [(one.letters, one.new_by_day) for one in later] == [(2, {}), (1, {})]


def test_the_open_letters_of_some_objects(ledger: Ledger) -> None:
    ledger.dead_letters.record("demo", "text", "f1", [make_letter(key) for key in HOSTILE_KEYS])
    ledger.dead_letters.record("demo", "text", "f2", [make_letter("a")])
    found = ledger.dead_letters.open_of_keys("demo", "text", "f1", [*HOSTILE_KEYS, "unknown"])
    assert {key: letter.key for key, letter in found.items()} == {key: key for key in HOSTILE_KEYS}
    assert list(ledger.dead_letters.open_of_keys("demo", "text", "f2", HOSTILE_KEYS)) == ["a"]
