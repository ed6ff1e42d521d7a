"""The decisions, on plain values. Every pair of states that a run can meet has its line here."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl.diff import (
    CHANGED_MEANWHILE,
    UNREADABLE,
    Action,
    compare_listing,
    decide_changes,
    merge,
)
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.types import Entry, ListedObject, ObjectRecord

RECORD = ObjectRecord("a.txt", "v1", 10, 1_000, "text/plain", "h1")
ENTRY = Entry("a.txt", "v1", 1_000, "h1", rows=3, intended_rows=3)
KEYS = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=12).map(sorted)


def decide(record: ObjectRecord | None, entry: Entry | None, routed: bool = True, dead: bool = False) -> Action | None:
    changes = list(
        decide_changes([record] if record else [], [entry] if entry else [], lambda _: routed, lambda _: dead)
    )
    assert len(changes) <= 1
    return changes[0].action if changes else None


def test_a_new_object_is_embedded() -> None:
    assert decide(RECORD, None) is Action.EMBED


def test_an_indexed_object_of_the_same_version_is_kept() -> None:
    assert decide(RECORD, ENTRY) is Action.KEEP


def test_a_changed_object_is_embedded() -> None:
    assert decide(replace(RECORD, etag="v2", content_hash=""), ENTRY) is Action.EMBED
    assert decide(replace(RECORD, etag="v2", content_hash="h2"), ENTRY) is Action.EMBED


def test_pain_03_a_metadata_only_edit_is_relabelled_not_embedded() -> None:
    assert decide(replace(RECORD, last_modified_ms=2_000), ENTRY) is Action.RELABEL


def test_pain_30_the_same_bytes_under_another_etag_are_relabelled() -> None:
    assert decide(replace(RECORD, etag="multipart-2"), ENTRY) is Action.RELABEL


def test_pain_05_a_write_that_was_begun_and_not_committed_is_work_to_do() -> None:
    begun = Entry("a.txt", "", 0, "", rows=0, intended_rows=3)
    assert decide(RECORD, begun) is Action.EMBED
    grown = replace(ENTRY, intended_rows=5)
    assert decide(RECORD, grown) is Action.RELABEL


def test_a_vanished_object_is_deleted_with_whatever_was_begun() -> None:
    assert decide(replace(RECORD, vanished=True), ENTRY) is Action.DELETE
    assert decide(None, ENTRY) is Action.DELETE
    assert decide(replace(RECORD, vanished=True), None) is None


def test_an_object_that_the_lane_no_longer_takes_is_deleted() -> None:
    assert decide(RECORD, ENTRY, routed=False) is Action.DELETE
    assert decide(RECORD, None, routed=False) is None
    assert decide(replace(RECORD, skip_reason="empty"), ENTRY) is Action.DELETE


@pytest.mark.parametrize("reason", [CHANGED_MEANWHILE, UNREADABLE])
def test_an_object_that_could_not_be_looked_at_keeps_its_rows(reason: str) -> None:
    assert decide(replace(RECORD, etag="", skip_reason=reason), ENTRY) is Action.DEFER
    assert decide(replace(RECORD, etag="", skip_reason=reason), None) is Action.DEFER


def test_a_dead_letter_holds_back_its_own_version_only() -> None:
    assert decide(replace(RECORD, etag="v2", content_hash=""), ENTRY, dead=True) is Action.DEAD
    assert decide(RECORD, ENTRY, dead=True) is Action.KEEP  # indexed all the same: the letter is out of date


@given(KEYS, KEYS)
def test_merge_pairs_every_key_exactly_once(left: list[str], right: list[str]) -> None:
    pairs = list(merge(left, right, str, str))
    assert [a for a, _ in pairs if a is not None] == left
    assert [b for _, b in pairs if b is not None] == right
    assert all(a == b for a, b in pairs if a is not None and b is not None)
    assert len(pairs) == len(set(left) | set(right))


@given(st.lists(st.text(max_size=6), unique=True))
def test_python_orders_keys_as_utf8_bytes_do(keys: list[str]) -> None:
    assert sorted(keys) == sorted(keys, key=lambda key: key.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"]])
def test_merge_refuses_a_stream_out_of_order(keys: list[str]) -> None:
    with pytest.raises(IntegrityError, match="not in order"):
        list(merge(keys, [], str, str))


def test_compare_listing_leaves_out_what_agrees() -> None:
    listed = [ListedObject(key, "v1", 10, 1_000) for key in "abd"]
    records = [replace(RECORD, key=key) for key in "abc"]
    records[1] = replace(records[1], etag="old")
    found = [(a.key if a else None, b.key if b else None) for a, b in compare_listing(listed, records)]
    assert found == [("b", "b"), (None, "c"), ("d", None)]


def test_compare_listing_sees_an_object_that_came_back() -> None:
    record = replace(RECORD, vanished=True)
    assert list(compare_listing([], [record])) == []
    assert list(compare_listing([record.listed()], [record])) == [(record.listed(), record)]


def test_merge_of_random_streams_equals_a_dictionary() -> None:
    rng = random.Random(1)
    believed = {f"{rng.random():.9f}": rng.randrange(3) for _ in range(2_000)}
    desired = {key: rng.randrange(3) for key in believed if rng.random() < 0.7} | {str(n): 1 for n in range(100)}
    pairs = merge(sorted(desired.items()), sorted(believed.items()), lambda a: a[0], lambda b: b[0])
    assert {(a or b)[0]: (a and a[1], b and b[1]) for a, b in pairs} == {  # type: ignore[index]
        key: (desired.get(key), believed.get(key)) for key in desired | believed
    }
