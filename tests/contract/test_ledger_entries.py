"""What every ledger database must do with entries."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import EntryTotals, Lease
from include.embedding_etl.types import Entry
from tests.fixtures_ledger import COLLECTION, HOSTILE_KEYS, make_collection, make_entry


def test_a_committed_entry_is_read_back(ledger: Ledger, lease: Lease) -> None:
    entry = Entry("k", "v", 1_763_000_000_123, "hash", 7, 7, "run-9")
    ledger.entries.commit(lease, COLLECTION, [entry])
    assert list(ledger.entries.stream(COLLECTION)) == [entry]
    assert ledger.entries.get_many(COLLECTION, ["k", "absent"]) == {"k": entry}


def test_hostile_keys_survive_and_stream_in_byte_order(ledger: Ledger, lease: Lease) -> None:
    ledger.entries.intend(lease, COLLECTION, [(key, 5) for key in HOSTILE_KEYS])
    ledger.entries.commit(lease, COLLECTION, [make_entry(key) for key in HOSTILE_KEYS])
    assert [entry.key for entry in ledger.entries.stream(COLLECTION)] == sorted(HOSTILE_KEYS, key=str.encode)
    assert ledger.entries.get_many(COLLECTION, HOSTILE_KEYS) == {key: make_entry(key) for key in HOSTILE_KEYS}
    ledger.entries.delete(lease, COLLECTION, HOSTILE_KEYS)
    assert list(ledger.entries.stream(COLLECTION)) == []


def test_an_intention_for_a_new_object_claims_nothing(ledger: Ledger, lease: Lease) -> None:
    ledger.entries.intend(lease, COLLECTION, [("k", 4)])
    assert list(ledger.entries.stream(COLLECTION)) == [Entry("k", "", 0, "", 0, 4)]


@pytest.mark.parametrize(("intended", "expected"), [(1, 2), (2, 2), (9, 9)])
def test_an_intention_only_ever_raises_and_leaves_the_claim_alone(
    ledger: Ledger, lease: Lease, intended: int, expected: int
) -> None:
    ledger.entries.commit(lease, COLLECTION, [make_entry("k", rows=2)])
    ledger.entries.intend(lease, COLLECTION, [("k", intended)])
    assert list(ledger.entries.stream(COLLECTION)) == [replace(make_entry("k", rows=2), intended_rows=expected)]


def test_a_commit_settles_the_intention(ledger: Ledger, lease: Lease) -> None:
    ledger.entries.intend(lease, COLLECTION, [("k", 9)])
    ledger.entries.commit(lease, COLLECTION, [replace(make_entry("k", rows=2), intended_rows=9)])
    assert list(ledger.entries.stream(COLLECTION)) == [make_entry("k", rows=2)]


def test_forgotten_versions_are_work_to_do_and_rows_stay_known(ledger: Ledger, lease: Lease) -> None:
    ledger.entries.commit(lease, COLLECTION, [make_entry("a", rows=2), make_entry("b", rows=3)])
    ledger.entries.intend(lease, COLLECTION, [("b", 5)])
    ledger.entries.forget_versions(lease, COLLECTION)
    assert [(entry.version, entry.rows, entry.intended_rows) for entry in ledger.entries.stream(COLLECTION)] == [
        ("", 2, 2),
        ("", 3, 5),
    ]


def test_totals_count_claims_rows_and_what_is_unfinished(ledger: Ledger, lease: Lease) -> None:
    assert ledger.entries.totals(COLLECTION) == EntryTotals(0, 0, 0)
    ledger.entries.commit(
        lease, COLLECTION, [make_entry("a", rows=2), make_entry("b", rows=3), make_entry("c", rows=0)]
    )
    ledger.entries.intend(lease, COLLECTION, [("b", 4), ("new", 1)])
    assert ledger.entries.totals(COLLECTION) == (3, 5, 2)
    ledger.entries.forget_versions(lease, COLLECTION)
    assert ledger.entries.totals(COLLECTION) == (0, 5, 4)


def test_collections_do_not_see_each_other(ledger: Ledger, lease: Lease) -> None:
    ledger.collections.add(replace(ledger.collections.of_pipeline("demo")[0], name="candidate_2", state="candidate"))
    other = ledger.leases.acquire("candidate_2", "run-1")
    ledger.entries.commit(lease, COLLECTION, [make_entry("k", rows=2)])
    ledger.entries.commit(other, "candidate_2", [make_entry("k", rows=5)])
    ledger.entries.forget_versions(other, "candidate_2")
    assert list(ledger.entries.stream(COLLECTION)) == [make_entry("k", rows=2)]
    ledger.entries.delete(other, "candidate_2", ["k"])
    assert ledger.entries.totals(COLLECTION).objects == 1


def test_more_keys_than_a_statement_may_have_variables(ledger: Ledger, lease: Lease) -> None:
    ledger.close()

    @sa.event.listens_for(ledger._database.engine, "connect")
    def _limit(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)  # builds differ: 250,000, 32,766, 999

    keys = [f"{number:06d}" for number in range(40_000)]
    ledger.entries.commit(lease, COLLECTION, [make_entry(key) for key in keys])
    assert len(ledger.entries.get_many(COLLECTION, keys)) == 40_000
    ledger.entries.delete(lease, COLLECTION, keys[1:])
    assert [entry.key for entry in ledger.entries.stream(COLLECTION)] == keys[:1]


def test_entries_of_a_collection_that_nobody_recorded_are_refused(ledger: Ledger) -> None:
    stray = ledger.leases.acquire("stray", "run-1")
    with pytest.raises(IntegrityError, match="ledger refused"):
        ledger.entries.commit(stray, "stray", [make_entry("k")])


def test_what_is_believed_about_one_object_in_each_collection(ledger: Ledger, lease: Lease) -> None:
    ledger.entries.commit(lease, COLLECTION, [make_entry("a"), make_entry("b")])
    assert ledger.entries.of_object([COLLECTION, "another"], "a") == {COLLECTION: make_entry("a")}
    assert ledger.entries.of_object([COLLECTION], "c") == {}


def test_the_keys_of_a_run_come_page_by_page_in_key_order(ledger: Ledger, lease: Lease) -> None:
    other = make_collection("demo_image__4567cdef_1", lane="image")
    ledger.collections.add(other)
    other_lease = ledger.leases.acquire(other.name, "run-2")
    keys = sorted(HOSTILE_KEYS, key=str.encode)
    mine, theirs = keys[::2], keys[1::2]
    ledger.entries.commit(lease, COLLECTION, [replace(make_entry(key), run_id="run-2") for key in mine])
    ledger.entries.commit(lease, COLLECTION, [make_entry(key) for key in theirs])
    ledger.entries.commit(other_lease, other.name, [replace(make_entry(key), run_id="run-2") for key in [*mine, "zz"]])
    found, after = list[str](), ""
    while page := ledger.entries.keys_of_run([COLLECTION, other.name], "run-2", after=after, limit=4):
        assert len(page) <= 4
        found, after = [*found, *page], page[-1]
    assert found == sorted([*mine, "zz"], key=str.encode)
    assert ledger.entries.keys_of_run([COLLECTION], "run-2", prefix="a/") == tuple(
        key for key in mine if key.startswith("a/")
    )
    assert ledger.entries.keys_of_run([COLLECTION], "run-3") == ledger.entries.keys_of_run([], "run-2") == ()


def test_the_keys_of_a_run_are_found_by_an_index(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url, migrate=True) as ledger:
        asked: list[str] = []
        sa.event.listen(ledger.entries._database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
        ledger.entries.keys_of_run([COLLECTION], "run-1", prefix="a", after="aa", limit=5)
    statement = next(sql for sql in asked if sql.startswith("SELECT"))
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {statement}", [""] * statement.count("?")).fetchall()
    assert "ix_entries_run (collection=? AND run_id=? AND key>?" in plan[0][3]
    assert len(plan) == 1  # nothing is sorted
