"""Read what a server says about a collection, and where a server is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.types import CollectionSpec
from include.embedding_etl.vectorstore.schema import VECTOR_FIELD

_NOT_COMPARED = frozenset({"created_at"})  # differs when a creation that was cut off is tried again


def server_address(uri: str) -> str:
    """Host and port, for messages: a user name and password in the URI stay out of them.

    Raises:
        ConfigError: the URI is not of the form that all processes can use.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "the address of Milvus has to be http://host:port or https://host:port. A Milvus Lite file cannot be "
            "shared by processes: start `milvus-lite server` and give its address."
        )
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 19530)}"


def dimension_of(name: str, description: Mapping[str, Any]) -> int:
    """The dimension of the collection that has this real name.

    Raises:
        IntegrityError: the name is an alias, or the collection has no vector field of ours.
    """
    if description["collection_name"] != name:
        raise IntegrityError(f"{name} is an alias of {description['collection_name']}: use the real name")
    for field in description["fields"]:
        if field["name"] == VECTOR_FIELD:
            return int(field["params"]["dim"])
    raise IntegrityError(f"{name} has no field {VECTOR_FIELD!r}: it is not one of ours")


def properties_of(description: Mapping[str, Any]) -> dict[str, str]:
    """The custom properties."""
    return {str(key): str(value) for key, value in description.get("properties", {}).items()}


def require_same(spec: CollectionSpec, dimension: int, properties: Mapping[str, str]) -> None:
    """Check that an existing collection is the one that was to be created.

    Raises:
        IntegrityError: naming what is different.
    """
    if dimension != spec.dimension:
        raise IntegrityError(f"{spec.name} exists with dimension {dimension}, not {spec.dimension}")
    for key, wanted in spec.properties.items():
        if key not in _NOT_COMPARED and properties.get(key) != wanted:
            raise IntegrityError(f"{spec.name} exists with {key} {properties.get(key)!r}, not {wanted!r}")
