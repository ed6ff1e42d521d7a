import logging
import time

import pytest

from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.vectorstore.failures import QuotaExceeded, Retriable
from include.embedding_etl.vectorstore.retry import RetryPolicy, with_retries

POLICY = RetryPolicy(window_s=0.4, first_wait_s=0.01, longest_wait_s=0.05, quota_wait_s=0.2)


def failing(times: int, error: Exception) -> tuple[list[float], object]:
    tried: list[float] = []

    def attempt() -> str:
        tried.append(time.monotonic())
        if len(tried) <= times:
            raise error
        return "done"

    return tried, attempt


def test_it_is_tried_until_it_works() -> None:
    tried, attempt = failing(3, Retriable("later"))
    assert with_retries(POLICY, attempt) == "done"  # type: ignore[arg-type]
    assert len(tried) == 4


def test_when_the_window_is_spent_the_last_reason_is_told() -> None:
    tried, attempt = failing(10_000, Retriable("upsert: later"))
    started_s = time.monotonic()
    with pytest.raises(TransientError, match=r"upsert: later \(tried \d+ times in 0 s\)") as raised:
        with_retries(POLICY, attempt)  # type: ignore[arg-type]
    assert type(raised.value) is TransientError
    assert time.monotonic() - started_s < 30.0
    assert len(tried) > 3


def test_what_would_fail_again_is_raised_at_once() -> None:
    tried, attempt = failing(5, IntegrityError("no"))
    with pytest.raises(IntegrityError):
        with_retries(POLICY, attempt)  # type: ignore[arg-type]
    assert len(tried) == 1


def test_a_full_server_is_asked_more_slowly() -> None:
    tried, attempt = failing(1, QuotaExceeded("full"))
    with_retries(POLICY, attempt)  # type: ignore[arg-type]
    assert tried[1] - tried[0] >= POLICY.quota_wait_s


def test_every_retry_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    _, attempt = failing(1, QuotaExceeded("memory quota exceeded"))
    with caplog.at_level(logging.WARNING):
        with_retries(POLICY, attempt)  # type: ignore[arg-type]
    assert "memory quota exceeded; trying again (attempt 2)" in caplog.text
