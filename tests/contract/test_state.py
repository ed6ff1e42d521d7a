"""What the state must do, in a directory and in a bucket of moto and of SeaweedFS."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.places import Places
from include.embedding_etl.state import StateStore
from tests.fixtures_storage import S3Server
from tests.ports import free_ports

TABLE = pa.table({"key": ["a", "b", "c"], "number": [1, 2, 3]})


class Place:
    """A state, and a way to see and spoil the files behind its back."""

    state: StateStore
    all_paths: Callable[[], list[str]]
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], Any]
    leftover: str  # where a writer that died leaves its half of e/1/b.parquet
    shows_open_files: bool  # a store shows an upload only when it is complete


def directory_place(directory: Path) -> Place:
    place = Place()
    place.state = StateStore(str(directory), Places(_env_file=None))
    place.all_paths = lambda: [
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    ]
    place.read = lambda path: (directory / path).read_bytes()
    place.write = lambda path, data: (directory / path).write_bytes(data)
    place.leftover, place.shows_open_files = "e/1/.unfinished-b.parquet-0123", True
    return place


def bucket_place(server: S3Server) -> Place:
    bucket, client = server.make_bucket(), server.client()
    place = Place()
    place.state = StateStore(f"s3://{bucket}/state", Places(_env_file=None), server.credentials())
    place.all_paths = lambda: [
        found["Key"].removeprefix("state/")
        for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])
        if not found["Key"].endswith("/")
    ]
    place.read = lambda path: client.get_object(Bucket=bucket, Key=f"state/{path}")["Body"].read()
    place.write = lambda path, data: client.put_object(Bucket=bucket, Key=f"state/{path}", Body=data)
    place.leftover, place.shows_open_files = ".unfinished/0123-b.parquet", False
    return place


@pytest.fixture(params=["directory", "moto", "seaweed"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return directory_place(tmp_path / "with space")
    return bucket_place(request.getfixturevalue(f"{request.param}_server"))


def test_a_table_comes_back_with_its_metadata(place: Place) -> None:
    assert place.state.write_table("a/b.parquet", TABLE, metadata={"run": "r1", "empty": ""}) == 3
    assert place.state.read_table("a/b.parquet").equals(TABLE)
    assert place.state.read_table("a/b.parquet", columns=["number"]).column_names == ["number"]
    assert place.state.metadata("a/b.parquet") == {"run": "r1", "empty": ""}
    assert place.state.row_count("a/b.parquet") == 3
    assert place.all_paths() == ["a/b.parquet"]


def test_an_empty_table_is_a_file_too(place: Place) -> None:
    place.state.write_table("a.parquet", TABLE.slice(0, 0))
    assert place.state.read_table("a.parquet").num_rows == 0


def test_batches_are_written_and_read_as_a_stream(place: Place) -> None:
    batches = (pa.record_batch({"number": [number]}) for number in range(1_000))
    assert place.state.write_table("n.parquet", batches, pa.schema([("number", pa.int64())])) == 1_000
    read = list(place.state.iter_batches("n.parquet", batch_rows=300))
    assert [batch.num_rows for batch in read] == [300, 300, 300, 100]
    assert [number for batch in read for number in batch.column("number").to_pylist()] == list(range(1_000))


def test_a_file_of_several_parts_is_complete(place: Place) -> None:
    rows = np.random.default_rng(1).random((3, 1_000_000))  # 24 MB that do not compress
    batches = (pa.record_batch({"x": row}) for row in rows)
    place.state.write_table("big.parquet", batches, pa.schema([("x", pa.float64())]))
    read = np.concatenate([batch.column("x").to_numpy() for batch in place.state.iter_batches("big.parquet")])
    assert np.array_equal(read, rows.reshape(-1))


def test_a_file_is_not_visible_before_it_is_complete(place: Place) -> None:
    with place.state.writer("a.parquet", TABLE.schema) as writer:
        writer.write(TABLE.to_batches()[0])
        writer.flush()
        assert not place.state.exists("a.parquet")
        writer.set_metadata({"rows": str(writer.rows)})
    assert place.state.exists("a.parquet")
    assert place.state.metadata("a.parquet") == {"rows": "3"}


def test_an_exception_while_writing_leaves_nothing(place: Place) -> None:
    def batches() -> Iterator[Any]:
        yield TABLE.to_batches()[0]
        raise TransientError("the source broke off")

    with pytest.raises(TransientError, match="the source broke off"):
        place.state.write_table("a.parquet", batches(), TABLE.schema)
    assert not place.state.exists("a.parquet")
    assert place.all_paths() == []


def test_an_exception_while_replacing_keeps_the_old_file(place: Place) -> None:
    place.state.write_table("a.parquet", TABLE)

    def batches() -> Iterator[Any]:
        yield TABLE.slice(0, 1).to_batches()[0]
        raise KeyError

    with pytest.raises(KeyError):
        place.state.write_table("a.parquet", batches(), TABLE.schema)
    assert place.state.read_table("a.parquet").equals(TABLE)


def test_a_file_can_be_replaced(place: Place) -> None:
    place.state.write_table("a.parquet", TABLE)
    place.state.write_table("a.parquet", TABLE.slice(1))
    assert place.state.read_table("a.parquet").equals(TABLE.slice(1))


def test_a_missing_file_is_an_integrity_error(place: Place) -> None:
    assert not place.state.exists("a/none.parquet")
    for read in (place.state.read_table, place.state.metadata, place.state.row_count):
        with pytest.raises(IntegrityError, match=r"none\.parquet: this file should be there"):
            read("a/none.parquet")


@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.99])
def test_a_cut_off_file_is_an_integrity_error(place: Place, kept: float) -> None:
    place.state.write_table("a.parquet", TABLE)
    data = place.read("a.parquet")
    place.write("a.parquet", data[: int(kept * len(data) if kept < 1 else kept)])
    with pytest.raises(IntegrityError, match=r"a\.parquet: this file is cut off or damaged"):
        place.state.read_table("a.parquet")


@pytest.mark.parametrize("at", [0.2, 0.4, 0.6])
def test_a_flipped_bit_is_an_integrity_error(place: Place, at: float) -> None:
    noise = np.random.default_rng(1).random(5_000)  # does not compress: nothing but the checksum can notice
    place.state.write_table("a.parquet", pa.table({"x": noise}))
    data = bytearray(place.read("a.parquet"))
    data[int(at * len(data))] ^= 1
    place.write("a.parquet", bytes(data))
    with pytest.raises(IntegrityError, match=r"a\.parquet"):
        place.state.read_table("a.parquet")
    with pytest.raises(IntegrityError, match=r"a\.parquet"):
        list(place.state.iter_batches("a.parquet"))


def test_a_folder_can_be_deleted(place: Place) -> None:
    for path in ("run/1/a.parquet", "run/1/b/c.parquet", "run/10/d.parquet"):
        place.state.write_table(path, TABLE)
    place.state.delete_prefix("run/1")
    assert place.all_paths() == ["run/10/d.parquet"]
    assert not place.state.exists("run/1/a.parquet")
    place.state.delete_prefix("run/1")


def test_files_are_listed_with_their_age_and_size_folder_by_folder(place: Place) -> None:
    paths = ["e/1/a.parquet", "e/1/b.parquet", "e/10/c.parquet", "e/1a/d.parquet", "elsewhere/f.parquet"]
    before_ms = time.time() * 1000 - 2_000  # some stores keep whole seconds
    for path in paths:
        place.state.write_table(path, TABLE)
    listed = list(place.state.list_files("e"))
    assert [file.path for file in listed] == ["e/1/a.parquet", "e/1/b.parquet", "e/10/c.parquet", "e/1a/d.parquet"]
    assert all(before_ms <= file.modified_ms <= time.time() * 1000 + 2_000 for file in listed)
    assert {file.size_bytes for file in listed} == {len(place.read("e/1/a.parquet"))}
    assert list(place.state.list_files("nothing/here")) == []


def test_a_file_that_is_being_written_is_no_file_yet_but_can_be_found(place: Place) -> None:
    place.state.write_table("e/1/a.parquet", TABLE)
    with place.state.writer("e/1/b.parquet", TABLE.schema) as writer:
        writer.write(TABLE.to_batches()[0])
        writer.flush()
        assert [file.path for file in place.state.list_files("e")] == ["e/1/a.parquet"]
        if place.shows_open_files:
            (unfinished,) = place.state.list_unfinished()
            assert "b.parquet" in unfinished.path
    assert list(place.state.list_unfinished()) == []
    assert len(list(place.state.list_files("e"))) == 2


def test_what_a_dead_writer_left_can_be_deleted(place: Place) -> None:
    place.state.write_table("e/1/a.parquet", TABLE)
    place.write(place.leftover, b"half of a file")
    (left,) = place.state.list_unfinished()
    assert left.path == place.leftover
    assert [file.path for file in place.state.list_files("e")] == ["e/1/a.parquet"]
    place.state.delete_file(left.path)
    assert place.all_paths() == ["e/1/a.parquet"]


def test_a_file_can_be_deleted_once_and_again(place: Place) -> None:
    place.state.write_table("e/a.parquet", TABLE)
    place.state.write_table("e/b.parquet", TABLE)
    place.state.delete_file("e/a.parquet")
    place.state.delete_file("e/a.parquet")
    place.state.delete_file("none/c.parquet")
    assert place.all_paths() == ["e/b.parquet"]


def test_files_that_are_not_ours_are_not_listed(place: Place) -> None:
    place.state.write_table("e/a.parquet", TABLE)
    place.write("e/not ours.txt", b"x")
    assert [file.path for file in place.state.list_files("e")] == ["e/a.parquet"]


def test_many_threads_write_and_read_at_once(place: Place) -> None:
    def write_and_read(number: int) -> int:
        path = f"t/{number}.parquet"
        place.state.write_table(path, pa.table({"n": [number]}))
        return place.state.read_table(path).column("n")[0].as_py()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write_and_read, range(24))) == list(range(24))


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "..", "a//b", "a/", "a b", "ä", "a\n", "."])
def test_paths_that_are_not_ours_are_refused(tmp_path: Path, path: str) -> None:
    state = StateStore(str(tmp_path), Places(_env_file=None))
    for use in (state.exists, state.uri_of, state.read_table, state.delete_prefix, state.delete_file, state.list_files):
        with pytest.raises(IntegrityError, match="not a path of ours"):
            use(path)
    with pytest.raises(IntegrityError, match="not a path of ours"):
        state.write_table(path, TABLE)


def test_uris_name_the_file(tmp_path: Path, moto_server: S3Server) -> None:
    assert StateStore(str(tmp_path), Places(_env_file=None)).uri_of("a.parquet") == f"file://{tmp_path}/a.parquet"
    assert StateStore(f"file://{tmp_path}", Places(_env_file=None)).uri_of("a") == f"file://{tmp_path}/a"
    bucket = StateStore("s3://bucket/x/", Places(_env_file=None), moto_server.credentials())
    assert bucket.uri_of("a.parquet") == "s3://bucket/x/a.parquet"


def test_a_scheme_that_is_not_ours_is_a_config_error() -> None:
    for uri in ("gs://bucket/x", "file://host/path", "s3:///x"):
        with pytest.raises(ConfigError, match="ETL_STATE_URI"):
            StateStore(uri, Places(_env_file=None))


def test_wrong_credentials_are_a_config_error(seaweed_server: S3Server) -> None:
    bucket = seaweed_server.make_bucket()
    wrong = replace(seaweed_server.credentials(), secret_key="w" * 20)
    state = StateStore(f"s3://{bucket}/x", Places(_env_file=None), wrong)
    with pytest.raises(ConfigError, match="ETL_STATE_URI"):
        state.write_table("a.parquet", TABLE)
    with pytest.raises(ConfigError, match="ETL_STATE_URI"):
        state.exists("a.parquet")


def test_a_missing_bucket_is_a_config_error(moto_server: S3Server) -> None:
    state = StateStore("s3://no-such-bucket/x", Places(_env_file=None), moto_server.credentials())
    with pytest.raises(ConfigError, match="ETL_STATE_URI"):
        state.write_table("a.parquet", TABLE)


def test_a_store_that_is_not_there_is_a_transient_error(moto_server: S3Server) -> None:
    credentials = moto_server.credentials(f"http://127.0.0.1:{free_ports(1)[0]}")
    state = StateStore("s3://bucket/x", Places(_env_file=None), credentials)
    with pytest.raises(TransientError):
        state.exists("a.parquet")


def test_a_full_disk_is_a_transient_error_and_leaves_nothing(tmp_path: Path, tiny_disk: None) -> None:
    state = StateStore(str(tmp_path), Places(_env_file=None))
    with pytest.raises(TransientError, match=r"a\.parquet"):
        state.write_table("a.parquet", pa.table({"x": np.random.default_rng(1).random(20_000)}))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="ETL_STATE_URI"):
        StateStore(str(tmp_path / "file"), Places(_env_file=None)).write_table("a.parquet", TABLE)


def test_places_give_the_credentials(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_S3_ENDPOINT", moto_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.secret_key)
    state = StateStore(f"s3://{moto_server.make_bucket()}/x", Places(_env_file=None))
    state.write_table("a.parquet", TABLE)
    assert state.exists("a.parquet")
