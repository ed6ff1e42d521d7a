"""Operators for Milvus. Each reads back what it did: Milvus acknowledges some calls that it does not carry out.

One module, as Airflow's providers have it, and longer than ours for what each operator's docstring has to say.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.milvus_provider.exceptions import MilvusVerificationError
from include.milvus_provider.filters import keys_in
from include.milvus_provider.hooks.milvus import MilvusHook

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pymilvus import CollectionSchema


class MilvusBaseOperator(BaseOperator):
    """
    Base of the operators for Milvus.

    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use.
    :param collection_name: Collection to work on.
    """

    template_fields: Sequence[str] = ("conn_id", "collection_name")

    def __init__(self, *, collection_name: str, conn_id: str = MilvusHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.collection_name = collection_name

    @cached_property
    def hook(self) -> MilvusHook:
        """Return an instance of the MilvusHook."""
        return MilvusHook(conn_id=self.conn_id)

    def execute(self, context: Context) -> Any:  # noqa: ARG002 - the signature is Airflow's
        """Do the work, and close the client whatever comes of it."""
        try:
            return self.run_on_milvus()
        finally:
            self.hook.close()

    @abstractmethod
    def run_on_milvus(self) -> Any:
        """Do the work; the return value goes to XCom."""


class MilvusCreateCollectionOperator(MilvusBaseOperator):
    """
    Create a collection with its indexes and load it; what is there already is left, if it has the same fields.

    :param collection_name: Name of the collection. (templated)
    :param dimension: Of the vectors, for the simple form: the fields ``id`` (integer) and ``vector``, any other as a
        dynamic one, an AUTOINDEX with COSINE. Leave it out if you name the ``fields``.
    :param fields: Keyword arguments of ``CollectionSchema.add_field``, one dictionary a field; ``datatype`` is the
        name of a ``DataType``, such as ``FLOAT_VECTOR``. (templated)
    :param index_params: Keyword arguments of ``IndexParams.add_index``, one dictionary an index. Without any, the
        collection is not loaded. (templated)
    :param enable_dynamic_field: With ``fields``: whether rows may have fields beyond them.
    :param collection_kwargs: More keyword arguments of ``MilvusClient.create_collection``, such as ``properties`` or
        ``consistency_level``. (templated)
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    :return: Whether the collection was created now.
    """

    template_fields: Sequence[str] = (
        *MilvusBaseOperator.template_fields,
        "fields",
        "index_params",
        "collection_kwargs",
    )

    def __init__(
        self,
        *,
        dimension: int | None = None,
        fields: list[dict[str, Any]] | None = None,
        index_params: list[dict[str, Any]] | None = None,
        enable_dynamic_field: bool = False,
        collection_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (dimension is None) == (fields is None):
            raise ValueError("give either dimension or fields")
        self.fields = fields or [
            {"field_name": "id", "datatype": "INT64", "is_primary": True},
            {"field_name": "vector", "datatype": "FLOAT_VECTOR", "dim": dimension},
        ]
        automatic = [{"field_name": "vector", "index_type": "AUTOINDEX", "metric_type": "COSINE"}]
        self.index_params = index_params or (automatic if dimension else [])
        self.enable_dynamic_field = enable_dynamic_field or dimension is not None
        self.collection_kwargs = collection_kwargs or {}

    def run_on_milvus(self) -> bool:
        """Create what is missing: a try that was cut off may have left a collection without its indexes."""
        client = self.hook.get_conn()
        created = not client.has_collection(self.collection_name)
        if created:
            client.create_collection(self.collection_name, schema=self._schema(), **self.collection_kwargs)
        self._require_same_fields(client.describe_collection(self.collection_name))
        for each in self.index_params:
            if not client.list_indexes(self.collection_name, each["field_name"]):
                indexes = client.prepare_index_params()
                indexes.add_index(**each)
                client.create_index(self.collection_name, indexes)
        if self.index_params:
            client.load_collection(self.collection_name)
        self.log.info("Collection %s %s", self.collection_name, "created" if created else "exists already")
        return created

    def _schema(self) -> CollectionSchema:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(enable_dynamic_field=self.enable_dynamic_field)
        for each in self.fields:
            schema.add_field(**{**each, "datatype": DataType[each["datatype"]]})
        return schema

    def _require_same_fields(self, found: dict[str, Any]) -> None:
        actual = {
            field["name"]: (field["type"].name, int(field.get("params", {}).get("dim", 0))) for field in found["fields"]
        }
        wanted = {each["field_name"]: (each["datatype"], int(each.get("dim", 0))) for each in self.fields}
        if actual != wanted:
            raise MilvusVerificationError(f"{self.collection_name} exists with fields {actual}, not {wanted}")


class MilvusUpsertOperator(MilvusBaseOperator):
    """
    Upsert rows into a collection, batch by batch, and read every batch back by primary key.

    Rows travel through the rendered task and, from another task, through XCom: for more than some hundreds of vectors
    read them inside a ``@task`` and use :class:`~include.milvus_provider.hooks.milvus.MilvusHook`.

    :param collection_name: Collection or alias. (templated)
    :param data: Rows, each a dictionary with the primary key, the vector and the other fields. (templated)
    :param batch_size: Rows a call.
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    :return: Number of rows upserted.
    """

    template_fields: Sequence[str] = (*MilvusBaseOperator.template_fields, "data")

    def __init__(self, *, data: list[dict[str, Any]], batch_size: int = 500, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.batch_size = batch_size

    def run_on_milvus(self) -> int:
        """Upsert and verify the rows."""
        client, key = self.hook.get_conn(), self.hook.primary_field(self.collection_name)
        ids = [row[key] for row in self.data]
        if len(set(ids)) != len(ids):
            # Milvus up to 2.5 would keep both of two rows with one key.
            raise ValueError(f"{len(ids) - len(set(ids))} of {len(ids)} rows repeat a primary key ({key})")
        for start in range(0, len(ids), self.batch_size):
            end = start + self.batch_size
            client.upsert(self.collection_name, self.data[start:end])
            missing = set(ids[start:end]) - self.hook.existing_ids(self.collection_name, ids[start:end])
            if missing:
                raise MilvusVerificationError(
                    f"{len(missing)} of {len(ids[start:end])} rows are not in {self.collection_name} after their "
                    f"upsert, such as {min(missing)!r}"
                )
        self.log.info("Upserted and verified %d rows in %s", len(ids), self.collection_name)
        return len(ids)


class MilvusDeleteOperator(MilvusBaseOperator):
    """
    Delete rows by primary key or by filter, and make sure that they are gone.

    :param collection_name: Collection or alias. (templated)
    :param ids: Primary keys. (templated)
    :param filter: Boolean expression, such as ``source == "a.txt"``. (templated)
    :param batch_size: Primary keys a call.
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    :return: Number of rows that were there and are gone.
    """

    template_fields: Sequence[str] = (*MilvusBaseOperator.template_fields, "ids", "filter")

    def __init__(
        self,
        *,
        ids: list[int] | list[str] | None = None,
        filter: str | None = None,  # noqa: A002 - pymilvus's word
        batch_size: int = 500,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (ids is None) == (filter is None):
            raise ValueError("give either ids or filter")
        self.ids = ids
        self.filter = filter
        self.batch_size = batch_size

    def run_on_milvus(self) -> int:
        """Delete the rows."""
        deleted = self._by_filter(self.filter) if self.ids is None else self._by_ids(list(self.ids))
        self.log.info("Deleted %d rows of %s", deleted, self.collection_name)
        return deleted

    def _by_filter(self, expression: str | None) -> int:
        if not (expression or "").strip():
            raise ValueError("the filter is empty: it would delete every row")
        found = self.hook.count(self.collection_name, str(expression))
        if found:
            self.hook.get_conn().delete(self.collection_name, filter=expression)
        self._require_gone(self.hook.count(self.collection_name, str(expression)))
        return found

    def _by_ids(self, ids: list[Any]) -> int:
        deleted, key = 0, self.hook.primary_field(self.collection_name)
        for start in range(0, len(ids), self.batch_size):
            batch = ids[start : start + self.batch_size]
            found = self.hook.existing_ids(self.collection_name, batch)
            if found:
                self.hook.get_conn().delete(self.collection_name, filter=keys_in(key, found))
                self._require_gone(len(self.hook.existing_ids(self.collection_name, batch)))
            deleted += len(found)
        return deleted

    def _require_gone(self, left: int) -> None:
        if left:
            raise MilvusVerificationError(f"{self.collection_name}: rows still there after their deletion: {left}")


class MilvusSwitchAliasOperator(MilvusBaseOperator):
    """
    Point an alias at a collection: readers of the alias go over to it at once. Creates the alias if there is none.

    :param collection_name: Collection, by its real name; it is loaded before readers get it. (templated)
    :param alias: Name of the alias. (templated)
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    :return: The collection that the alias pointed at before; None if there was no such alias.
    """

    template_fields: Sequence[str] = (*MilvusBaseOperator.template_fields, "alias")

    def __init__(self, *, alias: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alias = alias

    def run_on_milvus(self) -> str | None:
        """Create or alter the alias and read it back."""
        client = self.hook.get_conn()
        real_name = client.describe_collection(self.collection_name)["collection_name"]
        if real_name != self.collection_name:
            raise ValueError(f"{self.collection_name} is an alias of {real_name}: give the real name")
        client.load_collection(self.collection_name)
        previous = self.hook.alias_target(self.alias)
        if previous is None:
            client.create_alias(self.collection_name, self.alias)
        elif previous != self.collection_name:
            client.alter_alias(self.collection_name, self.alias)
        target = self.hook.alias_target(self.alias)
        if target != self.collection_name:
            raise MilvusVerificationError(f"alias {self.alias} points at {target}, not at {self.collection_name}")
        self.log.info("Alias %s points at %s; before at %s", self.alias, target, previous)
        return previous


class MilvusSearchOperator(MilvusBaseOperator):
    """
    Search a collection for the nearest rows.

    :param collection_name: Collection or alias; it is loaded if it is not. (templated)
    :param data: Query vectors. (templated)
    :param limit: Hits a query vector.
    :param filter: Boolean expression that hits have to fulfil. (templated)
    :param output_fields: Fields of the hits; keep vectors out, the hits go to XCom. (templated)
    :param search_params: Such as ``{"params": {"ef": 64}}``. (templated)
    :param search_kwargs: More keyword arguments of ``MilvusClient.search``, such as ``anns_field``, which is needed
        where a collection has several vector fields, or ``consistency_level``. (templated)
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    :return: For each query vector its hits, nearest first: primary key, ``distance`` and ``entity``.
    """

    template_fields: Sequence[str] = (
        *MilvusBaseOperator.template_fields,
        "data",
        "filter",
        "output_fields",
        "search_params",
        "search_kwargs",
    )

    def __init__(
        self,
        *,
        data: list[list[float]],
        limit: int = 10,
        filter: str = "",  # noqa: A002 - pymilvus's word
        output_fields: list[str] | None = None,
        search_params: dict[str, Any] | None = None,
        search_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.limit = limit
        self.filter = filter
        self.output_fields = output_fields
        self.search_params = search_params
        self.search_kwargs = search_kwargs or {}

    def run_on_milvus(self) -> list[list[dict[str, Any]]]:
        """Search."""
        client = self.hook.get_conn()
        client.load_collection(self.collection_name)
        found = client.search(
            self.collection_name,
            data=self.data,
            limit=self.limit,
            filter=self.filter,
            output_fields=self.output_fields or [],
            search_params=self.search_params or {},
            **self.search_kwargs,
        )
        return [[hit.to_dict() if hasattr(hit, "to_dict") else dict(hit) for hit in hits] for hits in found]
