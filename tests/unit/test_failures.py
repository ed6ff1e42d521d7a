import pickle

import pytest

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, IntegrityError
from include.embedding_etl.vectorstore.failures import (
    AlreadyExists,
    Failure,
    NotFound,
    NotLoaded,
    QuotaExceeded,
    Retriable,
    TooLarge,
    to_error,
)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("server unavailable", code=2), Retriable),
        (Failure("rate limit exceeded", code=8), Retriable),
        (Failure("whatever", code=65535, retriable=True), Retriable),
        (Failure("x", status="UNAVAILABLE"), Retriable),
        (Failure("x", status="DEADLINE_EXCEEDED"), Retriable),
        (Failure("too many", status="RESOURCE_EXHAUSTED"), Retriable),
        (Failure("x", status="CANCELLED"), Retriable),
        (Failure("Unexpected error, message=<Cannot invoke RPC on closed channel!>", code=1), Retriable),
        (Failure("failed to query: segment lacks[segment=47]: channel not available[channel=dml_14v0]"), Retriable),
        (Failure("[upsert] Retry timeout: 30s, ...", code=1), Retriable),
        (Failure("wait for loading collection timeout, collection: c", code=1), Retriable),
        (Failure("memory quota exceeded", code=9), QuotaExceeded),
        (Failure("collection not loaded", code=101), NotLoaded),
        (Failure("Received message larger than max (5 vs. 4)", status="RESOURCE_EXHAUSTED"), TooLarge),
        (Failure("query results exceed the maxOutputSize Limit", code=65535), TooLarge),
        (Failure("database not found[database=x]", code=800), ConfigError),
        (Failure("database 'x' does not exist", code=1), ConfigError),
        (Failure("not authenticated", code=1400), ConfigError),
        (Failure("Fail connecting", code=2, status="UNAUTHENTICATED"), ConfigError),
        (Failure("x", status="UNIMPLEMENTED"), ConfigError),
        (Failure("collection not found", code=100), NotFound),
        (Failure("alias not found", code=1600), NotFound),
        (Failure("alias already exist[alias=a]", code=1602), AlreadyExists),
        (Failure("collection 'c' already exists", code=1), AlreadyExists),
        (Failure("index already exists", code=35), AlreadyExists),
        (Failure("bad", code=6), IntegrityError),
        (Failure("bad", code=1100), IntegrityError),
        (Failure("bad", code=1100, retriable=True, is_input_error=True), IntegrityError),
        (Failure("bad", code=65535), IntegrityError),
        (Failure("No space left on device", code=1), IntegrityError),
    ],
    ids=lambda value: value.reason[:30] if isinstance(value, Failure) else "",
)
def test_every_failure_asks_for_one_thing(failure: Failure, kind: type[EmbeddingEtlError]) -> None:
    assert type(to_error("upsert", failure)) is kind


def test_the_message_says_what_was_tried_and_is_not_endless() -> None:
    message = str(to_error("Milvus at h:1: upsert into c", Failure("x" * 10_000)))
    assert message.startswith("Milvus at h:1: upsert into c: xxx")
    assert len(message) < 600


def test_errors_survive_the_way_between_processes() -> None:
    error = to_error("upsert", Failure("larger than max"))
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copied), str(copied)) == (type(error), str(error))
