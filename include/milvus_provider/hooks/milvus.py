"""A connection to Milvus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from include.milvus_provider.connection import InvalidMilvusConnection, MilvusConnection, read_connection
from include.milvus_provider.diagnosis import explain
from include.milvus_provider.filters import keys_in

if TYPE_CHECKING:
    from pymilvus import MilvusClient

# pymilvus pings every 10 s; Milvus Lite calls that "too_many_pings" and closes the connection under a running call.
_GRPC_OPTIONS = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}
_TEST_TIMEOUT_S = 5.0  # a person is waiting
_NO_ALIAS_CODES = frozenset({100, 1600})  # Milvus Lite, Milvus


class MilvusHook(BaseHook):
    """
    Interact with Milvus through pymilvus's ``MilvusClient``.

    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use.
    :param timeout: Seconds that connecting may take.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "milvus_default"
    conn_type = "milvus"
    hook_name = "Milvus"

    def __init__(self, conn_id: str = default_conn_name, timeout: float = 30.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.timeout = timeout
        self._client: MilvusClient | None = None

    def get_conn(self) -> MilvusClient:
        """
        Return the client; it is opened by the first call.

        :raises InvalidMilvusConnection: a field of the connection is missing or wrong.
        """
        if self._client is None:
            self._client = self._connect(self._target(), self.timeout)
        return self._client

    @property
    def conn(self) -> MilvusClient:
        """The client, as ``get_conn`` returns it."""
        return self.get_conn()

    def close(self) -> None:
        """Close the client; the next use opens another one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def test_connection(self) -> tuple[bool, str]:
        """Connect, log in and list the collections of the database: what the *Test* button of the form does."""
        import grpc
        from pymilvus import MilvusException

        try:
            target = self._target()
        except InvalidMilvusConnection as error:
            return False, f"{error}."
        try:
            client = self._connect(target, _TEST_TIMEOUT_S)
            try:
                version = client.get_server_version(timeout=_TEST_TIMEOUT_S)
                found = client.list_collections(timeout=_TEST_TIMEOUT_S)
            finally:
                client.close()
        except (MilvusException, grpc.RpcError, OSError) as error:  # OSError: a certificate cannot be read
            return False, explain(error, target)
        host, port = target.address
        collections = "1 collection" if len(found) == 1 else f"{len(found)} collections"
        return True, f"Connected to Milvus {version} at {host}:{port}: {collections} in database {target.database!r}."

    def alias_target(self, alias: str) -> str | None:
        """
        Return the collection that an alias points at.

        :param alias: Name of the alias.
        :return: The real name of the collection; None if there is no such alias.
        """
        from pymilvus import MilvusException

        try:
            target: str | None = self.get_conn().describe_alias(alias).get("collection_name")
        except MilvusException as error:
            if error.code not in _NO_ALIAS_CODES:
                raise
            return None
        return target

    def count(self, collection_name: str, filter: str = "") -> int:  # noqa: A002 - pymilvus's word
        """
        Count rows with Strong consistency, so that everything written before is counted.

        :param collection_name: Collection or alias; it is loaded if it is not.
        :param filter: Boolean expression; empty for all rows.
        """
        client = self.get_conn()
        client.load_collection(collection_name)
        found = client.query(collection_name, filter=filter, output_fields=["count(*)"], consistency_level="Strong")
        return int(found[0]["count(*)"])

    def existing_ids(self, collection_name: str, ids: list[Any]) -> set[Any]:
        """
        Return which of these primary keys have a row, read with Strong consistency.

        :param collection_name: Collection or alias; it is loaded if it is not.
        :param ids: Primary keys, not more than Milvus answers at once (16,384).
        """
        client, key = self.get_conn(), self.primary_field(collection_name)
        client.load_collection(collection_name)
        if not ids:
            return set()
        found = client.query(collection_name, filter=keys_in(key, ids), output_fields=[key], consistency_level="Strong")
        return {row[key] for row in found}

    def primary_field(self, collection_name: str) -> str:
        """
        Return the name of the primary key.

        :param collection_name: Collection or alias.
        """
        fields = self.get_conn().describe_collection(collection_name)["fields"]
        return next(str(field["name"]) for field in fields if field.get("is_primary"))

    def _target(self) -> MilvusConnection:
        return read_connection(self.get_connection(self.conn_id))

    @staticmethod
    def _connect(target: MilvusConnection, timeout: float) -> MilvusClient:
        from pymilvus import MilvusClient

        return MilvusClient(
            target.uri,
            token=target.token,
            db_name=target.database,
            timeout=timeout,
            dedicated=True,  # a shared connection would outlive close()
            grpc_options=_GRPC_OPTIONS,
            **target.tls,
        )
