"""A snapshot is a complete listing in byte order, or it is not there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl import snapshot as snapshot_module
from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.places import Places
from include.embedding_etl.snapshot import Snapshot, iter_snapshot, read_snapshot, write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ListedObject

PATH = "snapshots/run.parquet"


@pytest.fixture
def state(tmp_path: Path) -> StateStore:
    return StateStore(str(tmp_path / "state"), Places(_env_file=None))


def objects(*keys: str) -> list[ListedObject]:
    return [ListedObject(key, f"etag-{key}", len(key), 1_000 + len(key), "STANDARD") for key in keys]


def write(state: StateStore, listing: list[ListedObject]) -> Snapshot:
    return write_snapshot(state, PATH, "s3://bucket/", listing, lambda key: True)


def all_keys(state: StateStore, snapshot: Snapshot) -> list[str]:
    return [listed.key for listed in iter_snapshot(state, snapshot)]


def test_what_was_listed_comes_back(state: StateStore) -> None:
    listing = [ListedObject("a", "e1", 5, 7, "GLACIER"), ListedObject("ä 漢🦉\n\x00", "e2", 1 << 40, 8)]
    snapshot = write(state, listing)
    assert snapshot == Snapshot(PATH, "s3://bucket/", 2, (1 << 40) + 5, complete=True, resorted=False)
    assert read_snapshot(state, PATH) == snapshot
    assert list(iter_snapshot(state, snapshot)) == listing


def test_an_empty_listing_is_a_complete_snapshot(state: StateStore) -> None:
    snapshot = write(state, [])
    assert (snapshot.objects, snapshot.bytes, snapshot.complete) == (0, 0, True)
    assert all_keys(state, read_snapshot(state, PATH)) == []


def test_only_accepted_keys_are_recorded(state: StateStore) -> None:
    snapshot = write_snapshot(state, PATH, "s3://b/", objects("a.txt", "b.tmp"), lambda key: key.endswith(".txt"))
    assert (snapshot.objects, snapshot.bytes, all_keys(state, snapshot)) == (1, 5, ["a.txt"])


@pytest.mark.parametrize("run_objects", [1, 3, 1000])
def test_a_listing_in_another_order_is_sorted(
    state: StateStore, monkeypatch: pytest.MonkeyPatch, run_objects: int
) -> None:
    monkeypatch.setattr(snapshot_module, "_RUN_OBJECTS", run_objects)
    monkeypatch.setattr(snapshot_module, "_BATCH_OBJECTS", 2)
    keys = ["a/b", "a-b", "a", "z", "ä", "\uffff", "🦉", "a/a", "A", "zz"]
    snapshot = write(state, objects(*keys))
    assert snapshot.resorted
    assert all_keys(state, snapshot) == sorted(keys, key=lambda key: key.encode("utf-8"))


@pytest.mark.parametrize("run_objects", [1, 2, 1000])
def test_order_across_runs_is_noticed(state: StateStore, monkeypatch: pytest.MonkeyPatch, run_objects: int) -> None:
    monkeypatch.setattr(snapshot_module, "_RUN_OBJECTS", run_objects)
    assert not write(state, objects("a", "b", "c", "d")).resorted
    assert write(state, objects("a", "c", "b", "d")).resorted


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), unique=True, max_size=60))
def test_the_order_is_that_of_the_utf8_bytes(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    state = StateStore(str(tmp_path_factory.mktemp("state")), Places(_env_file=None))
    snapshot = write(state, objects(*keys))
    assert all_keys(state, snapshot) == sorted(keys, key=lambda key: key.encode("utf-8"))


@pytest.mark.parametrize("keys", [["a", "a", "b"], ["b", "a", "c", "a"]])
@pytest.mark.parametrize("run_objects", [1, 2, 1000])
def test_a_key_listed_twice_is_an_integrity_error(
    state: StateStore, monkeypatch: pytest.MonkeyPatch, keys: list[str], run_objects: int
) -> None:
    monkeypatch.setattr(snapshot_module, "_RUN_OBJECTS", run_objects)
    with pytest.raises(IntegrityError, match="'a' was listed twice"):
        write(state, objects(*keys))
    assert not state.exists(PATH)


@pytest.mark.parametrize("error", [TransientError("broke off"), KeyboardInterrupt(), OSError("of the listing")])
def test_a_listing_that_breaks_off_leaves_no_snapshot(
    state: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(snapshot_module, "_RUN_OBJECTS", 2)

    def listing() -> Iterator[ListedObject]:
        yield from objects("a", "b", "c")
        raise error

    with pytest.raises(type(error)) as caught:
        write_snapshot(state, PATH, "s3://b/", listing(), lambda key: True)
    assert caught.value is error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_broken_listing_does_not_replace_the_snapshot_that_was_there(state: StateStore) -> None:
    before = write(state, objects("a"))
    with pytest.raises(IntegrityError):
        write(state, objects("b", "b"))
    assert all_keys(state, before) == ["a"]


def forged(state: StateStore, keys: list[str], **facts: object) -> None:
    """A snapshot file with false facts."""
    batch = snapshot_module._batch_of(objects(*keys))
    stored = {"source_uri": "s3://b/", "objects": len(keys), "bytes": 1, "complete": True, "resorted": False, **facts}
    state.write_table(PATH, pa.Table.from_batches([batch]), metadata={"snapshot": json.dumps(stored)})


def test_an_incomplete_snapshot_is_refused(state: StateStore) -> None:
    forged(state, ["a", "b"], complete=False)
    with pytest.raises(IntegrityError, match="not complete"):
        read_snapshot(state, PATH)
    with pytest.raises(IntegrityError, match="not complete"):
        list(iter_snapshot(state, Snapshot(PATH, "s3://b/", 2, 1, complete=True, resorted=False)))


def test_a_miscounted_snapshot_is_refused(state: StateStore) -> None:
    forged(state, ["a", "b"], objects=3)
    with pytest.raises(IntegrityError, match="3 objects announced, 2 held"):
        read_snapshot(state, PATH)


def test_an_unsorted_snapshot_is_refused(state: StateStore) -> None:
    forged(state, ["b", "a"])
    with pytest.raises(IntegrityError, match="'a' is not in order"):
        list(iter_snapshot(state, read_snapshot(state, PATH)))


def test_a_snapshot_that_was_replaced_is_refused(state: StateStore) -> None:
    before = write(state, objects("a"))
    write(state, objects("a", "b"))
    with pytest.raises(IntegrityError, match="replaced"):
        list(iter_snapshot(state, before))


def test_another_parquet_file_is_not_a_snapshot(state: StateStore) -> None:
    state.write_table(PATH, pa.table({"key": ["a"]}))
    with pytest.raises(IntegrityError, match="not a snapshot"):
        read_snapshot(state, PATH)


def test_no_room_for_the_listing_is_a_transient_error(state: StateStore, tiny_disk: None) -> None:
    with pytest.raises(TransientError, match=r"no room for the listing.*TMPDIR"):
        write(state, objects(*(f"{number:05d}" for number in range(2_000))))
    assert not state.exists(PATH)


MEASURE = """
import random, resource, sys, tempfile
from include.embedding_etl.places import Places
from include.embedding_etl.snapshot import iter_snapshot, write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ListedObject

def listing(count):
    for number in range(count):
        mixed = number // 1000 * 1000 + (number * 7) % 1000  # out of order within each thousand
        yield ListedObject(f"{mixed:09d}" + "x" * 300, f"{number:032d}", 1, 1)

with tempfile.TemporaryDirectory() as directory:
    state = StateStore(directory, Places(_env_file=None))
    snapshot = write_snapshot(state, "s.parquet", "s3://b/", listing(int(sys.argv[1])), lambda key: True)
    assert snapshot.resorted and sum(1 for _ in iter_snapshot(state, snapshot)) == int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_pain_32_memory_stays_flat_with_the_number_of_objects() -> None:
    peaks_mib = [
        int(subprocess.run([sys.executable, "-c", MEASURE, str(count)], check=True, capture_output=True).stdout)
        for count in (50_000, 250_000)
    ]
    assert peaks_mib[1] - peaks_mib[0] < 40  # the 200,000 more are 90 MB of keys and ETags alone
