"""What every source must do, run over moto, SeaweedFS and a directory."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from include.embedding_etl.errors import ChangedMeanwhile, ConfigError, PoisonObject
from include.embedding_etl.places import Places
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.storage import spool
from include.embedding_etl.storage.base import Source
from include.embedding_etl.storage.select import open_source
from include.embedding_etl.types import ListedObject
from tests.fixtures_storage import S3Server


class Store(Protocol):
    """The other side: how a test puts objects where the source finds them."""

    source: Source

    def put(self, key: str, body: bytes, **meta: str) -> None: ...
    def delete(self, key: str) -> None: ...


class BucketStore:
    def __init__(self, server: S3Server, prefix: str = "") -> None:
        self.bucket = server.make_bucket()
        self.client = server.client()
        self.source = open_source(
            SourceSettings(uri=f"s3://{self.bucket}/{prefix}"), Places(_env_file=None), server.credentials()
        )

    def put(self, key: str, body: bytes, **meta: str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=meta)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)


class DirectoryStore:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = open_source(SourceSettings(uri=str(directory)), Places(_env_file=None))

    def put(self, key: str, body: bytes, **meta: str) -> None:
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(body)

    def delete(self, key: str) -> None:
        (self.directory / key).unlink()


@pytest.fixture(params=["moto", "seaweed", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    makers: dict[str, Callable[[], Any]] = {
        "moto": lambda: BucketStore(request.getfixturevalue("moto_server")),
        "seaweed": lambda: BucketStore(request.getfixturevalue("seaweed_server")),
        "directory": lambda: DirectoryStore(tmp_path),
    }
    return makers[request.param]()


def listed_by_key(source: Source) -> dict[str, ListedObject]:
    objects = list(source.list())
    by_key = {listed.key: listed for listed in objects}
    assert len(by_key) == len(objects)
    return by_key


def test_lists_every_object_with_its_exact_key_and_size(store: Store) -> None:
    keys = ["a.txt", "b/c.txt", "b c/d+e.txt", "100%/%2F.txt", "umlaut-ä/漢字/🦉.txt", "q'uote\"<&>;=?#.txt", "e" * 200]
    for number, key in enumerate(keys):
        store.put(key, b"x" * number)
    assert {key: listed.size_bytes for key, listed in listed_by_key(store.source).items()} == {
        key: number for number, key in enumerate(keys)
    }


def test_lists_more_than_one_page(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"page/{number:04d}", b"x"), range(1_050)))
    assert sorted(listed_by_key(store.source)) == [f"page/{number:04d}" for number in range(1_050)]


def test_an_empty_source_lists_nothing(store: Store) -> None:
    assert list(store.source.list()) == []


def test_fetch_gives_all_bytes_with_their_hash(store: Store) -> None:
    body = bytes(range(256)) * 300
    store.put("folder/blob", body)
    with store.source.fetch(listed_by_key(store.source)["folder/blob"]) as fetched:
        assert fetched.body.read() == body
        assert (fetched.size_bytes, fetched.content_hash) == (len(body), hashlib.sha256(body).hexdigest())


def test_fetch_of_an_empty_object_gives_no_bytes(store: Store) -> None:
    store.put("empty", b"")
    listed = listed_by_key(store.source)["empty"]
    with store.source.fetch(listed) as fetched:
        assert fetched.body.read() == b""
    assert store.source.read_head(listed, 100)[0] == b""


def test_every_listed_key_can_be_fetched(store: Store) -> None:
    keys = ["a b", "a+b", "a%20b", "ä/ö", "🦉", "semi;colon", "question?", "hash#", "trailing.", "~tilde", "@:$,!*()'"]
    for key in keys:
        store.put(key, key.encode())
    for key, listed in listed_by_key(store.source).items():
        with store.source.fetch(listed) as fetched:
            assert fetched.body.read() == key.encode()


def test_read_head_gives_the_first_bytes_only(store: Store) -> None:
    store.put("long", b"0123456789" * 1000)
    listed = listed_by_key(store.source)["long"]
    assert store.source.read_head(listed, 15)[0] == b"012345678901234"
    assert store.source.read_head(listed, 20_000)[0] == b"0123456789" * 1000


@pytest.mark.parametrize(("start", "size_bytes"), [(0, 1), (0, 2000), (7, 15), (995, 5), (990, 100), (1000, 5), (3, 0)])
def test_read_range_gives_that_part_of_it(store: Store, start: int, size_bytes: int) -> None:
    body = bytes(range(250)) * 4
    store.put("folder/blob", body)
    listed = listed_by_key(store.source)["folder/blob"]
    assert store.source.read_range(listed, start, size_bytes) == body[start : start + size_bytes]


def test_a_part_of_another_version_is_never_given(store: Store) -> None:
    store.put("key", b"0123456789")
    listed = listed_by_key(store.source)["key"]
    assert store.source.read_range(listed, 0, 5) == b"01234"
    store.put("key", b"abcdefghij")
    with pytest.raises(ChangedMeanwhile):
        store.source.read_range(listed, 5, 5)
    with pytest.raises(ChangedMeanwhile):
        store.source.sign_link(listed, 60) or store.source.read_range(listed, 5, 5)
    store.delete("key")
    with pytest.raises(ChangedMeanwhile):
        store.source.read_range(listed, 0, 1)


def test_a_link_downloads_the_object_where_the_source_has_links(store: Store) -> None:
    keys = ["a b.txt", "100%/%2F.txt", "ä/漢字/🦉.txt", "semi;colon?&x=y#z", "q'uote\"<&>.html", "empty"]
    for key in keys:
        store.put(key, key.encode() if key != "empty" else b"")
    for key, listed in listed_by_key(store.source).items():
        link = store.source.sign_link(listed, 60)
        if not isinstance(store, BucketStore):
            assert link == ""
            continue
        answer = httpx.get(link, trust_env=False)
        assert (answer.status_code, answer.content) == (200, key.encode() if key != "empty" else b"")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == "attachment"
        assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["60"]


def test_a_link_that_was_changed_or_has_expired_opens_nothing(seaweed_server: S3Server) -> None:
    store = BucketStore(seaweed_server)  # the one that checks signatures
    store.put("key", b"body")
    store.put("other", b"secret")
    listed = listed_by_key(store.source)["key"]
    link = store.source.sign_link(listed, 1)
    assert httpx.get(link.replace("/key?", "/other?"), trust_env=False).status_code == 403
    assert httpx.get(link.replace("octet-stream", "html"), trust_env=False).status_code == 403
    assert httpx.get(link.replace("Expires=1", "Expires=999"), trust_env=False).status_code == 403
    time.sleep(2.1)
    assert httpx.get(link, trust_env=False).status_code == 403


def test_a_rewritten_object_is_changed_meanwhile(store: Store) -> None:
    store.put("key", b"old")
    listed = listed_by_key(store.source)["key"]
    store.put("key", b"new")
    with pytest.raises(ChangedMeanwhile), store.source.fetch(listed):
        pass
    with pytest.raises(ChangedMeanwhile):
        store.source.read_head(listed, 10)
    assert listed_by_key(store.source)["key"].etag != listed.etag


def test_a_deleted_object_is_changed_meanwhile(store: Store) -> None:
    store.put("key", b"old")
    listed = listed_by_key(store.source)["key"]
    store.delete("key")
    with pytest.raises(ChangedMeanwhile), store.source.fetch(listed):
        pass
    with pytest.raises(ChangedMeanwhile):
        store.source.read_head(listed, 10)


def test_large_bodies_are_files_that_are_not_named_after_the_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MEMORY_LIMIT_BYTES", 1000)
    store.put("secret-name.pdf", b"x" * 5000)
    with store.source.fetch(listed_by_key(store.source)["secret-name.pdf"]) as fetched:
        path = Path(fetched.body.name)
        assert path.read_bytes() == b"x" * 5000
        assert "secret" not in str(path)
        assert ".pdf" not in str(path)
    assert not path.exists()


def test_many_threads_fetch_at_once(store: Store) -> None:
    for number in range(20):
        store.put(f"k{number}", str(number).encode() * 100)
    objects = listed_by_key(store.source)
    barrier = threading.Barrier(10)

    def read(number: int) -> bytes:
        if number < 10:
            barrier.wait(10)
        with store.source.fetch(objects[f"k{number}"]) as fetched:
            return fetched.body.read()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(read, range(20))) == [str(number).encode() * 100 for number in range(20)]


def test_timestamps_are_of_now(store: Store) -> None:
    store.put("key", b"x")
    assert abs(listed_by_key(store.source)["key"].last_modified_ms - time.time() * 1000) < 60_000


@pytest.mark.parametrize("server_name", ["moto_server", "seaweed_server"])
def test_user_metadata_comes_with_the_object(server_name: str, request: pytest.FixtureRequest) -> None:
    store = BucketStore(request.getfixturevalue(server_name))
    store.put("key", b"body", author="Ada", **{"two-words": "a b"})
    listed = listed_by_key(store.source)["key"]
    assert store.source.read_head(listed, 2) == (b"bo", {"author": "Ada", "two-words": "a b"})
    with store.source.fetch(listed) as fetched:
        assert fetched.meta == {"author": "Ada", "two-words": "a b"}


@pytest.mark.parametrize("server_name", ["moto_server", "seaweed_server"])
def test_only_keys_under_the_prefix_are_listed(server_name: str, request: pytest.FixtureRequest) -> None:
    store = BucketStore(request.getfixturevalue(server_name), prefix="dir ä/")
    for key in ("dir ä/x", "dir ä/y/z", "dir", "other/x", "dir ä2/x"):
        store.put(key, b"x")
    assert sorted(listed_by_key(store.source)) == ["dir ä/x", "dir ä/y/z"]


@pytest.mark.parametrize("server_name", ["moto_server", "seaweed_server"])
def test_a_missing_bucket_is_a_config_error(server_name: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    source = open_source(SourceSettings(uri="s3://no-such-bucket"), Places(_env_file=None), server.credentials())
    with pytest.raises(ConfigError, match="no such bucket"):
        list(source.list())


def test_a_bucket_that_vanished_after_listing_is_not_a_changed_object(moto_server: S3Server) -> None:
    source = open_source(SourceSettings(uri="s3://no-such-bucket"), Places(_env_file=None), moto_server.credentials())
    with pytest.raises(ConfigError, match="no such bucket"):
        source.read_head(ListedObject("key", "etag", 10, 0), 5)


def test_wrong_keys_are_a_config_error(seaweed_server: S3Server) -> None:
    right = seaweed_server.credentials()
    bucket = seaweed_server.make_bucket()
    for wrong in (replace(right, secret_key="w" * 20), replace(right, access_key="nobody")):
        source = open_source(SourceSettings(uri=f"s3://{bucket}/"), Places(_env_file=None), wrong)
        with pytest.raises(ConfigError, match=r"secret key is not|does not know this access key"):
            list(source.list())


def test_no_credentials_at_all_is_a_config_error(moto_server: S3Server) -> None:
    source = open_source(
        SourceSettings(uri="s3://bucket/"), Places(_env_file=None), S3Credentials(endpoint=moto_server.endpoint)
    )
    with pytest.raises(ConfigError, match="no AWS credentials"):
        list(source.list())


def test_an_archived_object_is_poison(moto_server: S3Server) -> None:
    store = BucketStore(moto_server)
    store.client.put_object(Bucket=store.bucket, Key="cold", Body=b"x" * 10, StorageClass="GLACIER")
    listed = listed_by_key(store.source)["cold"]
    assert listed.storage_class == "GLACIER"
    with pytest.raises(PoisonObject) as caught, store.source.fetch(listed):
        pass
    assert (caught.value.error_class, caught.value.stage) == ("Archived", "fetch")
    with pytest.raises(PoisonObject) as caught:
        store.source.read_head(listed, 5)
    assert (caught.value.error_class, caught.value.stage) == ("Archived", "identify")
