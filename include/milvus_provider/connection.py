"""Read an Airflow connection of type milvus. Imports neither Airflow nor pymilvus: anything may read the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORT = 19530
_HTTPS_PORT = 443  # of a URI without port: managed services
_YES = frozenset({"true", "yes", "on", "1"})
_TLS_FIELDS = ("ca_pem_path", "client_pem_path", "client_key_path", "server_name")


class InvalidMilvusConnection(ValueError):
    """The fields of the connection do not make an address. The message names the field and what to write."""


class ConnectionFields(Protocol):
    """What is read of a connection, whether it is Airflow's own or the Task SDK's."""

    host: Any
    port: Any
    login: Any
    password: Any
    schema: Any

    @property
    def extra_dejson(self) -> Any:
        """The extra fields."""


@dataclass(frozen=True, slots=True)
class MilvusConnection:
    """Where a Milvus is and how to get in."""

    uri: str  # http(s)://host[:port], without credentials
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Mapping[str, str] = field(default_factory=dict)  # pymilvus's names: files of certificates, server name

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.uri)
        return parts.hostname or "", parts.port or (_HTTPS_PORT if parts.scheme == "https" else DEFAULT_PORT)


def read_connection(connection: ConnectionFields) -> MilvusConnection:
    """What the fields of a connection mean.

    Host is a URI, or a host with or without port. Login and password, or the extra field `token`, or a password alone
    (an API key) are the way in. Schema is the database. The extra field `secure` asks for TLS where host is no URI.

    :param connection: a connection of type milvus.
    :raises InvalidMilvusConnection: a field is missing, wrong, or contradicts another.
    """
    extra = {key: value for key, value in (connection.extra_dejson or {}).items() if value not in (None, "")}
    secure = str(extra.get("secure", "")).strip().lower() in _YES  # a connection from a URI has text only
    uri = _uri((connection.host or "").strip(), connection.port, secure)
    tls = _tls({name: str(extra[name]) for name in _TLS_FIELDS if name in extra})
    if tls and not uri.startswith("https://"):
        raise InvalidMilvusConnection(
            f"{', '.join(tls)} set, but TLS is off: switch TLS on, or begin the URI with https"
        )
    return MilvusConnection(uri, _token(connection, extra), connection.schema or "default", tls)


def _uri(host: str, port: Any, secure: bool) -> str:
    if not host:
        raise InvalidMilvusConnection("host is empty; write the URI, such as http://milvus:19530")
    is_uri = "://" in host
    parts = urlsplit(host if is_uri else f"{'https' if secure else 'http'}://{host}")
    own_port = _checked(parts)
    if secure and parts.scheme == "http":
        raise InvalidMilvusConnection("TLS is on, but the URI begins with http://: write https://, or switch TLS off")
    if own_port and port and own_port != int(port):
        raise InvalidMilvusConnection(f"host says port {own_port}, port says {port}: leave one of them empty")
    chosen = own_port or port or (None if parts.scheme == "https" and is_uri else DEFAULT_PORT)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{name}" + (f":{chosen}" if chosen else "")


def _checked(parts: SplitResult) -> int | None:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidMilvusConnection(
            "host has to be a host, http://host:port or https://host:port. A Milvus Lite file cannot be shared by "
            "processes: start `milvus-lite server` and give its address"
        )
    if parts.username or parts.password:
        # Airflow shows the host to everybody who may see the connection.
        raise InvalidMilvusConnection("host carries a user or password: write them into their own fields")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidMilvusConnection("host carries a path: the database has a field of its own")
    try:
        return parts.port
    except ValueError as error:
        raise InvalidMilvusConnection(f"the port in host is no port: {error}") from error


def _token(connection: ConnectionFields, extra: Mapping[str, Any]) -> str:
    password = connection.password or ""
    return str(extra.get("token") or (f"{connection.login}:{password}" if connection.login else password))


def _tls(given: dict[str, str]) -> dict[str, str]:
    """By pymilvus's names: it ignores a CA certificate without a client's, and half a client certificate, silently."""
    client = [name for name in ("client_pem_path", "client_key_path") if name in given]
    if not client and "ca_pem_path" in given:
        given["server_pem_path"] = given.pop("ca_pem_path")
    elif client and not all(name in given for name in _TLS_FIELDS[:3]):
        raise InvalidMilvusConnection("mutual TLS needs client certificate, client key and CA certificate: all three")
    return given
