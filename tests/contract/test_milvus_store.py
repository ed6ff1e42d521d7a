"""How MilvusStore behaves when Milvus does not: real servers that are killed, hang, refuse and lie."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from grpc import StatusCode
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.types import CollectionSpec, Row
from include.embedding_etl.vectorstore.batches import MAX_BYTES
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.vectorstore.retry import RetryPolicy
from include.embedding_etl.vectorstore.schema import FIELDS, row_id
from include.embedding_etl.vectorstore.validate import MAX_DIMENSION
from tests.fixtures_milvus import MilvusLiteServer, fresh_name, plain_client
from tests.grpc_proxy import GrpcProxy, delayed, grpc_proxy, refused, reply_lost, rewritten
from tests.ports import free_port

QUICK = RetryPolicy(window_s=2.0, first_wait_s=0.05, longest_wait_s=0.2, quota_wait_s=0.3)
PATIENT = replace(QUICK, window_s=30.0)
SECRET = "user:s3cr3t-t0ken"


def spec(name: str = "") -> CollectionSpec:
    return CollectionSpec(name or fresh_name(), 2, "HNSW", "COSINE", {}, {"pipeline": "demo"})


def row(number: int, text: str = "", version: str = "v1") -> Row:
    vector = np.array([np.cos(number), np.sin(number)], np.float32)
    key = f"key-{number}"
    identity = row_id("demo", "text", key, 0)
    return Row(identity, vector, key, version, "a" * 64, "text/plain", 0, 0, 1, text, 1, 0, "run", {})


def ids(rows: list[Row]) -> list[str]:
    return [each.id for each in rows]


@pytest.fixture
def proxy(milvus_lite_server: MilvusLiteServer) -> Iterator[GrpcProxy]:
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}") as proxy:
        yield proxy


@pytest.fixture
def store(proxy: GrpcProxy) -> Iterator[MilvusStore]:
    store = MilvusStore(proxy.uri, retry=QUICK)
    yield store
    store.close()


@pytest.fixture
def name(store: MilvusStore) -> str:
    created = spec()
    store.create_collection(created)
    return created.name


# Dead, slow and reborn servers


def test_pain_31_a_dead_server_is_a_transient_error_in_bounded_time() -> None:
    store = MilvusStore(f"http://127.0.0.1:{free_port()}", retry=QUICK)
    started_s = time.monotonic()
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:\d+: count|describe") as raised:
        store.upsert(fresh_name(), [row(1)])
    assert type(raised.value) is TransientError
    assert 1.0 < time.monotonic() - started_s < 30.0  # it did try again, and it did stop


def test_pain_31_a_server_that_dies_under_a_connection_is_a_transient_error(
    milvus_lite_factory: Callable[[], MilvusLiteServer],
) -> None:
    server = milvus_lite_factory()
    server.start()
    store = MilvusStore(server.uri, retry=QUICK)
    created = spec()
    store.create_collection(created)
    server.kill()
    started_s = time.monotonic()
    for call in (lambda: store.upsert(created.name, [row(1)]), lambda: store.count(created.name)):
        with pytest.raises(TransientError):
            call()
    assert time.monotonic() - started_s < 60.0
    store.close()


def test_pain_31_a_server_that_comes_back_in_time_goes_unnoticed_and_its_collections_are_loaded_again(
    milvus_lite_factory: Callable[[], MilvusLiteServer],
) -> None:
    server = milvus_lite_factory()
    server.start()
    store = MilvusStore(server.uri, retry=PATIENT)
    created = spec()
    store.create_collection(created)
    store.upsert(created.name, [row(1)])
    server.kill()
    reborn = threading.Timer(0.5, server.launch)
    reborn.start()
    store.upsert(created.name, [row(2)])
    assert store.read_versions(created.name, ids([row(1), row(2)])) == {row(1).id: "v1", row(2).id: "v1"}
    assert len(store.search(created.name, row(1).vector[None], 5)[0]) == 2
    reborn.join()
    store.close()


def test_a_first_connection_waits_for_a_server_that_is_still_starting(
    milvus_lite_factory: Callable[[], MilvusLiteServer],
) -> None:
    server = milvus_lite_factory()
    store = MilvusStore(server.uri, retry=PATIENT)
    server.launch()
    assert store.list_collections() == []
    store.close()


def test_no_acknowledged_row_is_lost_when_the_server_is_killed_while_it_writes(
    milvus_lite_factory: Callable[[], MilvusLiteServer],
) -> None:
    server = milvus_lite_factory()
    server.start()
    writer = MilvusStore(server.uri, retry=replace(QUICK, window_s=0.2))
    created = spec()
    writer.create_collection(created)
    acknowledged: list[Row] = []
    killer = threading.Timer(0.7, server.kill)
    killer.start()

    def write(first: int) -> None:
        batch = [row(number, version=f"v{first}") for number in range(first, first + 50)]
        writer.upsert(created.name, batch)
        acknowledged.extend(batch)

    with pytest.raises(TransientError):
        deque(map(write, range(0, 1_000_000, 50)), maxlen=0)
    killer.join()
    writer.close()
    assert acknowledged
    server.start()
    reader = MilvusStore(server.uri, retry=QUICK)
    found = {
        each["id"]: each["object_version"] for page in reader.iterate(created.name, ["object_version"]) for each in page
    }
    assert {each.id: each.object_version for each in acknowledged}.items() <= found.items()
    assert reader.count(created.name) == len(found)
    reader.close()


def test_a_server_that_hangs_is_a_transient_error_in_bounded_time(proxy: GrpcProxy, name: str) -> None:
    store = MilvusStore(proxy.uri, timeout_s=0.5, retry=replace(QUICK, window_s=1.5))
    assert store.count(name) == 0
    proxy.spoil("Upsert", *[delayed(2.0)] * 10)
    started_s = time.monotonic()
    with pytest.raises(TransientError, match="DEADLINE_EXCEEDED"):
        store.upsert(name, [row(1)])
    assert time.monotonic() - started_s < 18.0  # ten replies of two seconds: it did not wait for all
    assert proxy.calls("Upsert") >= 2
    store.close()


# Refusals that pass, and those that do not


@pytest.mark.parametrize(
    "status", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED, StatusCode.INTERNAL]
)
def test_a_call_that_failed_for_the_moment_is_tried_again(
    proxy: GrpcProxy, store: MilvusStore, name: str, status: StatusCode
) -> None:
    proxy.spoil("Upsert", refused(status), refused(status))
    store.upsert(name, [row(1)])
    assert store.count(name) == 1
    assert proxy.calls("Upsert") == 3


@pytest.mark.parametrize(
    ("code", "retriable"), [(2, False), (8, False), (9, False), (503, True)], ids=["down", "rate", "quota", "flagged"]
)
def test_a_code_that_says_later_is_tried_again(proxy: GrpcProxy, name: str, code: int, retriable: bool) -> None:
    proxy.spoil("Upsert", _answering(code, "try later", retriable))
    store = MilvusStore(proxy.uri, retry=replace(PATIENT, quota_wait_s=3.0 if code == 9 else 29.0))
    started_s = time.monotonic()
    store.upsert(name, [row(1)])
    assert proxy.calls("Upsert") == 2
    assert (3.0 if code == 9 else 0.0) <= time.monotonic() - started_s < 29.0
    store.close()


@pytest.mark.parametrize("code", [1, 6, 1100, 65535])
def test_a_request_that_would_fail_again_is_not_repeated(
    proxy: GrpcProxy, store: MilvusStore, name: str, code: int
) -> None:
    proxy.spoil("Upsert", *[_answering(code, "bad request", retriable=False)] * 5)
    with pytest.raises(IntegrityError, match="bad request"):
        store.upsert(name, [row(1)])
    assert proxy.calls("Upsert") == 1


def test_an_input_error_is_final_whatever_else_the_server_says(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    def change(reply: milvus_pb2.MutationResult) -> None:
        reply.status.code, reply.status.reason, reply.status.retriable = 1100, "bad input", True
        reply.status.extra_info["is_input_error"] = "true"

    proxy.spoil("Upsert", rewritten(milvus_pb2.MutationResult, change))
    with pytest.raises(IntegrityError, match="bad input"):
        store.upsert(name, [row(1)])
    assert proxy.calls("Upsert") == 1


def _answering(code: int, reason: str, retriable: bool) -> Callable[..., bytes]:
    def change(reply: milvus_pb2.MutationResult) -> None:
        reply.Clear()
        reply.status.CopyFrom(common_pb2.Status(code=code, error_code=1, reason=reason, retriable=retriable))

    return rewritten(milvus_pb2.MutationResult, change)


def test_a_collection_that_somebody_released_is_loaded_again(
    milvus_lite_uri: str, store: MilvusStore, name: str
) -> None:
    store.upsert(name, [row(1)])
    other = plain_client(milvus_lite_uri)
    for call in (
        lambda: store.read_versions(name, [row(1).id]),
        lambda: store.search(name, row(1).vector[None], 1),
        lambda: list(store.iterate(name, [])),
    ):
        other.release_collection(name)
        assert call()
    other.close()


# Replies that are lost, and replies that are wrong


def test_pain_02_rows_that_milvus_did_not_write_are_noticed(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    def change(reply: milvus_pb2.MutationResult) -> None:
        reply.upsert_cnt = 2

    proxy.spoil("Upsert", rewritten(milvus_pb2.MutationResult, change))
    with pytest.raises(IntegrityError, match="wrote 2 of 3 rows"):
        store.upsert(name, [row(1), row(2), row(3)])


def test_a_lost_reply_is_asked_for_again(proxy: GrpcProxy, store: MilvusStore) -> None:
    created, alias = spec(), fresh_name("alias")
    for method in ("CreateCollection", "CreateIndex", "Upsert", "Delete", "CreateAlias", "DropCollection"):
        proxy.spoil(method, reply_lost)
    store.create_collection(created)
    store.upsert(created.name, [row(1), row(2)])
    store.delete(created.name, [row(1).id])
    store.point_alias(alias, created.name)
    assert store.count(created.name) == 1
    other = spec()
    store.create_collection(other)
    store.point_alias(alias, other.name)
    store.drop_collection(created.name)
    assert not store.has_collection(created.name)


def test_a_creation_that_was_cut_off_is_completed(proxy: GrpcProxy, store: MilvusStore, milvus_lite_uri: str) -> None:
    created = spec()
    proxy.spoil("CreateIndex", *[refused(StatusCode.UNIMPLEMENTED)] * 5)
    with pytest.raises(ConfigError):
        store.create_collection(created)
    proxy.faults["CreateIndex"].clear()
    store.create_collection(created)
    client = plain_client(milvus_lite_uri)
    assert client.describe_index(created.name, "vector")["index_type"] == "HNSW"
    client.close()


def test_pain_27_an_alias_that_points_elsewhere_after_the_switch_is_noticed(
    proxy: GrpcProxy, store: MilvusStore, name: str
) -> None:
    alias, other = fresh_name("alias"), spec()
    store.create_collection(other)
    store.point_alias(alias, name)

    def change(reply: milvus_pb2.DescribeAliasResponse) -> None:
        reply.collection = name

    proxy.spoil("DescribeAlias", *[rewritten(milvus_pb2.DescribeAliasResponse, change)] * 3)
    with pytest.raises(IntegrityError, match=f"points at {name} after it was pointed at {other.name}"):
        store.point_alias(alias, other.name)


def test_an_alias_that_somebody_else_just_created_is_switched(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    alias, other = fresh_name("alias"), spec()
    store.create_collection(other)
    store.point_alias(alias, other.name)

    def change(reply: milvus_pb2.DescribeAliasResponse) -> None:
        reply.Clear()
        reply.status.CopyFrom(common_pb2.Status(code=100, error_code=4, reason="alias does not exist"))

    proxy.spoil("DescribeAlias", rewritten(milvus_pb2.DescribeAliasResponse, change))
    store.point_alias(alias, name)
    assert store.alias_target(alias) == name


# Sizes


def test_pain_26_batches_are_cut_by_bytes_before_they_are_sent(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    rows = [row(number, text="x" * 60_000) for number in range(600)]
    store.upsert(name, rows)
    assert store.count(name) == 600
    assert proxy.calls("Upsert") == 3
    assert max(proxy.sizes["Upsert"]) <= MAX_BYTES


def test_pain_26_a_batch_that_a_server_refuses_is_split_until_it_fits(milvus_lite_server: MilvusLiteServer) -> None:
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}", max_request_bytes=1 << 20) as proxy:
        store = MilvusStore(proxy.uri, retry=QUICK)
        created = spec()
        store.create_collection(created)
        rows = [row(number, text="x" * 60_000) for number in range(50)]
        store.upsert(created.name, rows)
        assert store.read_versions(created.name, ids(rows)) == dict.fromkeys(ids(rows), "v1")
        store.close()


def test_pain_26_a_single_row_that_does_not_fit_is_named(milvus_lite_server: MilvusLiteServer) -> None:
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}", max_request_bytes=20_000) as proxy:
        store = MilvusStore(proxy.uri, retry=QUICK)
        created = spec()
        store.create_collection(created)
        with pytest.raises(IntegrityError, match=r"'key-2', chunk 0: .*larger than max"):
            store.upsert(created.name, [row(1), row(2, text="x" * 60_000), row(3)])
        store.close()


def _too_large(reply: milvus_pb2.QueryResults) -> None:
    reply.Clear()
    reply.status.CopyFrom(common_pb2.Status(code=65535, error_code=1, reason="query results exceed the maxOutputSize"))


def test_a_page_that_a_server_refuses_is_read_in_parts(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    rows = [row(number) for number in range(100)]
    store.upsert(name, rows)
    too_large = rewritten(milvus_pb2.QueryResults, _too_large)
    pages = store.iterate(name, ["object_key"])
    proxy.spoil("Query", lambda context, forward: forward(), too_large, too_large)  # the first one counts
    found = [list(page) for page in pages]
    assert [each["id"] for page in found for each in page] == sorted(ids(rows))
    assert len(found) == 3


def test_rows_by_id_that_a_server_refuses_are_read_in_parts(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    rows = [row(number) for number in range(9)]
    store.upsert(name, rows)
    proxy.spoil("Query", *[rewritten(milvus_pb2.QueryResults, _too_large)] * 2)
    assert store.fetch(name, ids(rows), ["text"]) == {each.id: {"id": each.id, "text": ""} for each in rows}
    assert proxy.calls("Query") == 5  # 9, 4, then 2, 2 and 5


def test_a_single_row_that_a_server_refuses_is_named(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    store.upsert(name, [row(1), row(2)])
    proxy.spoil("Query", *[rewritten(milvus_pb2.QueryResults, _too_large)] * 5)
    with pytest.raises(IntegrityError, match=f"row {row(1).id}: .*maxOutputSize"):
        store.fetch(name, [row(1).id, row(2).id], ["text"])
    assert proxy.calls("Query") == 2


def test_wide_rows_are_fetched_in_calls_of_less_than_64_megabytes(
    proxy: GrpcProxy, store: MilvusStore, name: str
) -> None:
    asked = [row_id("demo", "text", str(number), 0) for number in range(1_000)]
    largest = sum(field.max_bytes for field in FIELDS) + 4 * MAX_DIMENSION
    for field in ("text", "meta", "vector"):
        store.fetch(name, asked, ["object_key", field])
        calls = proxy.calls("Query")
        assert calls == 5
        assert largest * len(asked) / calls < 64 << 20
        proxy.sizes["Query"].clear()
    store.fetch(name, asked, ["object_key"])
    assert proxy.calls("Query") == 1


# The index


def test_an_index_is_built_with_its_own_parameters(store: MilvusStore, milvus_lite_uri: str) -> None:
    created = replace(spec(), index_type="IVF_FLAT", index_params={"nlist": 7})
    store.create_collection(created)
    client = plain_client(milvus_lite_uri)
    assert client.describe_index(created.name, "vector")["params"] == {"nlist": 7}
    client.close()


def test_an_index_is_loaded_when_all_rows_are_in_it(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    def change(reply: milvus_pb2.DescribeIndexResponse) -> None:
        reply.index_descriptions[0].pending_index_rows = 3  # and yet says "finished", as a server does

    store.upsert(name, [row(1)])
    proxy.sizes["DescribeIndex"].clear()
    proxy.spoil("DescribeIndex", *[rewritten(milvus_pb2.DescribeIndexResponse, change)] * 2)
    store.load_index(name)
    assert proxy.calls("DescribeIndex") == 3
    assert proxy.calls("ReleaseCollection") == 1


def test_an_index_that_is_not_built_in_time_is_a_transient_error(proxy: GrpcProxy, name: str) -> None:
    def change(reply: milvus_pb2.DescribeIndexResponse) -> None:
        reply.index_descriptions[0].pending_index_rows = 3

    proxy.spoil("DescribeIndex", *[rewritten(milvus_pb2.DescribeIndexResponse, change)] * 100)
    store = MilvusStore(proxy.uri, timeout_s=0.3, retry=QUICK)
    with pytest.raises(TransientError, match="3 of 0 rows are not in the index yet"):
        store.load_index(name)
    assert proxy.calls("ReleaseCollection") == 0
    store.close()


def test_search_parameters_reach_the_server(proxy: GrpcProxy, store: MilvusStore, name: str) -> None:
    store.upsert(name, [row(1)])
    store.search(name, row(1).vector[None], 1)
    store.search(name, row(1).vector[None], 1, params={"ef": 123})
    without, given = proxy.sizes["Search"]
    assert given - without == len('"ef":123')


# Addresses, names and secrets


@pytest.mark.parametrize("uri", ["milvus.db", "ftp://host:1", "localhost:19530", "http://", ""])
def test_an_address_that_is_none_is_a_config_error(uri: str) -> None:
    with pytest.raises(ConfigError, match="http://host:port"):
        MilvusStore(uri)


def test_an_unknown_database_is_a_config_error_at_once(proxy: GrpcProxy) -> None:
    store = MilvusStore(proxy.uri, database="nowhere", retry=PATIENT)
    with pytest.raises(ConfigError, match="nowhere"):
        store.list_collections()
    store.close()


@pytest.mark.parametrize("status", [StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED])
def test_a_connection_that_is_not_let_in_is_a_config_error_at_once(proxy: GrpcProxy, status: StatusCode) -> None:
    proxy.spoil("Connect", *[refused(status, "go away")] * 5)
    store = MilvusStore(proxy.uri, token=SECRET, retry=PATIENT)
    with pytest.raises(ConfigError, match="go away"):
        store.list_collections()
    assert proxy.calls("Connect") == 1


@pytest.mark.milvus_server
def test_a_wrong_token_or_database_is_a_config_error_at_once(milvus_server_uri: str) -> None:
    from tests.milvus_server import TOKEN

    for token, database in ((SECRET, "default"), ("", "default"), (TOKEN, "nowhere")):
        store = MilvusStore(milvus_server_uri, token=token, database=database, retry=PATIENT)
        with pytest.raises(ConfigError):
            store.list_collections()
        store.close()


@pytest.mark.milvus_server
def test_an_old_server_is_warned_about(milvus_server_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    from tests.milvus_server import TOKEN

    store = MilvusStore(milvus_server_uri, token=TOKEN)
    assert "2.3.5" in store.server_version()
    assert "known security holes" in caplog.text
    store.close()


def test_neither_logs_nor_errors_carry_the_token(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with caplog.at_level(logging.DEBUG):
        for uri, token in ((f"http://127.0.0.1:{port}", SECRET), (f"http://{SECRET}@127.0.0.1:{port}", "")):
            with pytest.raises(TransientError) as raised:
                MilvusStore(uri, token=token, retry=replace(QUICK, window_s=0.3)).list_collections()
            assert "s3cr3t" not in repr(raised.getrepr(chain=True))
            assert f"127.0.0.1:{port}" in str(raised.value)
    assert "trying again" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_question_that_is_answered_with_no_leaves_no_traceback_in_the_log(
    store: MilvusStore, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not store.has_collection(fresh_name())
    assert store.alias_target(fresh_name()) is None
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_a_closed_store_connects_again(store: MilvusStore, name: str) -> None:
    store.close()
    assert store.count(name) == 0
