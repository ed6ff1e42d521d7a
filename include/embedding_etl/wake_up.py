"""When held messages wake a run, and when they have served. Pure: no queue, no ledger, no clock.

A message has served when an ingestion is recorded that was not recorded yet after the message had come: only such a run
is sure to list later. Runs are compared by id and not by time, since the clocks of a queue, a triggerer and workers
differ. While one wake-up is on its way no other is asked for, however many messages come.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Held:
    """A message that we have in hand: nobody else sees it until then."""

    message_id: str
    handle: str  # of its latest reception
    hidden_until_s: float
    known: frozenset[str] | None = None  # ingestions recorded when it had come; None = not looked yet


@dataclass(slots=True)
class WakeUps:
    """The messages in hand and the wake-up on its way.

    Args:
        repeat_after_s: A wake-up that brought no run is repeated after so long.
        min_interval_s: Two wake-ups are so far apart at least.
    """

    repeat_after_s: float
    min_interval_s: float = 0.0
    held: dict[str, Held] = field(default_factory=dict)
    _known_when_asked: frozenset[str] | None = None  # None = no wake-up is on its way
    _asked_at_s: float = float("-inf")

    def keep(self, message_id: str, handle: str, hidden_until_s: float) -> None:
        """Take a message in hand, or take it again: what came twice is as old as when it came first."""
        before = self.held.get(message_id)
        known = before.known if before else None
        self.held[message_id] = Held(message_id, handle, hidden_until_s, known)

    def settle(self, recorded: AbstractSet[str]) -> list[Held]:
        """Let go of the messages that have served.

        Args:
            recorded: The newest ingestions of the pipeline, looked up after the last message was received.
        """
        now_known = frozenset(recorded)
        if self._known_when_asked is not None and now_known - self._known_when_asked:
            self._known_when_asked = None
        served = [held for held in self.held.values() if held.known is not None and now_known - held.known]
        for held in served:
            del self.held[held.message_id]
        for held in list(self.held.values()):
            if held.known is None:
                self.held[held.message_id] = replace(held, known=now_known)
        return served

    def due(self, now_s: float) -> bool:
        """Whether a run should be woken now, unless one is waiting anyway."""
        patience_s = self.min_interval_s if self._known_when_asked is None else self.repeat_after_s
        return bool(self.held) and now_s - self._asked_at_s >= patience_s

    def asked(self, now_s: float, recorded: AbstractSet[str]) -> None:
        """A wake-up is on its way."""
        self._asked_at_s, self._known_when_asked = now_s, frozenset(recorded)

    def showing_soon(self, now_s: float, within_s: float) -> list[Held]:
        """The messages that others would see within that time: they have to be hidden for longer."""
        return [held for held in self.held.values() if held.hidden_until_s - now_s <= within_s]

    def hidden(self, messages: list[Held], until_s: float) -> None:
        """The messages stay hidden until then."""
        for held in messages:
            self.held[held.message_id] = replace(held, hidden_until_s=until_s)
