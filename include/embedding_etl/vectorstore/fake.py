"""A vector store in memory, with the same promises and errors as the real one. For tests and for trying things out."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.index_kinds import NO_PARAMETERS, Parameters
from include.embedding_etl.types import CollectionSpec, Hit, JsonValue, Row, Vectors
from include.embedding_etl.vectorstore.capabilities import IN_MEMORY, ServerCapabilities
from include.embedding_etl.vectorstore.descriptions import require_same
from include.embedding_etl.vectorstore.failures import NotFound
from include.embedding_etl.vectorstore.schema import ID_FIELD, VECTOR_FIELD, entity
from include.embedding_etl.vectorstore.validate import (
    check_ids,
    check_name,
    check_query,
    check_rows,
    check_search_params,
    check_spec,
)

_PAGE_ROWS = 1_000


@dataclass
class _Collection:
    spec: CollectionSpec
    entities: dict[str, dict[str, Any]] = field(default_factory=dict)


class InMemoryStore:
    """VectorStore in a dict. Searches compare with every row; filters are those that filters.py writes."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] = {}
        self._aliases: dict[str, str] = {}

    def create_collection(self, spec: CollectionSpec) -> None:
        """Create a collection; quietly succeeds if it already exists with the same properties."""
        check_spec(spec)
        if spec.name in self._aliases:
            raise IntegrityError(f"{spec.name} is an alias of {self._aliases[spec.name]}")
        existing = self._collections.setdefault(spec.name, _Collection(spec))
        require_same(spec, existing.spec.dimension, existing.spec.properties)
        if (existing.spec.index_type, existing.spec.metric) != (spec.index_type, spec.metric):
            raise IntegrityError(f"{spec.name} exists with index {existing.spec.index_type} {existing.spec.metric}")

    def has_collection(self, name: str) -> bool:
        """Whether a collection (not an alias) of that real name exists."""
        check_name(name)
        return name in self._collections

    def list_collections(self) -> list[str]:
        """Real names of all collections, sorted."""
        return sorted(self._collections)

    def drop_collection(self, name: str) -> None:
        """Drop by real name; refuses aliases and what an alias points at."""
        if name in self._aliases:
            raise IntegrityError(f"{name} is an alias of {self._aliases[name]}: drop collections by their real name")
        if aliases := self._pointing_at(name):
            raise IntegrityError(f"{name} is what the alias {', '.join(aliases)} points at: point it elsewhere first")
        self._collections.pop(name, None)

    def properties(self, name: str) -> Mapping[str, str]:
        """The custom properties the collection was created with."""
        return dict(self._readable(name).spec.properties)

    def dimension(self, name: str) -> int:
        """The dimension of an existing collection."""
        return self._writable(name).spec.dimension

    def index(self, name: str) -> tuple[str, str] | None:
        """Type and metric that the collection was created with."""
        spec = self._readable(name).spec
        return spec.index_type, spec.metric

    def aliases(self, name: str) -> list[str]:
        """Aliases that point at a collection, sorted."""
        self._writable(name)
        return self._pointing_at(name)

    def upsert(self, name: str, rows: Sequence[Row]) -> None:
        """Write rows at their ids."""
        collection = self._writable(name)
        check_rows(rows, collection.spec.dimension)
        collection.entities |= {row.id: {**entity(row), VECTOR_FIELD: row.vector.copy()} for row in rows}

    def read_versions(self, name: str, ids: Sequence[str]) -> dict[str, str]:
        """{id: object_version} of the ids that exist."""
        return {each: str(row["object_version"]) for each, row in self.fetch(name, ids, ["object_version"]).items()}

    def fetch(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
        """{id: row} of the ids that exist, with the id and the named fields."""
        check_ids(ids)
        check_query(1, fields)
        entities = self._readable(name).entities
        return {each: _chosen(entities[each], (ID_FIELD, *fields)) for each in ids if each in entities}

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete by primary key. Absent ids are fine."""
        check_ids(ids)
        entities = self._writable(name).entities
        for each in ids:
            entities.pop(each, None)

    def count(self, name: str, prefix: str = "") -> int:
        """How many rows there are of objects whose keys begin so."""
        return sum(str(row["object_key"]).startswith(prefix) for row in self._readable(name).entities.values())

    def flush(self, name: str) -> None:
        """There is nothing to seal."""
        self._writable(name)

    def load_index(self, name: str) -> None:
        """There is no index: every search is exact."""
        if aliases := self.aliases(name):
            raise IntegrityError(
                f"{name} is what the alias {', '.join(aliases)} points at: its readers would get errors"
            )

    def iterate(self, name: str, fields: Sequence[str]) -> Iterator[list[dict[str, JsonValue]]]:
        """All rows, page by page, in primary key order, with the id and the named fields."""
        check_query(1, fields)
        entities = self._readable(name).entities
        ids = sorted(entities)
        for first in range(0, len(ids), _PAGE_ROWS):
            page = [entities[each] for each in ids[first : first + _PAGE_ROWS]]
            yield [_chosen(row, (ID_FIELD, *fields)) for row in page]

    def alias_target(self, alias: str) -> str | None:
        """The real collection an alias points at; None if there is no such alias."""
        return self._aliases.get(alias)

    def point_alias(self, alias: str, name: str) -> None:
        """Create or switch the alias."""
        check_name(alias)
        self._writable(name)
        if alias in self._collections:
            raise IntegrityError(f"{alias} is a collection: it cannot be an alias too")
        self._aliases[alias] = name

    def search(
        self,
        name: str,
        vectors: Vectors,
        top: int,
        filter_expression: str = "",
        fields: Sequence[str] = (),
        params: Parameters = NO_PARAMETERS,
    ) -> list[list[Hit]]:
        """Nearest rows for each query vector, through a real name or an alias."""
        check_query(top, fields)
        check_search_params(params)
        collection = self._readable(name)
        matching = [row for row in collection.entities.values() if _matches(filter_expression, row)]
        return [_nearest(query, matching, collection.spec.metric, top, fields) for query in vectors]

    def count_ids(self, name: str, ids: Sequence[str]) -> int:
        """How many rows have one of these ids."""
        check_ids(ids)
        return len(self._readable(name).entities.keys() & set(ids))

    @property
    def capabilities(self) -> ServerCapabilities:
        """There is no server."""
        return IN_MEMORY

    @property
    def bulk_jobs(self) -> None:
        """There are none."""

    def server_version(self) -> str:
        """What this is, for people."""
        return self.capabilities.version

    def close(self) -> None:
        """There is no connection; what was written stays."""

    def _pointing_at(self, name: str) -> list[str]:
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def _readable(self, name: str) -> _Collection:
        check_name(name)
        target = self._aliases.get(name, name)
        if target not in self._collections:
            raise NotFound(f"collection {name} does not exist")
        return self._collections[target]

    def _writable(self, name: str) -> _Collection:
        if name in self._aliases:
            raise IntegrityError(f"{name} is an alias of {self._aliases[name]}: use the real name")
        return self._readable(name)


def _nearest(
    query: Vectors, rows: Sequence[Mapping[str, Any]], metric: str, top: int, fields: Sequence[str]
) -> list[Hit]:
    if not rows:
        return []
    vectors = np.stack([row[VECTOR_FIELD] for row in rows])
    if metric == "L2":
        scores = ((vectors - query) ** 2).sum(axis=1)
        order = np.argsort(scores, kind="stable")
    else:
        scores = vectors @ (query / np.linalg.norm(query) if metric == "COSINE" else query)
        order = np.argsort(-scores, kind="stable")
    chosen = [(float(scores[each]), rows[each]) for each in order[:top].tolist()]
    return [Hit(score, row[ID_FIELD], _chosen(row, fields)) for score, row in chosen]


def _chosen(row: Mapping[str, Any], fields: Sequence[str]) -> dict[str, JsonValue]:
    return {name: row[name].tolist() if name == VECTOR_FIELD else row[name] for name in fields}


def _matches(expression: str, row: Mapping[str, Any]) -> bool:
    """What filters.py writes happens to be Python too: the same escapes, the same words."""
    if not expression:
        return True
    try:
        return bool(_value(ast.parse(expression, mode="eval").body, row))
    except SyntaxError as error:
        raise IntegrityError(f"filter {expression!r}: {error.msg}") from error


def _value(node: ast.expr, row: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(each, row) for each in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(each, row) for each in values)
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _value(left, row) == _value(right, row)
        case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.List(elts=values)]):
            return _value(left, row) in [_value(each, row) for each in values]
        case ast.Name(id=name) if name in row:
            return row[name]
        case ast.Subscript(value=value, slice=ast.Constant(value=key)):
            return _value(value, row).get(key)
        case ast.Constant(value=value):
            return value
    raise IntegrityError(f"filter: cannot read {ast.unparse(node)!r}")
