"""Collections as Airflow assets: milvus://host:port/database/collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk import Asset


def collection_uri(host: str, port: int, database: str, collection: str) -> str:
    """Return the URI of a collection, for `Asset` and for hook lineage."""
    return f"milvus://{host}:{port}/{quote(database, safe='')}/{quote(collection, safe='')}"


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset | None:  # noqa: ARG001 - Airflow's form
    """Return the collection as an OpenLineage dataset: namespace milvus://host:port, name database.collection.

    Assets of this scheme that name no collection are not datasets of a server.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    named = namespace_and_name(asset.uri)
    return Dataset(*named) if named else None


def namespace_and_name(uri: str) -> tuple[str, str] | None:
    """Return what OpenLineage calls a collection: milvus://host:port and database.collection."""
    parts = urlsplit(uri)
    names = [unquote(name) for name in parts.path.strip("/").split("/")]
    if len(names) != 2 or not all(names):
        return None
    return f"milvus://{parts.netloc}", ".".join(names)
