"""Why a connection to Milvus failed, in the words of the fields that a person can correct."""

from __future__ import annotations

import re
import socket
from typing import Any

from include.milvus_provider.connection import MilvusConnection

_PROBE_S = 3.0
_NO_DATABASE_CODES = frozenset({800, 802})
_NO_DATABASE = re.compile(r"database\b.*(does not exist|not found)", re.IGNORECASE)  # Milvus Lite: no code for it
_NOT_ALLOWED = re.compile(r"UNAUTHENTICATED|PERMISSION_DENIED")
_NOT_ALLOWED_CODES = frozenset({1400, 1401})
_NOT_ALLOWED_TEXT = re.compile(r"auth check failure|unauthenticated|permission ?denied", re.IGNORECASE)
_TLS = re.compile(r"handshake|certificate|ssl", re.IGNORECASE)
_MAX_DETAIL = 300


def explain(error: Exception, target: MilvusConnection) -> str:
    """Say what is wrong and which field to correct.

    :param error: what pymilvus or gRPC raised.
    :param target: what was connected to.
    """
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be read ({error.strerror}): the file has to be on every worker and API server."
    host, port = target.address
    code, status, text = getattr(error, "code", 0), _status(error), _text(error)
    if code in _NOT_ALLOWED_CODES or _NOT_ALLOWED.search(status) or _NOT_ALLOWED_TEXT.search(text):
        if not target.token:
            return f"Milvus at {host}:{port} asks for a login: fill in user and password, or the token."
        return f"Milvus at {host}:{port} refused the login: user, password or token is wrong."
    if code in _NO_DATABASE_CODES or _NO_DATABASE.search(text):
        return f"Milvus at {host}:{port} has no database {target.database!r}: correct the database, or create it."
    return _unreachable(host, port, target, text)


def _unreachable(host: str, port: int, target: MilvusConnection, text: str) -> str:
    try:
        socket.create_connection((host, port), timeout=_PROBE_S).close()
    except socket.gaierror:
        return f"There is no host {host!r}: correct the host."
    except ConnectionRefusedError:
        return f"Nothing listens on {host}:{port}: is Milvus running, and is this its port? It is usually 19530."
    except OSError as error:
        return f"{host}:{port} cannot be reached ({error}): correct host or port, or open the firewall."
    if target.uri.startswith("https://") and _TLS.search(text):
        return (
            f"{host}:{port} listens, but TLS failed: switch TLS off if this Milvus does not use it, else correct the "
            f"CA certificate or the server name. {text[:_MAX_DETAIL]}"
        )
    return (
        f"{host}:{port} listens, but does not answer like Milvus: correct the port (usually 19530; 9091 is that of "
        f"metrics), or switch TLS on if this Milvus uses it. {text[:_MAX_DETAIL]}"
    )


def _calls(error: Exception) -> list[Any]:
    """The errors of gRPC behind it: pymilvus hides the one that tells why in the cause."""
    import grpc

    return [each for each in (error, error.__cause__) if isinstance(each, grpc.Call)]


def _status(error: Exception) -> str:
    return " ".join(call.code().name for call in _calls(error))


def _text(error: Exception) -> str:
    message = str(getattr(error, "message", error))
    return " ".join([message, *(str(call.details()) for call in _calls(error))]).strip()
