"""Watches the queue of a pipeline: receives, keeps messages hidden, asks the ledger, says when a run has to be woken.

A message is deleted when a run that lists after it had come is recorded (wake_up.py), and not before. A watch that dies
loses nothing: its messages show again after their visibility timeout, and wake again. Made for one thread.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.event_queue import EventQueue, QueueMessage
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.s3_events import WatchedKeys, reason_to_ignore
from include.embedding_etl.settings import EventSettings, SourceSettings
from include.embedding_etl.wake_up import WakeUps

LONG_POLL_S = 5  # not 20: so long a triggerer waits for this thread when it stops
RECEIVE_AT_MOST = 1_000  # messages a look, so that a burst does not keep the first of them from waking a run
RECEIVE_FOR_S = 2.0
HOLD_AT_MOST = 10_000  # messages in hand; what does not fit waits in the queue
DELETE_AT_MOST = 1_000  # messages a look
RUNS = 50  # the newest ingestions: a later one is told from them, however wrong the clocks
CLOCKS_DIFFER_MS = 300_000  # by how much at most, where times of the queue and of workers are compared
LISTED_SINCE = "sent long before the newest run began"


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the queue brought."""

    received: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)  # by reason
    waking: int = 0  # messages that a run has to be woken for now; 0 = none has to be woken


class EventWatch:
    """One pipeline's queue, the messages in hand, and the ledger that says when they have served.

    Args:
        pipeline: Its name.
        source: With `events`.
        open_queue: Called again after every failure, with fresh credentials.
        open_ledger: Called once, when it is first needed.
        is_waiting: Whether a run of the pipeline waits that is none of the recorded ones: it will list later.
    """

    def __init__(
        self,
        pipeline: str,
        source: SourceSettings,
        settings: EventSettings,
        open_queue: Callable[[], EventQueue],
        open_ledger: Callable[[], Ledger],
        is_waiting: Callable[[Iterable[str]], bool],
    ) -> None:
        self.pipeline = pipeline
        bucket, _, prefix = source.uri.removeprefix("s3://").partition("/")
        self._watched = WatchedKeys(bucket, prefix, KeyFilter(source.include, source.exclude).accepts)
        self._settings = settings
        self._wake_ups = WakeUps(settings.repeat_after_s, settings.min_interval_s)
        self._open_queue, self._open_ledger, self._is_waiting = open_queue, open_ledger, is_waiting
        self._queue: EventQueue | None = None
        self._finished: list[str] = []  # handles of messages that have served or are none of ours

    @property
    def in_hand(self) -> int:
        """How many messages wait for a run."""
        return len(self._wake_ups.held)

    def look(self) -> Look:
        """Look at the queue and the ledger once.

        Raises:
            EmbeddingEtlError: one of them did not answer, or refused. Nothing is lost: look again later.
        """
        try:
            return self._look(self._connected())
        except EmbeddingEtlError:
            self._disconnect()
            raise

    def close(self) -> None:
        """Show the messages in hand to whoever watches next, and close everything."""
        try:
            in_hand = [held.handle for held in self._wake_ups.held.values()][:DELETE_AT_MOST]
            if in_hand or self._finished:
                self._delete_some(self._connected())
                self._connected().hide(in_hand, 0)
        finally:
            self._disconnect()
            if "_ledger" in self.__dict__:
                self._ledger.close()

    def _look(self, queue: EventQueue) -> Look:
        self._stay_hidden(queue)
        waking = self._attend() if self._wake_ups.held else 0
        self._delete_some(queue)
        if waking:
            return Look(waking=waking)
        messages = self._receive(queue)
        if not messages:
            return Look()
        newest = self._newest_runs()
        ignored = Counter[str]()
        for message, expires_s in messages:
            if reason := self._reason_to_ignore(message, newest):
                ignored[reason] += 1
                self._finished.append(message.handle)
            else:
                self._wake_ups.keep(message.message_id, message.handle, expires_s)
        return Look(len(messages), ignored, self._attend())

    def _receive(self, queue: EventQueue) -> list[tuple[QueueMessage, float]]:
        """(message, when it shows again) of what comes within moments of the first message."""
        messages: list[tuple[QueueMessage, float]] = []
        until_s, wait_s = time.monotonic() + LONG_POLL_S + RECEIVE_FOR_S, LONG_POLL_S
        room = min(RECEIVE_AT_MOST, HOLD_AT_MOST - self.in_hand)
        while len(messages) < room and time.monotonic() < until_s:
            asked_s = time.monotonic()
            received = queue.receive(wait_s)
            if not received:
                break
            if wait_s:
                until_s, wait_s = time.monotonic() + RECEIVE_FOR_S, 0
            messages += [(message, asked_s + queue.visibility_timeout_s) for message in received]
        return messages

    def _reason_to_ignore(self, message: QueueMessage, newest: Mapping[str, int]) -> str:
        # A backlog, or what showed again while no triggerer ran, does not wake a run each: the newest one has seen it.
        # Not by a run of the future: then some clock is wrong, and nothing follows from it.
        now_ms = time.time_ns() // 1_000_000
        begun_ms = max((begun for begun in newest.values() if begun <= now_ms), default=0)
        if message.sent_ms is not None and message.sent_ms + CLOCKS_DIFFER_MS < begun_ms:
            return LISTED_SINCE
        return reason_to_ignore(message.body, self._watched)

    def _attend(self) -> int:
        """Let go of what has served; say for how many messages a run has to be woken."""
        recorded = self._newest_runs().keys()
        self._finished += [held.handle for held in self._wake_ups.settle(recorded)]
        if not self._wake_ups.due(time.monotonic()) or self._is_waiting(recorded):
            return 0
        self._wake_ups.asked(time.monotonic(), recorded)
        return self.in_hand

    def _stay_hidden(self, queue: EventQueue) -> None:
        soon = self._wake_ups.showing_soon(time.monotonic(), self._settings.visibility_timeout_s / 2)
        if soon:
            until_s = time.monotonic() + self._settings.visibility_timeout_s
            # One that cannot be hidden any longer (after twelve hours SQS refuses) shows, and is received again.
            queue.hide([held.handle for held in soon], self._settings.visibility_timeout_s)
            self._wake_ups.hidden(soon, until_s)

    def _delete_some(self, queue: EventQueue) -> None:
        if self._finished:
            queue.delete(self._finished[:DELETE_AT_MOST])
            del self._finished[:DELETE_AT_MOST]

    def _newest_runs(self) -> dict[str, int]:
        return self._ledger.runs.newest(self.pipeline, RUNS, "ingest")

    @cached_property
    def _ledger(self) -> Ledger:
        return self._open_ledger()

    def _connected(self) -> EventQueue:
        if self._queue is None:
            self._queue = self._open_queue()
        return self._queue

    def _disconnect(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None
