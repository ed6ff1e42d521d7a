"""Our own retry. The client library's begins for rate limits only: against a dead server it gives up in 0.1 s."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from include.embedding_etl.errors import TransientError
from include.embedding_etl.vectorstore.failures import QuotaExceeded, Retriable

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often a call is tried again."""

    window_s: float = 60.0  # no attempt begins later than this after the first
    first_wait_s: float = 0.2  # doubles with every attempt, plus jitter
    longest_wait_s: float = 5.0
    quota_wait_s: float = 10.0  # room has to be made first: asking faster does not help


STANDARD_RETRY = RetryPolicy()


def with_retries(policy: RetryPolicy, attempt: Callable[[], Result]) -> Result:
    """Call `attempt` until it does not raise Retriable, or the policy's window is spent.

    Raises:
        TransientError: the window is spent; carries the last reason.
        EmbeddingEtlError: whatever else the attempt raised, at once.
    """
    backoff = wait_exponential_jitter(
        multiplier=policy.first_wait_s, max=policy.longest_wait_s, jitter=policy.first_wait_s
    )

    def wait_s(state: RetryCallState) -> float:
        return policy.quota_wait_s if isinstance(_error(state), QuotaExceeded) else backoff(state)

    retrying = Retrying(
        stop=stop_before_delay(policy.window_s),
        wait=wait_s,
        retry=retry_if_exception_type(Retriable),
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except Retriable as error:
        tries = retrying.statistics.get("attempt_number", 1)
        raise TransientError(f"{error} (tried {tries} times in {policy.window_s:.0f} s)") from error


def _log_retry(state: RetryCallState) -> None:
    _log.warning("%s; trying again (attempt %d)", _error(state), state.attempt_number + 1)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
