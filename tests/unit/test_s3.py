"""S3 when keys are hostile and the store or the network misbehaves: every request really goes through a socket."""

import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.credentials import RefreshableCredentials

from include.embedding_etl.errors import (
    ChangedMeanwhile,
    ConfigError,
    EmbeddingEtlError,
    IntegrityError,
    PoisonObject,
    TransientError,
)
from include.embedding_etl.places import Places
from include.embedding_etl.snapshot import write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.storage.s3 import S3Source
from include.embedding_etl.storage.s3_requests import ATTEMPTS, Bucket
from include.embedding_etl.types import ListedObject
from tests.fixtures_storage import FaultyProxy, S3Server, answered, broken_off, reset, rewritten, s3_error
from tests.ports import free_ports

HOSTILE_KEYS = [
    "/leading",
    "//two",
    "a//b",
    "dir/",
    "../escape",
    "a/../../b",
    "./here",
    "..",
    "trailing ",
    " leading space",
    "a+b",
    "a%2Fb",
    "%00",
    "100%",
    "back\\slash",
    "q\"u'o`te",
    "<tag>&amp;",
    "carriage\rreturn",
    "tab\there",
    "\x01\x1f\x7f",
    "\x85\u2028",
    "🦉/漢字/ä",
    "a\u0308",  # ä in two characters: not the same key as the next one
    "ä",
    "\uffff",
    "k" * 1024,
    "é" * 512,
]


class Spoiled:
    """A bucket behind a proxy, and a source that asks through it."""

    def __init__(self, server: S3Server, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        self.bucket = server.make_bucket()
        self.client = server.client()
        self.source = S3Source(f"s3://{self.bucket}/", server.session(), proxy.endpoint, backoff_s=0.001)

    def put(self, key: str, body: bytes = b"body") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def listed(self, key: str) -> ListedObject:
        found = self.client.head_object(Bucket=self.bucket, Key=key)
        return ListedObject(key, found["ETag"].strip('"'), found["ContentLength"], 0)


def http_get(url: str) -> bytes:
    """As a browser would, with no header of ours."""
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture
def spoiled(moto_server: S3Server, faulty_proxy: FaultyProxy) -> Spoiled:
    return Spoiled(moto_server, faulty_proxy)


@pytest.fixture(scope="module")
def two_pages(moto_server: S3Server) -> str:
    """A bucket that takes two pages to list."""
    bucket, client = moto_server.make_bucket(), moto_server.client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: client.put_object(Bucket=bucket, Key=f"{number:04d}", Body=b""), range(1_001)))
    return bucket


def test_hostile_keys_are_listed_and_fetched_exactly(spoiled: Spoiled) -> None:
    for key in HOSTILE_KEYS:
        spoiled.put(key, key.encode())
    listed = list(spoiled.source.list())
    assert sorted(each.key for each in listed) == sorted(HOSTILE_KEYS)
    for each in listed:
        with spoiled.source.fetch(each) as fetched:
            assert fetched.body.read() == each.key.encode()
        assert spoiled.source.read_head(each, 1)[0] == each.key.encode()[:1]


def test_hostile_keys_have_links_unless_a_browser_would_change_them(spoiled: Spoiled) -> None:
    for key in HOSTILE_KEYS:
        spoiled.put(key, key.encode())
        if {".", ".."} & set(key.split("/")):
            with pytest.raises(ConfigError, match="no browser can ask for"):
                spoiled.source.sign_link(spoiled.listed(key), 60)
            continue
        link = spoiled.source.sign_link(spoiled.listed(key), 60)
        assert link.isascii()
        assert not re.search(r"[\s<>\"\\#]", link)
        assert http_get(link) == key.encode()


def test_a_link_names_the_version_where_the_store_keeps_versions(spoiled: Spoiled) -> None:
    enabled = {"Status": "Enabled"}
    spoiled.client.put_bucket_versioning(Bucket=spoiled.bucket, VersioningConfiguration=enabled)
    spoiled.put("key", b"first")
    link = spoiled.source.sign_link(spoiled.listed("key"), 60)
    spoiled.put("key", b"second")
    assert "versionId=" in link
    assert http_get(link) == b"first"


