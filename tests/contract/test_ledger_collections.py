"""What every ledger database must do with collections."""

from dataclasses import replace

import pytest

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger import Ledger
from tests.fixtures_ledger import make_collection


def test_a_recorded_collection_is_read_back_with_its_settings(ledger: Ledger) -> None:
    assert ledger.collections.live("demo", "text") is None
    ledger.collections.add(make_collection())
    assert ledger.collections.live("demo", "text") == make_collection()
    assert ledger.collections.of_pipeline("demo") == [make_collection()]
    assert ledger.collections.live("demo", "image") is None
    assert ledger.collections.of_pipeline("other") == []


def test_recording_the_same_again_is_fine_and_another_under_that_name_is_not(ledger: Ledger) -> None:
    ledger.collections.add(make_collection())
    ledger.collections.add(replace(make_collection(), created_at_ms=99))
    assert ledger.collections.of_pipeline("demo") == [make_collection()]
    with pytest.raises(IntegrityError, match="other settings"):
        ledger.collections.add(replace(make_collection(), settings={}))


def test_the_history_knows_those_that_were_dropped(ledger: Ledger) -> None:
    ledger.collections.add(make_collection("one", state="retired"))
    ledger.collections.add(make_collection("two"))
    ledger.collections.add(make_collection("x", pipeline="other"))
    ledger.collections.mark_dropped("one")
    assert [record.name for record in ledger.collections.history("demo")] == ["one", "two"]
    assert [record.name for record in ledger.collections.of_pipeline("demo")] == ["two"]


def test_a_lane_has_at_most_one_live_collection(ledger: Ledger) -> None:
    ledger.collections.add(make_collection("one"))
    with pytest.raises(IntegrityError):
        ledger.collections.add(make_collection("two"))
    ledger.collections.add(make_collection("two", state="candidate"))
    ledger.collections.add(make_collection("three", lane="image"))
    with pytest.raises(IntegrityError):
        ledger.collections.set_state("two", "live")
    ledger.collections.set_state("one", "retired")
    ledger.collections.set_state("two", "live")
    live = ledger.collections.live("demo", "text")
    assert live is not None
    assert live.name == "two"


def test_the_state_of_an_unknown_collection_cannot_be_set(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError, match="nobody"):
        ledger.collections.set_state("nobody", "retired")


def test_numbers_grow_and_are_not_given_twice(ledger: Ledger) -> None:
    assert ledger.collections.next_number("demo", "text") == 1
    ledger.collections.add(make_collection("demo_text__0123abcd_9"))
    ledger.collections.add(make_collection("demo_text__0123abcd_10", state="retired"))
    ledger.collections.add(make_collection("demo_image__0123abcd_30", lane="image"))
    assert ledger.collections.next_number("demo", "text") == 11


def test_a_cutover_switches_both_states_at_once_and_is_remembered(ledger: Ledger) -> None:
    ledger.collections.add(make_collection("one", state="candidate"))
    ledger.collections.add(make_collection("two", state="candidate"))
    ledger.collections.cut_over("demo_text", None, "one", "run-1")
    ledger.collections.cut_over("demo_text", "one", "two", "run-2")
    assert [(record.name, record.state) for record in ledger.collections.of_pipeline("demo")] == [
        ("one", "retired"),
        ("two", "live"),
    ]
    assert [
        (cutover.from_name, cutover.to_name, cutover.run_id) for cutover in ledger.collections.cutovers("demo_text")
    ] == [
        ("one", "two", "run-2"),
        (None, "one", "run-1"),
    ]
    assert ledger.collections.cutovers("other") == []


def test_a_refused_cutover_changes_nothing(ledger: Ledger) -> None:
    ledger.collections.add(make_collection("one"))
    with pytest.raises(IntegrityError):
        ledger.collections.cut_over("demo_text", "one", "nobody", "run-1")
    assert ledger.collections.live("demo", "text") == make_collection("one")
    assert ledger.collections.cutovers("demo_text") == []
