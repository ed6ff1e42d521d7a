"""What a vector database must do. milvus.py does it; fake.py does it in memory. One contract suite runs over both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from include.embedding_etl.index_kinds import NO_PARAMETERS, Parameters
from include.embedding_etl.types import CollectionSpec, Hit, JsonValue, Row, Vectors
from include.embedding_etl.vectorstore.bulk_jobs import BulkJobs
from include.embedding_etl.vectorstore.capabilities import ServerCapabilities


class VectorStore(Protocol):
    """Rows by primary key, in named collections, behind aliases. Writes take real collection names, never aliases.

    All methods raise TransientError after their own classified retries are spent, ConfigError for a wrong address or
    token, IntegrityError where the server contradicts itself.
    """

    def create_collection(self, spec: CollectionSpec) -> None:
        """Create, index and load a collection; quietly succeeds if it already exists with the same properties.

        Raises:
            IntegrityError: it exists with other properties or another dimension.
        """

    def has_collection(self, name: str) -> bool:
        """Whether a collection (not an alias) of that real name exists."""

    def list_collections(self) -> list[str]:
        """Real names of all collections."""

    def drop_collection(self, name: str) -> None:
        """Drop by real name; quietly succeeds if it is gone.

        Raises:
            IntegrityError: `name` is an alias, or an alias still points at it.
        """

    def properties(self, name: str) -> Mapping[str, str]:
        """The custom properties the collection was created with."""

    def dimension(self, name: str) -> int:
        """The dimension of an existing collection.

        Raises:
            NotFound: there is none of that name.
            IntegrityError: `name` is an alias.
        """

    def index(self, name: str) -> tuple[str, str] | None:
        """Type and metric of the index; None where a creation was cut off before it.

        Raises:
            NotFound: there is no such collection.
        """

    def aliases(self, name: str) -> list[str]:
        """Aliases that point at a collection, sorted.

        Raises:
            NotFound: there is none of that real name.
            IntegrityError: `name` is itself an alias.
        """

    def upsert(self, name: str, rows: Sequence[Row]) -> None:
        """Write rows at their ids, split by count and bytes. Nothing is claimed about them until `read_versions`.

        Raises:
            IntegrityError: a row fails the client-side checks (norm, dimension, byte lengths, duplicate id).
        """

    def read_versions(self, name: str, ids: Sequence[str]) -> dict[str, str]:
        """{id: object_version} of the ids that exist, read with Strong consistency."""

    def fetch(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
        """{id: row} of the ids that exist, each with its id and the named fields, read with Strong consistency.

        Split by count, and again where an answer is too large. Through a real name or an alias.

        Args:
            fields: Of the schema; "vector" is a list of floats.
        """

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete by primary key, split by count. Absent ids are fine."""

    def count(self, name: str, prefix: str = "") -> int:
        """How many rows there are of objects whose keys begin so, read with Strong consistency."""

    def flush(self, name: str) -> None:
        """Seal what was written: the server builds the index of it, by and by."""

    def load_index(self, name: str) -> None:
        """Flush, wait for the index, and load it: every search goes through it when this returns.

        Before, a server may still compare with every row, and the index seems to have perfect recall.

        Raises:
            IntegrityError: an alias points at it: its readers would get errors while it is loaded again.
            TransientError: the index was not built in time; it goes on being built.
        """

    def iterate(self, name: str, fields: Sequence[str]) -> Iterator[list[dict[str, JsonValue]]]:
        """All rows, page by page, in primary key order, with the id and the named fields."""

    def alias_target(self, alias: str) -> str | None:
        """The real collection an alias points at; None if there is no such alias."""

    def point_alias(self, alias: str, name: str) -> None:
        """Create or switch the alias, then read it back.

        Raises:
            IntegrityError: it points elsewhere after the switch.
        """

    def search(
        self,
        name: str,
        vectors: Vectors,
        top: int,
        filter_expression: str = "",
        fields: Sequence[str] = (),
        params: Parameters = NO_PARAMETERS,
    ) -> list[list[Hit]]:
        """Nearest rows for each query vector (shape (n, dimension)), through a real name or an alias.

        Args:
            params: How much of the index is looked at: `ef` for HNSW, `nprobe` for IVF. Other indexes ignore them.
        Raises:
            ConfigError: a parameter that no index has.
        """

    def count_ids(self, name: str, ids: Sequence[str]) -> int:
        """How many rows have one of these ids, with Strong consistency. More than ids: a bulk import wrote some twice.

        No other read tells: they show one row for each id.
        """

    @property
    def capabilities(self) -> ServerCapabilities:
        """What the server is and can do, as it said at the connect."""

    @property
    def bulk_jobs(self) -> BulkJobs | None:
        """Bulk imports; None where the server has none."""

    def server_version(self) -> str:
        """What the server says it is, for people."""

    def close(self) -> None:
        """Close the connection."""
