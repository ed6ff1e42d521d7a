"""How many requests one process has in flight at an endpoint: half as many when it is overloaded, slowly more again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SUCCESSES_PER_STEP = 4  # of each request in flight, before there may be one more


class InFlight:
    """Slots for requests. Safe to use from many threads.

    Args:
        most: Never more than so many at once.
    """

    def __init__(self, most: int) -> None:
        self.successes = 0
        self._most = most
        self._limit = float(most)
        self._flying = 0
        self._halvings = 0
        self._resume_at = 0.0  # of the monotonic clock
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return int(self._limit)

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Wait for room, and for the end of a pause. Yields a ticket for `overloaded`."""
        with self._changed:
            while self._flying >= self.limit or self._resume_at > time.monotonic():
                pause_s = self._resume_at - time.monotonic()
                self._changed.wait(pause_s if pause_s > 0 else None)
            self._flying += 1
            ticket = self._halvings
        try:
            yield ticket
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify_all()

    def succeeded(self) -> None:
        """An answer came: there may soon be more requests at once."""
        with self._changed:
            self.successes += 1
            self._limit = min(self._most, self._limit + 1 / (_SUCCESSES_PER_STEP * self._limit))
            self._changed.notify_all()

    def overloaded(self, ticket: int, pause_s: float) -> None:
        """The endpoint has too much to do.

        Args:
            ticket: What `slot` has yielded: of requests that were in flight together, only the first halves the number.
            pause_s: For how long it wants to be left alone, by all of us.
        """
        with self._changed:
            if ticket == self._halvings:
                self._halvings += 1
                self._limit = float((self.limit + 1) // 2)
            self._resume_at = max(self._resume_at, time.monotonic() + pause_s)
