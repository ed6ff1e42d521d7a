"""What a failure of Milvus asks of us, decided by its codes. Knows the codes and gRPC, not the client library.

retry at once        server not ready, node gone, rate limit, deadline, connection lost
retry slowly         quota exceeded: a person or a compaction has to make room
load, then retry     collection is released
split                the message was larger than the server takes
ConfigError          unknown database, wrong token, not a Milvus port
IntegrityError       everything else: the same request would fail again
"""

import re
from dataclasses import dataclass
from typing import Any

import grpc

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, IntegrityError, TransientError

_MAX_REASON = 500

_RETRY_CODES = frozenset({2, 8})
_RETRY_STATUS = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "INTERNAL"}
)
# The last two: for a moment after an import or a rebalancing, a segment is on no query node.
_RETRY_REASONS = re.compile(
    r"closed channel|Retry timeout:|Retry run out of|wait for .* timeout|segment lacks\[|channel not available\[",
    re.IGNORECASE,
)
_QUOTA_CODE = 9
_NOT_LOADED_CODE = 101
_TOO_LARGE = re.compile(r"larger than max|maxOutputSize", re.IGNORECASE)
_CONFIG_CODES = frozenset({800, 802, 1400, 1401})
_CONFIG_STATUS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})
_UNKNOWN_DATABASE = re.compile(r"^database .* does not exist|database not found", re.IGNORECASE)  # Lite: no code for it
_NOT_FOUND_CODES = frozenset({100, 1600})
_EXISTS_CODES = frozenset({35, 1602})
_EXISTS = re.compile(r"already exists?\b", re.IGNORECASE)  # Lite: code 1, as for everything unexpected


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call, as the client library told it."""

    reason: str
    code: int = 0  # Milvus's own
    status: str = ""  # gRPC's
    retriable: bool = False
    is_input_error: bool = False


class Retriable(TransientError):
    """The same call may succeed in a moment."""


class QuotaExceeded(Retriable):
    """The same call may succeed when somebody made room."""


class NotLoaded(Retriable):
    """The same call succeeds after loading the collection."""


class TooLarge(IntegrityError):
    """The message was larger than the server takes: send less at once."""


class NotFound(IntegrityError):
    """There is no such collection or alias."""


class AlreadyExists(IntegrityError):
    """There is such a collection, alias or index already."""


def read_failure(error: Exception) -> Failure:
    """What an exception of the client library or of gRPC says.

    A failed connection hides the gRPC error that tells why in its cause.
    """
    rpc: Any = next((each for each in (error, error.__cause__) if isinstance(each, grpc.Call)), None)
    status = rpc.code().name if rpc is not None else ""
    details = f" ({rpc.details()})" if rpc is not None else ""
    if rpc is error:
        return Failure(f"{status}{details}", status=status)
    code: Any = getattr(error, "code", 0)
    if isinstance(code, grpc.StatusCode):  # the client library gave up its own retries
        code, status = 0, code.name
    reason = f"{getattr(error, 'message', error)}{details}"
    retriable, is_input_error = getattr(error, "retriable", False), getattr(error, "is_input_error", False)
    return Failure(reason, code, status, bool(retriable), bool(is_input_error))


def to_error(what: str, failure: Failure) -> EmbeddingEtlError:
    """The error that this failure is for us.

    Args:
        what: What was tried, where: begins the message.
        failure: What the client library raised.
    """
    return _kind(failure)(f"{what}: {failure.reason.strip()[:_MAX_REASON]}")


def _kind(failure: Failure) -> type[EmbeddingEtlError]:
    # From the most certain sign to the vaguest. A size that does not fit arrives as RESOURCE_EXHAUSTED, a wrong token
    # of the connection as code 2: both would be retried for nothing if they were looked at later.
    if _TOO_LARGE.search(failure.reason):
        return TooLarge
    if failure.status in _CONFIG_STATUS or failure.code in _CONFIG_CODES or _UNKNOWN_DATABASE.search(failure.reason):
        return ConfigError
    if failure.code == _NOT_LOADED_CODE:
        return NotLoaded
    if failure.code == _QUOTA_CODE:
        return QuotaExceeded
    if failure.is_input_error:
        return _final_kind(failure)
    if failure.retriable or failure.code in _RETRY_CODES or failure.status in _RETRY_STATUS:
        return Retriable
    if _RETRY_REASONS.search(failure.reason):
        return Retriable
    return _final_kind(failure)


def _final_kind(failure: Failure) -> type[IntegrityError]:
    if failure.code in _EXISTS_CODES or _EXISTS.search(failure.reason):
        return AlreadyExists
    return NotFound if failure.code in _NOT_FOUND_CODES else IntegrityError
