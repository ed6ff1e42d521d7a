"""What a vector database must do. milvus.py does it; fake.py does it in memory. One contract suite runs over both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from include.embedding_etl.types import CollectionSpec, Hit, JsonValue, Row, Vectors


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

    def upsert(self, name: str, rows: Sequence[Row]) -> None:
        """Write rows at their ids, split by count and bytes. Nothing is claimed about them until `read_versions`.

        Raises:
            IntegrityError: a row fails the client-side checks (norm, dimension, byte lengths, duplicate id).
        """

    def read_versions(self, name: str, ids: Sequence[str]) -> dict[str, str]:
        """{id: object_version} of the ids that exist, read with Strong consistency."""

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete by primary key, split by count. Absent ids are fine."""

    def count(self, name: str) -> int:
        """How many rows there are, read with Strong consistency."""

    def flush(self, name: str) -> None:
        """Seal what was written, so that searches use the index."""

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
        self, name: str, vectors: Vectors, top: int, filter_expression: str = "", fields: Sequence[str] = ()
    ) -> list[list[Hit]]:
        """Nearest rows for each query vector (shape (n, dimension)), through a real name or an alias."""

    def server_version(self) -> str:
        """What the server says it is, for people."""

    def close(self) -> None:
        """Close the connection."""
