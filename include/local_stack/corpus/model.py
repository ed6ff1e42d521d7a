"""One object of the sample corpus: its key, its bytes, and what has to become of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "dead letter", "skipped", "unrouted"]


@dataclass(frozen=True, slots=True)
class CorpusObject:
    """One object, with the outcome that tests and the demo compare a run with."""

    key: str
    media_type: str  # what its content is, whatever its name says; "" where nobody looks inside
    write: Callable[[], bytes]  # the same bytes each time
    lanes: tuple[str, ...] = ()
    outcome: Outcome = "ok"
    reason: str = ""  # class of the dead letter, or why it is skipped
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_marker(self) -> bool:
        """Whether it is a directory marker: a key that ends in a slash, and no bytes."""
        return self.key.endswith("/")