def test_without_the_right_to_versions_the_link_names_the_key_alone(spoiled: Spoiled) -> None:
    enabled = {"Status": "Enabled"}
    spoiled.client.put_bucket_versioning(Bucket=spoiled.bucket, VersioningConfiguration=enabled)
    spoiled.put("key", b"first")
    listed = spoiled.listed("key")
    spoiled.source.read_head(listed, 1)
    spoiled.proxy.matches = lambda path: "versionId" in path
    spoiled.proxy.always = s3_error(403, "AccessDenied")
    link = spoiled.source.sign_link(listed, 60)
    assert "versionId" not in link
    assert http_get(link) == b"first"


def test_a_link_carries_no_secret_and_is_not_logged(spoiled: Spoiled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    spoiled.put("key")
    link = spoiled.source.sign_link(spoiled.listed("key"), 300)
    assert spoiled.client._request_signer._credentials.secret_key not in link
    assert "X-Amz-Signature" not in caplog.text


def test_of_a_range_only_its_bytes_are_sent(spoiled: Spoiled) -> None:
    body = bytes(range(256)) * 4096
    spoiled.put("film", body)
    listed = spoiled.listed("film")
    sent: list[int] = []
    spoiled.proxy.always = lambda reply: sent.append(len(reply.body))
    assert spoiled.source.read_range(listed, 300_000, 1000) == body[300_000:301_000]
    assert sent == [1000]


def test_a_store_that_does_not_know_ranges_still_gives_the_right_bytes(spoiled: Spoiled) -> None:
    body = bytes(range(256)) * 4096
    spoiled.put("film", body)
    listed = spoiled.listed("film")
    spoiled.proxy.always = answered(200, body, ETag=f'"{listed.etag}"')
    assert spoiled.source.read_range(listed, 300_001, 1000) == body[300_001:301_001]


def test_a_range_that_breaks_off_is_asked_for_again(spoiled: Spoiled) -> None:
    spoiled.put("film", b"0123456789" * 100)
    listed = spoiled.listed("film")
    spoiled.proxy.spoil(broken_off(3), reset, s3_error(503, "SlowDown"))
    assert spoiled.source.read_range(listed, 10, 10) == b"0123456789"


def test_a_line_break_in_a_key_is_kept(spoiled: Spoiled) -> None:
    spoiled.put("placeholder")  # moto itself refuses such a key
    spoiled.proxy.always = rewritten(lambda body: body.replace(b"placeholder", b"line%0Abreak"))
    assert [listed.key for listed in spoiled.source.list()] == ["line\nbreak"]


def test_a_key_that_is_not_utf8_is_a_config_error(spoiled: Spoiled) -> None:
    spoiled.put("placeholder")
    spoiled.proxy.always = rewritten(lambda body: body.replace(b"placeholder", b"caf%E9"))
    with pytest.raises(ConfigError, match="caf%E9"):
        list(spoiled.source.list())


def test_pain_32_pages_are_streamed_and_the_next_one_is_asked_for_early(
    moto_server: S3Server, faulty_proxy: FaultyProxy, two_pages: str
) -> None:
    source = S3Source(f"s3://{two_pages}", moto_server.session(), faulty_proxy.endpoint)
    listing = source.list()
    first = next(listing)
    assert first.key == "0000"
    deadline = threading.Event()
    for _ in range(100):
        if len(faulty_proxy.paths) == 2:
            break
        deadline.wait(0.05)
    assert len(faulty_proxy.paths) == 2
    assert sum(1 for _ in listing) == 1_000


def test_every_request_carries_the_listed_etag(spoiled: Spoiled) -> None:
    spoiled.put("key")
    listed = spoiled.listed("key")
    spoiled.source.read_head(listed, 2)
    with spoiled.source.fetch(listed):
        pass
    assert [headers["If-Match"] for headers in spoiled.proxy.request_headers] == [f'"{listed.etag}"'] * 2


@pytest.mark.parametrize(
    "fault",
    [
        s3_error(503, "SlowDown"),
        s3_error(500, "InternalError"),
        s3_error(200, "InternalError"),
        s3_error(429, "TooManyRequests"),
        answered(502, b"<html>bad gateway</html>"),
        reset,
        broken_off(after=200),
        rewritten(lambda body: body[:-40]),
    ],
)
def test_a_passing_fault_is_retried_while_listing(spoiled: Spoiled, fault: Any) -> None:
    spoiled.put("key")
    spoiled.proxy.spoil(fault, fault)
    assert [listed.key for listed in spoiled.source.list()] == ["key"]
    assert len(spoiled.proxy.paths) == 3


@pytest.mark.parametrize("fault", [s3_error(503, "SlowDown"), s3_error(200, "InternalError"), reset, broken_off(100)])
def test_a_lasting_fault_is_a_transient_error_after_the_retries(spoiled: Spoiled, fault: Any) -> None:
    spoiled.put("key")
    spoiled.proxy.always = fault
    with pytest.raises(TransientError):
        list(spoiled.source.list())
    assert len(spoiled.proxy.paths) == ATTEMPTS


def test_a_server_that_is_not_there_is_a_transient_error(moto_server: S3Server) -> None:
    source = S3Source("s3://bucket", moto_server.session(), f"http://127.0.0.1:{free_ports(1)[0]}", backoff_s=0.001)
    with pytest.raises(TransientError):
        list(source.list())


@pytest.mark.parametrize(
    "fault", [broken_off(300), reset, s3_error(503, "SlowDown"), rewritten(lambda body: body[: len(body) // 2])]
)
def test_a_listing_that_breaks_off_in_the_middle_leaves_no_snapshot(
    moto_server: S3Server, faulty_proxy: FaultyProxy, two_pages: str, tmp_path: Any, fault: Any
) -> None:
    faulty_proxy.matches = lambda path: "continuation-token" in path
    faulty_proxy.always = fault
    source = S3Source(f"s3://{two_pages}", moto_server.session(), faulty_proxy.endpoint, backoff_s=0.001)
    state = StateStore(str(tmp_path), Places(_env_file=None))
    yielded = []

    def seen(key: str) -> bool:
        yielded.append(key)
        return True

    with pytest.raises(TransientError):
        write_snapshot(state, "snapshots/run.parquet", source.uri, source.list(), seen)
    assert len(yielded) == 1_000  # the first page did come
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def without(element: bytes) -> Callable[[bytes], bytes]:
    return lambda body: re.sub(rb"<" + element + rb">.*?</" + element + rb">", b"", body)


@pytest.mark.parametrize(
    ("rewrite", "says"),
    [
        (without(b"IsTruncated"), "last one"),
        (without(b"NextContinuationToken"), "how to go on"),
        (without(b"ETag"), "without"),
        (without(b"LastModified"), "without"),
        (lambda body: re.sub(rb"<Contents>.*?</Contents>", b"", body, count=1, flags=re.DOTALL), "announces 1000 keys"),
        (lambda body: body.replace(b"ListBucketResult", b"Greeting"), "not a listing"),
    ],
)
def test_an_answer_that_cannot_be_a_complete_listing_is_an_integrity_error(
    moto_server: S3Server, faulty_proxy: FaultyProxy, two_pages: str, rewrite: Any, says: str
) -> None:
    faulty_proxy.always = rewritten(rewrite)
    source = S3Source(f"s3://{two_pages}", moto_server.session(), faulty_proxy.endpoint, backoff_s=0.001)
    with pytest.raises(IntegrityError, match=says):
        list(source.list())


def test_a_listing_that_goes_in_circles_is_an_integrity_error(
    moto_server: S3Server, faulty_proxy: FaultyProxy, two_pages: str
) -> None:
    first_page: list[bytes] = []

    def again(body: bytes) -> bytes:
        first_page.append(body)
        return first_page[0]

    faulty_proxy.always = rewritten(again)
    source = S3Source(f"s3://{two_pages}", moto_server.session(), faulty_proxy.endpoint)
    with pytest.raises(IntegrityError, match="in circles"):
        list(source.list())


def test_a_store_that_ignores_the_prefix_is_an_integrity_error(spoiled: Spoiled) -> None:
    spoiled.put("elsewhere")
    spoiled.put("docs/a")
    source = S3Source(f"s3://{spoiled.bucket}/docs/", boto3.Session("a", "b" * 20), spoiled.proxy.endpoint)
    spoiled.proxy.always = rewritten(lambda body: body.replace(b"docs/a", b"elsewhere"))
    with pytest.raises(IntegrityError, match="not under the prefix"):
        list(source.list())


def test_entities_in_a_page_are_not_expanded(spoiled: Spoiled, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do-not-read")
    spoiled.put("key")
    doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><ListBucketResult'.encode()
    spoiled.proxy.always = rewritten(
        lambda body: body.replace(b"<ListBucketResult", doctype, 1).replace(b"<Key>key", b"<Key>&e;key")
    )
    with pytest.raises(EmbeddingEtlError) as caught:
        list(spoiled.source.list())
    assert "do-not-read" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 400])
def test_a_bucket_in_another_region_is_followed_there(spoiled: Spoiled, status: int) -> None:
    spoiled.put("key")
    spoiled.proxy.spoil(s3_error(status, "AuthorizationHeaderMalformed", x_amz_bucket_region="eu-central-1"))
    assert [listed.key for listed in spoiled.source.list()] == ["key"]
    assert "/eu-central-1/s3/" in spoiled.proxy.request_headers[-1]["Authorization"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "RequestTimeTooSkewed"), (400, "ExpiredToken")],
)
def test_refused_listings_are_config_errors_at_once(spoiled: Spoiled, status: int, code: str) -> None:
    spoiled.proxy.always = s3_error(status, code)
    with pytest.raises(ConfigError, match=f"{spoiled.bucket}.*{code}"):
        list(spoiled.source.list())
    assert len(spoiled.proxy.paths) == 1


def test_a_body_that_breaks_off_is_taken_up_where_it_ended(spoiled: Spoiled) -> None:
    body = bytes(range(256)) * 8192
    spoiled.put("key", body)
    listed = spoiled.listed("key")
    spoiled.proxy.spoil(broken_off(700_000), broken_off(100_000), reset)
    with spoiled.source.fetch(listed) as fetched:
        assert fetched.body.read() == body
    ranges = [headers.get("Range", "") for headers in spoiled.proxy.request_headers]
    assert ranges[0] == ""
    assert all(re.fullmatch(r"bytes=[1-9]\d+-", wanted) for wanted in ranges[1:])


def test_a_store_that_ignores_range_starts_the_body_again(spoiled: Spoiled) -> None:
    body = bytes(range(256)) * 8192
    spoiled.put("key", body)

    def whole(reply: Any) -> None:
        reply.status, reply.body = 200, body
        reply.headers = [("ETag", f'"{listed.etag}"')]

    listed = spoiled.listed("key")
    spoiled.proxy.spoil(broken_off(700_000), whole, whole)
    with spoiled.source.fetch(listed) as fetched:
        assert fetched.body.read() == body
    assert spoiled.source.read_head(listed, 10)[0] == body[:10]


def test_a_body_that_always_breaks_off_is_a_transient_error(spoiled: Spoiled) -> None:
    spoiled.put("key", b"x" * 1000)
    listed = spoiled.listed("key")
    spoiled.proxy.always = broken_off(0)
    with pytest.raises(TransientError), spoiled.source.fetch(listed):
        pass
    with pytest.raises(TransientError):
        spoiled.source.read_head(listed, 10)


def test_a_body_of_another_length_than_listed_is_poison(spoiled: Spoiled) -> None:
    spoiled.put("key", b"x" * 1000)
    listed = spoiled.listed("key")
    for rewrite in (lambda body: body + b"more", lambda body: body[:-1]):
        spoiled.proxy.always = rewritten(rewrite)
        with pytest.raises(PoisonObject, match="1000 bytes") as caught, spoiled.source.fetch(listed):
            pass
        assert caught.value.error_class == "LengthMismatch"


def test_a_store_that_ignores_if_match_is_caught_by_the_etag_it_sends(spoiled: Spoiled) -> None:
    spoiled.put("key", b"x")
    listed = spoiled.listed("key")
    spoiled.proxy.always = answered(200, b"y", ETag='"another"')
    with pytest.raises(ChangedMeanwhile), spoiled.source.fetch(listed):
        pass


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [(403, "AccessDenied", "Forbidden"), (403, "InvalidObjectState", "Archived"), (400, "KMS", "RefusedByStore")],
)
def test_an_object_that_may_not_be_read_is_poison(spoiled: Spoiled, status: int, code: str, error_class: str) -> None:
    spoiled.put("key")
    listed = spoiled.listed("key")
    spoiled.proxy.always = s3_error(status, code)
    with pytest.raises(PoisonObject) as caught, spoiled.source.fetch(listed):
        pass
    assert (caught.value.key, caught.value.error_class) == ("key", error_class)


