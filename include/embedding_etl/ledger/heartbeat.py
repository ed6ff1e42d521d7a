"""Keeps a lease alive while its holder works."""

import threading
from types import TracebackType
from typing import Self

from include.embedding_etl.errors import TransientError
from include.embedding_etl.ledger.leases import Leases
from include.embedding_etl.ledger.records import Lease


class Heartbeat:
    """A context in which a daemon thread extends the lease, three times a `ttl_s`. It does not release the lease.

    A database that does not answer is asked again at the next beat: the lease may well be ours still. Fencing decides.
    """

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases = leases
        self._lease = lease
        self._lost: TransientError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {lease.collection}", daemon=True)

    @property
    def lease(self) -> Lease:
        """The lease with its newest expiry."""
        return self._lease

    def check(self) -> None:
        """Stop the holder if a beat found the lease lost. Asks nobody: use `Leases.check` before a write.

        Raises:
            TransientError: the lease was lost.
        """
        if self._lost is not None:
            raise TransientError(str(self._lost)) from self._lost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while self._lost is None and not self._stop.wait(self._lease.ttl_s / 3):
            try:
                self._lease = self._leases.extend(self._lease)
            except TransientError as error:
                if self._is_lost():
                    self._lost = error

    def _is_lost(self) -> bool:
        try:
            return not self._leases.holds(self._lease)
        except TransientError:
            return False
