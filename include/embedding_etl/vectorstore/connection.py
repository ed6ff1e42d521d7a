"""A connection to a vector database, whatever its client library: opened on first use, every call retried.

It knows nothing of the library but which exceptions it raises.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from include.embedding_etl.vectorstore.failures import NotLoaded, read_failure, to_error
from include.embedding_etl.vectorstore.retry import RetryPolicy, with_retries


class Client(Protocol):
    """The little that every client can do."""

    def close(self) -> None:
        """Close it."""


AnyClient = TypeVar("AnyClient", bound=Client)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Driver(Generic[AnyClient]):
    """How to use a client library."""

    connect: Callable[[], AnyClient]
    load: Callable[[AnyClient, str], object]  # makes a collection, by real name or alias, ready for reading
    errors: tuple[type[Exception], ...]  # what it raises


class Connection(Generic[AnyClient]):
    """One client, shared by the threads of this process.

    Args:
        address: For messages; carries no secret.
        driver: How to use the library.
        policy: How long a failing call is tried again.
    """

    def __init__(self, address: str, driver: Driver[AnyClient], policy: RetryPolicy) -> None:
        self._address, self._driver, self._policy = address, driver, policy
        self._client: AnyClient | None = None
        self._lock = threading.Lock()
        self._loaded: set[str] = set()

    def run(self, what: str, call: Callable[[AnyClient], Result], load: str = "") -> Result:
        """Call the library: with retries, its errors translated.

        Args:
            what: For messages: what is tried.
            call: May be called several times.
            load: Collection or alias that has to be loaded for it.
        """

        return with_retries(self._policy, lambda: self._attempt(what, call, load))

    def run_once(self, what: str, call: Callable[[AnyClient], Result]) -> Result:
        """The same for a call that must not be made twice: after a TransientError it may have been heard or not."""
        return self._attempt(what, call, "")

    def forget(self, name: str) -> None:
        """The collection was dropped: one that is created under its name is not loaded."""
        self._loaded.discard(name)

    def close(self) -> None:
        """Close the client; the next call opens another one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None
            self._loaded.clear()

    def _attempt(self, what: str, call: Callable[[AnyClient], Result], load: str) -> Result:
        try:
            client = self._connected()
            if load and load not in self._loaded:
                # On Milvus Lite, collections are released whenever the server starts.
                self._driver.load(client, load)
                self._loaded.add(load)
            return call(client)
        except self._driver.errors as error:
            failure = to_error(f"Milvus at {self._address}: {what}", read_failure(error))
            if isinstance(failure, NotLoaded):
                self._loaded.discard(load)
            raise failure from error

    def _connected(self) -> AnyClient:
        with self._lock:
            if self._client is None:
                self._client = self._driver.connect()
            return self._client