@pytest.mark.parametrize(
    ("sent", "decoded"),
    [
        ("=?UTF-8?B?w4Rwdm9sbA==?=", "Äpvoll"),
        ("=?utf-8?Q?caf=C3=A9?=", "café"),
        ("Å漢字".encode().decode("latin-1"), "Å漢字"),
        ("caf\xe9", "café"),
        ("=?nonsense", "=?nonsense"),
        ("=?no-such-charset?B?AAAA?=", "=?no-such-charset?B?AAAA?="),
    ],
)
def test_user_metadata_beyond_ascii_is_decoded(spoiled: Spoiled, sent: str, decoded: str) -> None:
    spoiled.put("key")
    listed = spoiled.listed("key")

    def with_metadata(reply: Any) -> None:
        reply.headers.append(("X-Amz-Meta-Title", sent))

    spoiled.proxy.spoil(with_metadata)
    assert spoiled.source.read_head(listed, 4)[1] == {"title": decoded}


def test_credentials_are_refreshed_between_requests(spoiled: Spoiled) -> None:
    number = itertools.count()

    def renew() -> dict[str, str]:
        soon = datetime.now(UTC) + timedelta(minutes=5)  # so near its end that botocore renews before every use
        return {
            "access_key": f"KEY{next(number)}",
            "secret_key": "s" * 20,
            "token": "tok",
            "expiry_time": soon.isoformat(),
        }

    session = boto3.Session(region_name="us-east-1")
    session._session._credentials = RefreshableCredentials.create_from_metadata(renew(), renew, "test")
    source = S3Source(f"s3://{spoiled.bucket}", session, spoiled.proxy.endpoint)
    list(source.list())
    list(source.list())
    sent = [headers["Authorization"] for headers in spoiled.proxy.request_headers]
    assert len({re.findall(r"Credential=(KEY\d+)/", each)[0] for each in sent}) == 2
    assert spoiled.proxy.request_headers[0]["X-Amz-Security-Token"] == "tok"


def test_a_uri_that_is_not_of_s3_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"source\.uri"):
        S3Source("s3:///prefix", boto3.Session())


def test_aws_addresses_follow_the_bucket_name_and_the_region() -> None:
    session = boto3.Session("a", "b" * 20)
    for name, region, address in [
        ("plain", "eu-west-1", "https://plain.s3.eu-west-1.amazonaws.com"),
        ("with.dots", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/with.dots"),
        ("plain", "cn-north-1", "https://plain.s3.cn-north-1.amazonaws.com.cn"),
    ]:
        assert Bucket(name, session, None, region)._find_address() == (address, region)
