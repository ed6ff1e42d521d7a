"""Airflow connections as the addresses and secrets that the pipeline's parts need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.embedding_etl.errors import ConfigError

if TYPE_CHECKING:
    from include.embedding_etl.runtime import MilvusAddress
    from include.embedding_etl.s3_credentials import S3Credentials


def s3_credentials(connection_id: str) -> S3Credentials:
    """Keys and endpoint of a connection of type aws, for a running task.

    Raises:
        ConfigError: there is no such connection, or it says that certificates are not to be checked.
    """
    return s3_credentials_of(_connection(connection_id))


def s3_credentials_of(connection: Any) -> S3Credentials:
    """The same, of a connection that somebody else has fetched."""
    return _credentials(connection, _service_endpoint(connection, "s3") or connection.extra_dejson.get("endpoint_url"))


def sqs_credentials(connection_id: str) -> S3Credentials:
    """Keys of a connection of type aws, and its endpoint for SQS alone: endpoint_url is where S3 is.

    Raises:
        ConfigError: there is no such connection.
    """
    connection = _connection(connection_id)
    return _credentials(connection, _service_endpoint(connection, "sqs"))


def _service_endpoint(connection: Any, service: str) -> str | None:
    """What the connection says of one service: {"service_config": {"sqs": {"endpoint_url": …}}}."""
    config = connection.extra_dejson.get("service_config")
    of_service = config.get(service) if isinstance(config, dict) else None
    endpoint = of_service.get("endpoint_url") if isinstance(of_service, dict) else None
    return endpoint if isinstance(endpoint, str) else None


def _credentials(connection: Any, endpoint: str | None) -> S3Credentials:
    from include.embedding_etl.s3_credentials import S3Credentials

    extra = connection.extra_dejson
    verify = extra.get("verify")
    if verify is False:
        raise ConfigError(
            f"connection {connection.conn_id}: certificates are always checked: give the file of the authority that "
            'signed them, "verify": "/path/ca.pem", or leave verify out'
        )
    return S3Credentials(
        access_key=connection.login or extra.get("aws_access_key_id"),
        secret_key=connection.password or extra.get("aws_secret_access_key"),
        token=extra.get("aws_session_token"),
        endpoint=endpoint,
        region=extra.get("region_name"),
        ca_file=verify if isinstance(verify, str) and verify else None,
        public_endpoint=extra.get("public_endpoint_url") or None,
    )


def milvus_address(connection_id: str) -> MilvusAddress:
    """Address and token of a connection to Milvus, for a running task.

    Raises:
        ConfigError: there is no such connection, or its fields do not make an address.
    """
    return milvus_address_of(_connection(connection_id), connection_id)


def milvus_address_of(connection: Any, connection_id: str) -> MilvusAddress:
    """The same, of a connection that somebody else has fetched.

    Raises:
        ConfigError: its fields do not make an address.
    """
    from pydantic import SecretStr

    from include.embedding_etl.runtime import MilvusAddress
    from include.milvus_provider.connection import InvalidMilvusConnection, read_connection

    try:
        read = read_connection(connection)
    except InvalidMilvusConnection as error:
        raise ConfigError(f"connection {connection_id}: {error}") from error
    return MilvusAddress(read.uri, SecretStr(read.token), read.database, read.tls)


def _connection(connection_id: str) -> Any:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(connection_id)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"there is no Airflow connection {connection_id!r}; create it under Admin, Connections"
        ) from error
