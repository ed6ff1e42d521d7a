"""The Milvus provider's hook, operators and sensor on real servers."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.runtime import _connect
from include.embedding_etl.steps.connections import milvus_address
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.milvus_provider.exceptions import MilvusVerificationError
from include.milvus_provider.hooks.milvus import MilvusHook
from include.milvus_provider.operators.milvus import (
    MilvusBaseOperator,
    MilvusCreateCollectionOperator,
    MilvusDeleteOperator,
    MilvusSearchOperator,
    MilvusSwitchAliasOperator,
    MilvusUpsertOperator,
)
from include.milvus_provider.sensors.milvus import MilvusCollectionSensor
from tests.certificates import Certificates, make_certificates
from tests.fixtures_milvus import MilvusLiteServer, fresh_name
from tests.grpc_proxy import grpc_proxy
from tests.milvus_server import TOKEN
from tests.ports import free_port

Connect = Callable[..., MilvusHook]
FIELDS = [
    {"field_name": "id", "datatype": "VARCHAR", "is_primary": True, "max_length": 64},
    {"field_name": "vector", "datatype": "FLOAT_VECTOR", "dim": 2},
    {"field_name": "source", "datatype": "VARCHAR", "max_length": 64},
]
HNSW = {"M": 16, "efConstruction": 64}
INDEX = [{"field_name": "vector", "index_type": "HNSW", "metric_type": "COSINE", "params": HNSW}]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Defines the connection `milvus_default` and gives a hook of it."""
    hooks: list[MilvusHook] = []

    def make(host: str, **fields: Any) -> MilvusHook:
        value = json.dumps({"conn_type": "milvus", "host": host, **fields})
        monkeypatch.setenv("AIRFLOW_CONN_MILVUS_DEFAULT", value)
        hooks.append(MilvusHook())
        return hooks[-1]

    yield make
    for hook in hooks:
        hook.close()


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def hook(connect: Connect, request: pytest.FixtureRequest) -> MilvusHook:
    return connect(request.getfixturevalue(f"milvus_{request.param}_uri"), extra={"token": TOKEN})


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def run(operator: MilvusBaseOperator) -> Any:
    return operator.execute({})


def create(name: str = "") -> str:
    name = name or fresh_name()
    operator = MilvusCreateCollectionOperator(task_id="create", collection_name=name, fields=FIELDS, index_params=INDEX)
    assert run(operator) is True
    return name


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"row {n}", "vector": [1.0, float(n)], "source": f"{n % 2}.txt"} for n in range(count)]


def upsert(name: str, data: list[dict[str, Any]], **more: Any) -> int:
    return int(run(MilvusUpsertOperator(task_id="upsert", collection_name=name, data=data, **more)))


# The Test button


def test_the_test_says_what_it_found(hook: MilvusHook) -> None:
    succeeded, message = hook.test_connection()
    assert succeeded
    assert "Connected to Milvus" in message
    assert "in database 'default'" in message


def test_the_test_says_that_nothing_listens(connect: Connect) -> None:
    port = free_port()
    succeeded, message = connect(f"http://127.0.0.1:{port}").test_connection()
    assert not succeeded
    assert message.startswith(f"Nothing listens on 127.0.0.1:{port}")


def test_the_test_says_that_the_host_is_unknown(connect: Connect) -> None:
    succeeded, message = connect("no-such-host.invalid").test_connection()
    assert not succeeded
    assert message.startswith("There is no host 'no-such-host.invalid'")


def test_the_test_says_that_it_is_not_milvus(connect: Connect) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        succeeded, message = connect("127.0.0.1", port=server.server_port).test_connection()
        server.shutdown()
    assert not succeeded
    assert "listens, but does not answer like Milvus: correct the port (usually 19530" in message


