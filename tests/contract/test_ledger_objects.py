"""What every ledger database must do with objects."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.types import ObjectRecord
from tests.fixtures_ledger import COLLECTION, HOSTILE_KEYS, make_collection, make_entry, make_object


def keys(records: Iterator[ObjectRecord]) -> list[str]:
    return [record.key for record in records]


def test_what_was_put_is_what_is_read(ledger: Ledger) -> None:
    record = ObjectRecord("k", "etag", 1 << 40, 1_763_000_000_123, "image/png", "ab" * 32, "", False, {"ü": "'x'"})
    ledger.objects.put("demo", [record])
    assert ledger.objects.get("demo", "k") == record
    assert list(ledger.objects.stream("demo")) == [record]


def test_put_replaces_all_that_was_known(ledger: Ledger) -> None:
    ledger.objects.put("demo", [replace(make_object("k"), content_hash="old", vanished=True, meta={"a": "1"})])
    newer = ObjectRecord("k", "e2", 20, 2, "text/html", "", "oversize")
    ledger.objects.put("demo", [newer])
    assert list(ledger.objects.stream("demo")) == [newer]


def test_many_objects_at_once(ledger: Ledger) -> None:
    records = {key: make_object(key) for key in HOSTILE_KEYS}
    ledger.objects.put("demo", records.values())
    assert ledger.objects.get_many("demo", [*HOSTILE_KEYS, "none"]) == records
    assert ledger.objects.get_many("other", HOSTILE_KEYS) == {}
    assert ledger.objects.get_many("demo", []) == {}


def test_unknown_objects_are_none_and_nothing_to_put_is_fine(ledger: Ledger) -> None:
    ledger.objects.put("demo", [])
    ledger.objects.mark_vanished("demo", [])
    ledger.objects.set_content("demo", [])
    assert ledger.objects.get("demo", "k") is None
    assert list(ledger.objects.stream("demo")) == []


def test_pipelines_do_not_see_each_other(ledger: Ledger) -> None:
    ledger.objects.put("one", [make_object("k")])
    ledger.objects.put("two", [make_object("k", etag="other")])
    ledger.objects.mark_vanished("two", ["k"])
    assert list(ledger.objects.stream("one")) == [make_object("k")]


def test_hostile_keys_survive_and_stream_in_byte_order(ledger: Ledger) -> None:
    ledger.objects.put("demo", [make_object(key) for key in HOSTILE_KEYS])
    assert keys(ledger.objects.stream("demo")) == sorted(HOSTILE_KEYS, key=str.encode)
    for key in HOSTILE_KEYS:
        assert ledger.objects.get("demo", key) == make_object(key)
    ledger.objects.mark_vanished("demo", HOSTILE_KEYS)
    assert ledger.objects.delete_vanished("demo") == len(HOSTILE_KEYS)


def test_a_stream_crosses_pages_and_may_be_written_behind(ledger: Ledger) -> None:
    expected = [f"{number:05d}" for number in range(10_001)]
    ledger.objects.put("demo", [make_object(key) for key in reversed(expected)])
    seen = []
    for record in ledger.objects.stream("demo"):
        if int(record.key) % 2_500 == 0:
            ledger.objects.put("demo", [replace(record, etag="rewritten")])
        seen.append(record.key)
    assert seen == expected
    assert [r.key for r in ledger.objects.stream("demo") if r.etag == "rewritten"] == expected[::2_500]


def test_vanished_objects_stay_as_tombstones_and_come_back_by_put(ledger: Ledger) -> None:
    ledger.objects.put("demo", [make_object("gone"), make_object("here")])
    ledger.objects.mark_vanished("demo", ["gone", "never seen"])
    assert [(record.key, record.vanished) for record in ledger.objects.stream("demo")] == [
        ("gone", True),
        ("here", False),
    ]
    ledger.objects.put("demo", [make_object("gone")])
    assert ledger.objects.get("demo", "gone") == make_object("gone")


def test_content_is_set_only_where_the_version_is_still_the_one_that_was_read(ledger: Ledger) -> None:
    ledger.objects.put("demo", [make_object("same"), make_object("newer", etag="e2")])
    ledger.objects.set_content("demo", [("same", "e1", "hash", {"by": "me"}), ("newer", "e1", "hash", {"by": "me"})])
    assert ledger.objects.get("demo", "same") == replace(make_object("same"), content_hash="hash", meta={"by": "me"})
    assert ledger.objects.get("demo", "newer") == make_object("newer", etag="e2")


@pytest.mark.parametrize("forget", ["commit", "intend"])
def test_a_tombstone_stays_while_a_collection_may_hold_rows_of_it(ledger: Ledger, lease: Lease, forget: str) -> None:
    ledger.objects.put("demo", [make_object("indexed"), make_object("never indexed"), make_object("here")])
    ledger.objects.put("other", [replace(make_object("indexed"), vanished=True)])
    if forget == "commit":
        ledger.entries.commit(lease, COLLECTION, [make_entry("indexed")])
    else:
        ledger.entries.intend(lease, COLLECTION, [("indexed", 3)])
    ledger.objects.mark_vanished("demo", ["indexed", "never indexed"])
    assert ledger.objects.delete_vanished("demo") == 1
    assert keys(ledger.objects.stream("demo")) == ["here", "indexed"]
    ledger.entries.delete(lease, COLLECTION, ["indexed"])
    assert ledger.objects.delete_vanished("demo") == 1
    assert keys(ledger.objects.stream("demo")) == ["here"]
    assert keys(ledger.objects.stream("other")) == ["indexed"]


def test_entries_of_other_pipelines_keep_no_tombstone(ledger: Ledger) -> None:
    ledger.collections.add(make_collection("other_text__0123abcd_1", pipeline="other"))
    theirs = ledger.leases.acquire("other_text__0123abcd_1", "run-1")
    ledger.entries.commit(theirs, "other_text__0123abcd_1", [make_entry("k")])
    ledger.objects.put("demo", [replace(make_object("k"), vanished=True)])
    assert ledger.objects.delete_vanished("demo") == 1


def test_counts_tell_active_skipped_and_vanished_apart(ledger: Ledger) -> None:
    ledger.objects.put("demo", [make_object(key) for key in "abc"])
    ledger.objects.put("demo", [make_object("p", media_type="image/png")])
    ledger.objects.put("demo", [make_object(key, media_type=kind, skip_reason="empty") for key, kind in ("dx", "ey")])
    ledger.objects.put("demo", [make_object("f", skip_reason="archived"), make_object("g", skip_reason="archived")])
    ledger.objects.put("other", [make_object("z")])
    ledger.objects.mark_vanished("demo", ["c", "g"])
    counts = ledger.objects.counts("demo")
    assert counts.active == {"text/plain": 2, "image/png": 1}
    assert counts.skipped == {"empty": 2, "archived": 1}
    assert counts.vanished == 2


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a%", "é", "\uffff", "\U0010ffff", "語", "\ud7ff", "nothing"])
def test_pages_hold_every_key_that_begins_so_in_order(ledger: Ledger, prefix: str) -> None:
    keys = [*HOSTILE_KEYS, "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffffz"]
    ledger.objects.put("demo", [make_object(key) for key in keys])
    ledger.objects.put("other", [make_object("a")])
    found: list[str] = []
    while page := ledger.objects.page("demo", prefix, found[-1] if found else "", limit=3):
        found += [record.key for record in page]
    assert found == sorted(key for key in keys if key.startswith(prefix))
