"""Milvus, through pymilvus's MilvusClient. The only module that imports it.

Every call goes through connection.py, which connects, loads, retries and raises only errors of ours. What the servers
(Milvus Lite, 2.3 and later) differ in is handled where it matters and shown by the contract suite. Longer than our
modules are meant to be: it is one class, a method for each of the protocol.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
from pymilvus import DataType, MilvusClient, MilvusException

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.index_kinds import NO_PARAMETERS, Parameters
from include.embedding_etl.types import CollectionSpec, Hit, JsonValue, Row, Vectors
from include.embedding_etl.vectorstore.batches import MAX_BYTES, MAX_ROWS, by_count, cut
from include.embedding_etl.vectorstore.bulk_jobs import BulkJobs
from include.embedding_etl.vectorstore.capabilities import ServerCapabilities, is_plain, read_capabilities
from include.embedding_etl.vectorstore.connection import Connection, Driver
from include.embedding_etl.vectorstore.definitions import add_fields, add_index
from include.embedding_etl.vectorstore.descriptions import dimension_of, properties_of, require_same, server_address
from include.embedding_etl.vectorstore.failures import AlreadyExists, NotFound, TooLarge
from include.embedding_etl.vectorstore.filters import begins_with, in_list
from include.embedding_etl.vectorstore.reading import read_by_id, read_in_order
from include.embedding_etl.vectorstore.retry import STANDARD_RETRY, RetryPolicy
from include.embedding_etl.vectorstore.schema import ID_FIELD, VECTOR_FIELD, entity, search_params
from include.embedding_etl.vectorstore.validate import (
    check_ids,
    check_name,
    check_query,
    check_rows,
    check_search_params,
    check_spec,
)

_log = logging.getLogger(__name__)

# It prints a traceback for every refusal, also for those that only answer a question ("is there such an alias?").
# What is worth knowing is in the errors that we raise.
logging.getLogger("pymilvus.decorators").setLevel(logging.CRITICAL)

_SLOW_CALLS = 10  # loading, indexing and sealing may take so many times as long as other calls
_POLL_S = 0.2
_STRONG: Mapping[str, Any] = {"consistency_level": "Strong"}


# pymilvus pings every 10 s; Milvus Lite calls that "too_many_pings" and closes the connection under a running call.
CALM = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}


class MilvusStore:
    """A connection to one database of one Milvus server. Connects on first use.

    Args:
        uri: http://host:port or https://host:port.
        token: `user:password` or an API key; "" where the server asks for none.
        database: Milvus database.
        timeout_s: What one attempt of one call may take; loading and sealing ten times that.
        retry: How long a failing call is tried again.
        tls: With https: files of certificates and server name, by pymilvus's names.
    Raises:
        ConfigError: the address is not of that form.
    """

    def __init__(
        self,
        uri: str,
        token: str = "",
        database: str = "default",
        timeout_s: float = 30.0,
        retry: RetryPolicy = STANDARD_RETRY,
        tls: Mapping[str, str] | None = None,
    ) -> None:
        self._address = server_address(uri)
        self._timeout_s = timeout_s
        self._dimensions: dict[str, int] = {}  # by real name
        self._capabilities: ServerCapabilities | None = None  # read with every connect

        def connect() -> MilvusClient:
            options = {"timeout": min(timeout_s, 10.0), "grpc_options": CALM, **(tls or {})}
            try:
                # Dedicated: a shared connection would outlive close().
                client = MilvusClient(uri, token=token, db_name=database, dedicated=True, **options)
            except OSError as error:
                raise ConfigError(
                    f"Milvus at {self._address}: certificate {error.filename}: {error.strerror}"
                ) from error
            try:
                version = str(client.get_server_version(timeout=timeout_s))
                description = "" if is_plain(version) else _description(client, timeout_s)
            except (MilvusException, grpc.RpcError):
                client.close()
                raise
            self._capabilities = read_capabilities(version, description)
            if warning := self._capabilities.warning:
                _log.warning("%s: %s", self._address, warning)
            return client

        def load(client: MilvusClient, name: str) -> None:
            client.load_collection(name, timeout=timeout_s * _SLOW_CALLS)

        driver = Driver(connect, load, (MilvusException, grpc.RpcError))
        self._connection: Connection[MilvusClient] = Connection(self._address, driver, retry)

    def create_collection(self, spec: CollectionSpec) -> None:
        """Create, index and load a collection; each step is skipped where it is done, so a crash in between heals."""
        check_spec(spec)
        if (found := self._find(spec.name)) is not None:
            dimension_of(spec.name, found)  # before any server is asked: they say different things of an alias
        else:
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            add_fields(schema, spec.dimension, lambda name: DataType[name])
            properties = dict(spec.properties)
            self._create(
                "create_collection", spec.name, schema=schema, properties=properties, consistency_level="Bounded"
            )
        self._dimensions.pop(spec.name, None)
        require_same(spec, self._dimension(spec.name), self.properties(spec.name))
        if self.index(spec.name) is None:
            indexes = MilvusClient.prepare_index_params()
            add_index(indexes, spec)
            self._create("create_index", spec.name, indexes, slow=_SLOW_CALLS)
        if (index := self.index(spec.name)) != (spec.index_type, spec.metric):
            raise IntegrityError(f"{spec.name} exists with index {index}, not {spec.index_type} {spec.metric}")
        self._load(spec.name)

    def has_collection(self, name: str) -> bool:
        """Whether a collection (not an alias) of that real name exists."""
        found = self._find(name)
        return found is not None and bool(found["collection_name"] == name)

    def list_collections(self) -> list[str]:
        """Real names of all collections, sorted."""
        return sorted(self._call("list_collections"))

    def drop_collection(self, name: str) -> None:
        """Drop by real name. Milvus Lite would drop through an alias, and no server minds the aliases of its target."""
        target = self.alias_target(name)
        if target is not None:
            raise IntegrityError(f"{name} is an alias of {target}: drop collections by their real name")
        if not self.has_collection(name):
            return
        if aliases := self.aliases(name):
            raise IntegrityError(f"{name} is what the alias {', '.join(aliases)} points at: point it elsewhere first")
        self._call("drop_collection", name)
        self._dimensions.pop(name, None)
        self._connection.forget(name)

    def properties(self, name: str) -> Mapping[str, str]:
        """The custom properties the collection was created with."""
        return properties_of(self._describe(name))

    def dimension(self, name: str) -> int:
        """The dimension of an existing collection."""
        return dimension_of(name, self._describe(name))

    def index(self, name: str) -> tuple[str, str] | None:
        """Type and metric of the index."""
        listed = self._call("list_indexes", name, VECTOR_FIELD)
        if not listed:
            return None
        found = self._call("describe_index", name, listed[0])
        return found["index_type"], found["metric_type"]

    def aliases(self, name: str) -> list[str]:
        """Aliases that point at a collection, sorted."""
        self.dimension(name)  # Milvus Lite knows aliases of aliases, and of what is missing
        return sorted(self._call("list_aliases", name)["aliases"])

    def upsert(self, name: str, rows: Sequence[Row]) -> None:
        """Write rows at their ids, split by count and bytes. Nothing is claimed about them until `read_versions`."""
        sizes = check_rows(rows, self._dimension(name))
        for batch in cut(rows, sizes, MAX_ROWS, MAX_BYTES):
            self._upsert_batch(name, batch)

    def read_versions(self, name: str, ids: Sequence[str]) -> dict[str, str]:
        """{id: object_version} of the ids that exist, read with Strong consistency."""
        return {each: str(row["object_version"]) for each, row in self.fetch(name, ids, ["object_version"]).items()}

    def fetch(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
        """{id: row} of the ids that exist, with the id and the named fields, read with Strong consistency."""
        check_ids(ids)
        check_query(1, fields)
        return read_by_id(lambda expression, wanted: self._query(name, expression, wanted), ids, fields)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete by primary key, split by count. Absent ids are fine."""
        check_ids(ids)
        self._dimension(name)  # refuses aliases
        for batch in by_count(ids):
            self._call("delete", name, load=name, filter=in_list(ID_FIELD, batch))

    def count(self, name: str, prefix: str = "") -> int:
        """How many rows there are of objects whose keys begin so, read with Strong consistency."""
        return int(self._query(name, begins_with("object_key", prefix), ["count(*)"])[0]["count(*)"])

    def flush(self, name: str) -> None:
        """Seal what was written, so that searches use the index."""
        dimension_of(name, self._describe(name))  # Milvus Lite does not mind a collection that is missing
        self._call("flush", name, slow=_SLOW_CALLS)

    def load_index(self, name: str) -> None:
        """Make every search of a collection that nobody reads yet go through its index.

        A flush only begins to build it, and until that is done servers compare with every row. Milvus 2.3 goes on doing
        so for minutes after it is done: so the collection is released, and loaded with its index.
        """
        if aliases := self.aliases(name):
            raise IntegrityError(
                f"{name} is what the alias {', '.join(aliases)} points at: its readers would get errors"
            )
        self.flush(name)
        self._wait_for_index(name)
        self._call("release_collection", name)
        self._connection.forget(name)
        self._load(name)

    def iterate(self, name: str, fields: Sequence[str]) -> Iterator[list[dict[str, JsonValue]]]:
        """All rows, page by page, in primary key order, with the id and the named fields."""
        check_query(1, fields)
        yield from read_in_order(
            lambda expression, wanted: self._query(name, expression, wanted), self.count(name), fields
        )

    def alias_target(self, alias: str) -> str | None:
        """The real collection an alias points at; None if there is no such alias."""
        try:
            found = self._call("describe_alias", alias)
        except NotFound:
            return None
        target: str | None = found.get("collection_name")
        return target

    def point_alias(self, alias: str, name: str) -> None:
        """Create or switch the alias, then read it back. The collection is loaded first: readers notice nothing."""
        check_name(alias)
        self._dimension(name)  # a real collection, not an alias
        self._load(name)
        if self.alias_target(alias) is None:
            self._create("create_alias", name, alias)
        if self.alias_target(alias) != name:
            self._call("alter_alias", name, alias)
        target = self.alias_target(alias)
        if target != name:
            raise IntegrityError(f"alias {alias} points at {target} after it was pointed at {name}")

    def search(
        self,
        name: str,
        vectors: Vectors,
        top: int,
        filter_expression: str = "",
        fields: Sequence[str] = (),
        params: Parameters = NO_PARAMETERS,
    ) -> list[list[Hit]]:
        """Nearest rows for each query vector, with Strong consistency: what a run wrote is found right after it."""
        check_query(top, fields)
        check_search_params(params)
        if not len(vectors):
            return []
        found = self._call(
            "search",
            name,
            load=name,
            data=list(vectors),
            limit=top,
            filter=filter_expression,
            output_fields=list(fields) or [ID_FIELD],
            search_params={"params": search_params(params, top)},
            **_STRONG,
        )
        return [
            [Hit(hit["distance"], hit["id"], {field: hit["entity"][field] for field in fields}) for hit in hits]
            for hits in found
        ]

    def count_ids(self, name: str, ids: Sequence[str]) -> int:
        """How many rows have one of these ids; more than ids where a bulk import wrote some of them twice."""
        check_ids(ids)
        return sum(
            int(self._query(name, in_list(ID_FIELD, some), ["count(*)"])[0]["count(*)"]) for some in by_count(ids)
        )

    @property
    def capabilities(self) -> ServerCapabilities:
        """What the server is and can do; connects if nothing has done so yet."""
        if self._capabilities is None:
            self._connection.run("connect", lambda _: None)
        if self._capabilities is None:
            raise IntegrityError(f"Milvus at {self._address}: connected without a version")
        return self._capabilities

    @property
    def bulk_jobs(self) -> BulkJobs | None:
        """Bulk imports; None where the server has none."""
        if not self.capabilities.bulk_import:
            return None
        return BulkJobs(self._connection, self._timeout_s, self._timeout_s * _SLOW_CALLS)

    def server_version(self) -> str:
        """What the server says it is, for people."""
        return self.capabilities.version

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        self._connection.close()

    def _find(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._describe(name)
        except NotFound:
            return None

    def _describe(self, name: str) -> Mapping[str, Any]:
        check_name(name)
        description: Mapping[str, Any] = self._call("describe_collection", name)
        return description

    def _dimension(self, name: str) -> int:
        if name not in self._dimensions:
            self._dimensions[name] = self.dimension(name)
        return self._dimensions[name]

    def _wait_for_index(self, name: str) -> None:
        until = time.monotonic() + self._timeout_s * _SLOW_CALLS
        while (found := self._call("describe_index", name, VECTOR_FIELD))["pending_index_rows"]:
            if time.monotonic() > until:
                raise TransientError(
                    f"Milvus at {self._address}: {name}: {found['pending_index_rows']} of {found['total_rows']} rows "
                    "are not in the index yet"
                )
            time.sleep(_POLL_S)

    def _upsert_batch(self, name: str, batch: Sequence[Row]) -> None:
        entities = [entity(row) for row in batch]
        try:
            reply = self._call("upsert", name, entities)
        except TooLarge as error:
            if len(batch) == 1:
                raise IntegrityError(f"{batch[0].object_key!r}, chunk {batch[0].ordinal}: {error}") from error
            middle = len(batch) // 2
            self._upsert_batch(name, batch[:middle])
            self._upsert_batch(name, batch[middle:])
            return
        written = reply.get("upsert_count", 0)
        if written != len(batch):
            raise IntegrityError(f"{name}: Milvus wrote {written} of {len(batch)} rows")

    def _query(self, name: str, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        output = list(fields) or [ID_FIELD]
        return list(self._call("query", name, load=name, filter=expression, output_fields=output, **_STRONG))

    def _load(self, name: str) -> None:
        self._connection.run(f"load {name}", lambda _: None, load=name)

    def _create(self, method: str, *names: Any, **options: Any) -> None:
        try:
            self._call(method, *names, **options)
        except AlreadyExists:
            _log.info("%s %s: somebody was faster, or the reply to our own request was lost", method, names[0])

    def _call(self, method: str, *names: Any, load: str = "", slow: int = 1, **options: Any) -> Any:
        """Call a method of MilvusClient; `load` is what has to be loaded for it, `slow` how much longer it may take."""
        what = " ".join([method.replace("_", " "), *(each for each in names if isinstance(each, str))])
        timeout_s = self._timeout_s * slow
        return self._connection.run(
            what, lambda client: getattr(client, method)(*names, timeout=timeout_s, **options), load
        )


def _description(client: MilvusClient, timeout_s: float) -> str:
    """What the server says of itself at the connect: Zilliz Cloud tells its product there, and not as a version."""
    details: Any = client.get_server_version(timeout=timeout_s, detail=True)
    return str(details["version"])