def test_the_test_does_not_wait_long_for_a_server_that_says_nothing(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        succeeded, message = connect("127.0.0.1", port=silent.getsockname()[1]).test_connection()
    assert not succeeded
    assert "does not answer like Milvus" in message


def test_the_test_says_that_the_database_is_missing(connect: Connect, milvus_lite_uri: str) -> None:
    succeeded, message = connect(milvus_lite_uri, schema="nope").test_connection()
    assert not succeeded
    assert "has no database 'nope': correct the database, or create it" in message


def test_the_test_says_which_field_is_wrong(connect: Connect) -> None:
    assert connect("http://m:1", port=2).test_connection() == (
        False,
        "host says port 1, port says 2: leave one of them empty.",
    )


def test_the_test_says_that_tls_is_not_spoken(connect: Connect, milvus_lite_uri: str) -> None:
    succeeded, message = connect(milvus_lite_uri.replace("http:", "https:")).test_connection()
    assert not succeeded
    assert "TLS failed: switch TLS off if this Milvus does not use it" in message


@pytest.mark.milvus_server
def test_the_test_says_that_the_login_is_wrong(connect: Connect, milvus_server_uri: str) -> None:
    user, _, password = TOKEN.partition(":")
    for way_in in ({"login": user, "password": password}, {"extra": {"token": TOKEN}}):
        assert connect(milvus_server_uri, **way_in).test_connection()[0]
    for wrong in ({"login": user, "password": "wr0ng-password"}, {"extra": {"token": "wr0ng-password"}}):
        succeeded, message = connect(milvus_server_uri, **wrong).test_connection()
        assert not succeeded
        assert "refused the login: user, password or token is wrong" in message
        assert "wr0ng-password" not in message
    succeeded, message = connect(milvus_server_uri).test_connection()
    assert not succeeded
    assert "asks for a login: fill in user and password, or the token" in message


@pytest.mark.milvus_server
def test_a_server_says_that_the_database_is_missing(connect: Connect, milvus_server_uri: str) -> None:
    succeeded, message = connect(milvus_server_uri, schema="nope", extra={"token": TOKEN}).test_connection()
    assert not succeeded
    assert "has no database 'nope'" in message


# TLS


def test_a_connection_over_tls_trusts_the_ca_certificate_that_it_names(
    connect: Connect, milvus_lite_server: MilvusLiteServer, certificates: Certificates
) -> None:
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}", credentials=certificates.server()) as proxy:
        trusting = {"secure": True, "ca_pem_path": str(certificates.ca), "server_name": "milvus.example"}
        hook = connect("127.0.0.1", port=proxy.port, extra=trusting)
        assert hook.test_connection()[0]
        store = _connect(milvus_address("milvus_default"))  # as a task of ours does it
        assert store.alias_target(fresh_name()) is None
        store.close()
        distrusting = connect("127.0.0.1", port=proxy.port, extra={"secure": True, "server_name": "milvus.example"})
        assert "correct the CA certificate or the server name" in distrusting.test_connection()[1]


def test_a_server_that_asks_for_a_client_certificate_gets_it(
    connect: Connect, milvus_lite_server: MilvusLiteServer, certificates: Certificates
) -> None:
    mutual = {
        "ca_pem_path": str(certificates.ca),
        "client_pem_path": str(certificates.certificate),
        "client_key_path": str(certificates.key),
        "server_name": "milvus.example",
    }
    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}", credentials=certificates.mutual_server()) as proxy:
        uri = f"https://127.0.0.1:{proxy.port}"
        assert connect(uri, extra=mutual).test_connection()[0]
        without = {"ca_pem_path": mutual["ca_pem_path"], "server_name": "milvus.example"}
        assert not connect(uri, extra=without).test_connection()[0]


