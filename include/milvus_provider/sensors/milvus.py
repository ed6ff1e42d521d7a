"""Wait for Milvus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from include.milvus_provider.hooks.milvus import MilvusHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class MilvusCollectionSensor(BaseSensorOperator):
    """
    Wait until a collection, or an alias, exists and has enough rows.

    :param collection_name: Collection or alias. (templated)
    :param min_rows: Rows it has to have; 0 if existing is enough.
    :param filter: Boolean expression that the rows have to fulfil to count. (templated)
    :param conn_id: The :ref:`Milvus connection <howto/connection:milvus>` to use. (templated)
    """

    template_fields: Sequence[str] = ("conn_id", "collection_name", "filter")

    def __init__(
        self,
        *,
        collection_name: str,
        min_rows: int = 0,
        filter: str = "",  # noqa: A002 - pymilvus's word
        conn_id: str = MilvusHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.collection_name = collection_name
        self.min_rows = min_rows
        self.filter = filter
        self.conn_id = conn_id

    @cached_property
    def hook(self) -> MilvusHook:
        """Return an instance of the MilvusHook."""
        return MilvusHook(conn_id=self.conn_id)

    def poke(self, context: Context) -> bool:  # noqa: ARG002 - the signature is Airflow's
        """Look once; the client is not kept between two looks, which may be hours apart."""
        try:
            if not self.hook.get_conn().has_collection(self.collection_name):
                self.log.info("There is no collection or alias %s yet", self.collection_name)
                return False
            if not self.min_rows:
                return True
            rows = self.hook.count(self.collection_name, self.filter)
            self.log.info("%s has %d of %d rows", self.collection_name, rows, self.min_rows)
            return rows >= self.min_rows
        finally:
            self.hook.close()
