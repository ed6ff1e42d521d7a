"""What the fields of a Milvus connection mean, for the provider and for our own DAGs alike."""

import json
from typing import Any

import pytest
from airflow.models.connection import Connection as CoreConnection
from airflow.sdk import Connection

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.steps.connections import milvus_address_of
from include.milvus_provider.connection import InvalidMilvusConnection, read_connection


def connection(extra: dict[str, Any] | None = None, **fields: Any) -> Connection:
    return Connection(conn_id="m", conn_type="milvus", extra=json.dumps(extra) if extra else None, **fields)


@pytest.mark.parametrize(
    ("fields", "extra", "uri"),
    [
        ({"host": "http://milvus:19531"}, {}, "http://milvus:19531"),
        ({"host": "milvus"}, {}, "http://milvus:19530"),
        ({"host": " milvus:19531 "}, {}, "http://milvus:19531"),
        ({"host": "milvus", "port": 19531}, {}, "http://milvus:19531"),
        ({"host": "http://milvus", "port": 19531}, {}, "http://milvus:19531"),
        ({"host": "http://milvus"}, {}, "http://milvus:19530"),
        ({"host": "[::1]:19530"}, {}, "http://[::1]:19530"),
        ({"host": "milvus"}, {"secure": True}, "https://milvus:19530"),
        ({"host": "milvus"}, {"secure": "true"}, "https://milvus:19530"),
        ({"host": "milvus"}, {"secure": "false"}, "http://milvus:19530"),
        ({"host": "https://in03.cloud.example"}, {"secure": False}, "https://in03.cloud.example"),
    ],
)
def test_host_is_a_uri_or_a_host_with_or_without_port(fields: dict[str, Any], extra: dict[str, Any], uri: str) -> None:
    assert read_connection(connection(extra, **fields)).uri == uri


@pytest.mark.parametrize(
    ("uri", "address"),
    [("https://cloud.example", ("cloud.example", 443)), ("milvus", ("milvus", 19530)), ("a:1", ("a", 1))],
)
def test_address_names_the_port_that_is_used(uri: str, address: tuple[str, int]) -> None:
    assert read_connection(connection(host=uri)).address == address


@pytest.mark.parametrize(
    ("fields", "extra", "token"),
    [
        ({}, {}, ""),
        ({"login": "root", "password": "Milvus"}, {}, "root:Milvus"),
        ({"password": "an-api-key"}, {}, "an-api-key"),
        ({"login": "root", "password": "Milvus"}, {"token": "other"}, "other"),
        ({}, {"token": None}, ""),
    ],
)
def test_the_way_in_is_user_and_password_or_a_token(fields: dict[str, Any], extra: dict[str, Any], token: str) -> None:
    read = read_connection(connection(extra, host="milvus", **fields))
    assert read.token == token
    assert not token or token not in repr(read)


def test_schema_is_the_database() -> None:
    assert read_connection(connection(host="milvus", schema="sales")).database == "sales"
    assert read_connection(connection(host="milvus")).database == "default"


def test_the_names_of_the_certificates_are_those_that_pymilvus_obeys() -> None:
    ca = {"secure": True, "ca_pem_path": "/ca.pem", "server_name": "milvus.example"}
    assert read_connection(connection(ca, host="m")).tls == {
        "server_pem_path": "/ca.pem",
        "server_name": "milvus.example",
    }
    mutual = {"ca_pem_path": "/ca.pem", "client_pem_path": "/c.pem", "client_key_path": "/c.key"}
    assert read_connection(connection(mutual, host="https://m")).tls == mutual


@pytest.mark.parametrize(
    ("fields", "extra", "message"),
    [
        ({"host": ""}, {}, "host is empty; write the URI"),
        ({"host": "http://m:1", "port": 2}, {}, "host says port 1, port says 2"),
        ({"host": "http://m"}, {"secure": True}, "TLS is on, but the URI begins with http://"),
        ({"host": "http://root:pw@m:1"}, {}, "carries a user or password"),
        ({"host": "http://m:1/sales"}, {}, "the database has a field of its own"),
        ({"host": "./milvus.db"}, {}, "host carries a path|Milvus Lite file"),
        ({"host": "tcp://m:1"}, {}, "host has to be a host, http://host:port or https://host:port"),
        ({"host": "m:port"}, {}, "is no port"),
        ({"host": "m"}, {"ca_pem_path": "/ca.pem"}, "ca_pem_path set, but TLS is off|TLS is off"),
        ({"host": "https://m"}, {"client_pem_path": "/c.pem"}, "all three"),
    ],
)
def test_what_makes_no_address_is_refused_by_the_name_of_its_field(
    fields: dict[str, Any], extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidMilvusConnection, match=message) as refused:
        read_connection(connection(extra, **fields))
    assert "pw" not in str(refused.value)
    with pytest.raises(ConfigError, match=f"connection etl_milvus: .*({message})"):
        milvus_address_of(connection(extra, **fields), "etl_milvus")


@pytest.mark.parametrize("make", [Connection, CoreConnection])
def test_our_dags_read_what_the_provider_reads(make: Any) -> None:
    fields = {"host": "https://m:19531", "login": "u", "password": "p", "schema": "sales"}
    given = make(conn_id="m", conn_type="milvus", extra=json.dumps({"ca_pem_path": "/ca.pem"}), **fields)
    address = milvus_address_of(given, "m")
    read = read_connection(given)
    assert (address.uri, address.token.get_secret_value(), address.database, address.tls) == (
        read.uri,
        read.token,
        read.database,
        read.tls,
    )
    assert read.tls == {"server_pem_path": "/ca.pem"}


@pytest.mark.parametrize("uri", ["milvus://root:Milvus@m:19531/sales", "milvus://http://root:Milvus@m:19531/sales"])
def test_a_connection_written_as_airflow_uri_is_read_too(uri: str) -> None:
    read = read_connection(Connection.from_uri(uri, conn_id="m"))
    assert (read.uri, read.token, read.database) == ("http://m:19531", "root:Milvus", "sales")