def test_a_certificate_that_cannot_be_read_is_named(connect: Connect, milvus_lite_uri: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere.pem")
    hook = connect(milvus_lite_uri.replace("http:", "https:"), extra={"ca_pem_path": missing})
    succeeded, message = hook.test_connection()
    assert not succeeded
    assert message.startswith(f"{missing} cannot be read")
    address = milvus_address("milvus_default")
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        MilvusStore(address.uri, tls=address.tls).alias_target("any")


# Hook


def test_the_client_is_kept_until_it_is_closed(hook: MilvusHook) -> None:
    client = hook.get_conn()
    assert isinstance(client, MilvusClient)
    assert hook.conn is client
    hook.close()
    assert hook.get_conn() is not client
    assert hook.conn.list_databases() == ["default"]


# Operators


def test_a_collection_is_created_once(hook: MilvusHook) -> None:
    name = create()
    again = MilvusCreateCollectionOperator(task_id="again", collection_name=name, fields=FIELDS, index_params=INDEX)
    assert run(again) is False
    assert hook.primary_field(name) == "id"
    assert hook.conn.describe_index(name, "vector")["index_type"] == "HNSW"


def test_a_collection_with_other_fields_is_not_taken_for_the_one_asked_for(hook: MilvusHook) -> None:
    name = create()
    for other in ({"dimension": 3}, {"fields": [FIELDS[0], {**FIELDS[1], "dim": 3}, FIELDS[2]]}):
        with pytest.raises(MilvusVerificationError, match=name):
            run(MilvusCreateCollectionOperator(task_id="other", collection_name=name, **other))


def test_what_a_creation_that_was_cut_off_left_out_is_done(hook: MilvusHook) -> None:
    name = fresh_name()
    run(MilvusCreateCollectionOperator(task_id="cut_off", collection_name=name, fields=FIELDS))
    assert not hook.conn.list_indexes(name)
    again = MilvusCreateCollectionOperator(task_id="again", collection_name=name, fields=FIELDS, index_params=INDEX)
    assert run(again) is False
    assert hook.conn.list_indexes(name)
    assert hook.conn.get_load_state(name)["state"].name == "Loaded"


def test_the_simple_form_needs_a_dimension_only(hook: MilvusHook) -> None:
    name = fresh_name()
    simple = MilvusCreateCollectionOperator(task_id="simple", collection_name=name, dimension=2)
    assert run(simple) is True
    assert upsert(name, [{"id": 1, "vector": [1.0, 0.0], "anything": "goes"}]) == 1
    assert hook.count(name, 'anything == "goes"') == 1


@pytest.mark.parametrize("arguments", [{}, {"dimension": 2, "fields": FIELDS}])
def test_dimension_or_fields(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either dimension or fields"):
        MilvusCreateCollectionOperator(task_id="create", collection_name="c", **arguments)


def test_rows_are_upserted_batch_by_batch_and_counted(hook: MilvusHook) -> None:
    name = create()
    assert upsert(name, rows(7), batch_size=3) == 7
    assert hook.count(name) == 7
    assert upsert(name, [{**rows(1)[0], "source": "new.txt"}]) == 1
    assert (hook.count(name), hook.count(name, 'source == "new.txt"')) == (7, 1)


@pytest.mark.parametrize("key", ['a "quoted" key', "it's", "back\\slash", "ünï", "x'] or id in ['other"])
def test_rows_are_found_again_whatever_their_key(hook: MilvusHook, key: str) -> None:
    name = create()
    assert upsert(name, [{**rows(1)[0], "id": key}, {**rows(1)[0], "id": "other"}]) == 2
    assert hook.existing_ids(name, [key, "missing"]) == {key}
    assert run(MilvusDeleteOperator(task_id="delete", collection_name=name, ids=[key, "missing"])) == 1
    assert hook.existing_ids(name, [key, "other"]) == {"other"}


def test_rows_that_repeat_a_key_are_refused_before_anything_is_written(hook: MilvusHook) -> None:
    name = create()
    with pytest.raises(ValueError, match="1 of 3 rows repeat a primary key"):
        upsert(name, [*rows(2), rows(1)[0]])
    assert hook.count(name) == 0


def test_rows_are_deleted_by_filter(hook: MilvusHook) -> None:
    name = create()
    upsert(name, rows(5))
    assert run(MilvusDeleteOperator(task_id="delete", collection_name=name, filter='source == "0.txt"')) == 3
    assert hook.existing_ids(name, [row["id"] for row in rows(5)]) == {"row 1", "row 3"}
    assert run(MilvusDeleteOperator(task_id="delete", collection_name=name, filter='source == "0.txt"')) == 0


@pytest.mark.parametrize("expression", ["", "  "])
def test_an_empty_filter_deletes_nothing(hook: MilvusHook, expression: str) -> None:
    name = create()
    upsert(name, rows(2))
    with pytest.raises(ValueError, match="it would delete every row"):
        run(MilvusDeleteOperator(task_id="delete", collection_name=name, filter=expression))
    assert hook.count(name) == 2


@pytest.mark.parametrize("arguments", [{}, {"ids": ["a"], "filter": 'id == "a"'}])
def test_ids_or_filter(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either ids or filter"):
        MilvusDeleteOperator(task_id="delete", collection_name="c", **arguments)


def test_what_milvus_acknowledges_and_does_not_do_fails(connect: Connect, milvus_lite_server: MilvusLiteServer) -> None:
    connect(milvus_lite_server.uri)
    name = create()
    upsert(name, rows(2))

    def done(context: grpc.ServicerContext, forward: Callable[[], bytes]) -> bytes:
        return bytes(milvus_pb2.MutationResult().SerializeToString())

    with grpc_proxy(f"127.0.0.1:{milvus_lite_server.port}") as proxy:
        connect(proxy.uri)
        proxy.spoil("Upsert", done)
        with pytest.raises(MilvusVerificationError, match=r"1 of 3 rows are not in .* such as 'row 2'"):
            upsert(name, rows(3))
        for how in ({"ids": ["row 0"]}, {"filter": 'id == "row 0"'}):
            proxy.spoil("Delete", done)
            with pytest.raises(MilvusVerificationError, match="still there after their deletion: 1"):
                run(MilvusDeleteOperator(task_id="delete", collection_name=name, **how))
        proxy.spoil("CreateAlias", lambda context, forward: b"")
        with pytest.raises(MilvusVerificationError, match="points at None"):
            run(MilvusSwitchAliasOperator(task_id="switch", collection_name=name, alias=fresh_name("alias")))


def test_an_alias_is_created_and_switched(hook: MilvusHook) -> None:
    old, new, alias = create(), create(), fresh_name("alias")
    assert hook.alias_target(alias) is None
    assert run(MilvusSwitchAliasOperator(task_id="switch", collection_name=old, alias=alias)) is None
    assert run(MilvusSwitchAliasOperator(task_id="switch", collection_name=new, alias=alias)) == old
    assert run(MilvusSwitchAliasOperator(task_id="switch", collection_name=new, alias=alias)) == new
    assert hook.alias_target(alias) == new
    with pytest.raises(ValueError, match="give the real name"):
        run(MilvusSwitchAliasOperator(task_id="switch", collection_name=alias, alias=fresh_name("alias")))


def test_the_nearest_rows_are_found_and_fit_into_xcom(hook: MilvusHook) -> None:
    name = create()
    upsert(name, rows(4))
    search = MilvusSearchOperator(
        task_id="search",
        collection_name=name,
        data=[[1.0, 3.0], [1.0, 0.0]],
        limit=2,
        filter='source == "1.txt"',
        output_fields=["source"],
    )
    found = run(search)
    assert [[hit["id"] for hit in hits] for hits in found] == [["row 3", "row 1"], ["row 1", "row 3"]]
    assert found[0][0]["entity"] == {"source": "1.txt"}
    assert json.loads(json.dumps(found)) == found


# Sensor


def test_the_sensor_waits_for_collection_and_rows(hook: MilvusHook) -> None:
    name = fresh_name()
    exists = MilvusCollectionSensor(task_id="exists", collection_name=name)
    filled = MilvusCollectionSensor(task_id="filled", collection_name=name, min_rows=2, filter='source == "0.txt"')
    assert (exists.poke({}), filled.poke({})) == (False, False)
    create(name)
    assert (exists.poke({}), filled.poke({})) == (True, False)
    upsert(name, rows(2))
    assert filled.poke({}) is False
    upsert(name, rows(3))
    assert filled.poke({}) is True


def test_the_sensor_looks_through_an_alias(hook: MilvusHook) -> None:
    name, alias = create(), fresh_name("alias")
    sensor = MilvusCollectionSensor(task_id="wait", collection_name=alias, min_rows=1)
    assert sensor.poke({}) is False
    run(MilvusSwitchAliasOperator(task_id="switch", collection_name=name, alias=alias))
    upsert(alias, rows(1))
    assert sensor.poke({}) is True
