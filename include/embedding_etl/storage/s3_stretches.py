"""A big bucket is cut into stretches of keys that are listed side by side. Here: what a stretch is, and where to cut.

A stretch begins behind one text and ends with another, whether or not there are such keys: so the stretches together
are all keys that there can be, and what is stored or deleted meanwhile falls into one of them.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from include.embedding_etl.key_range import MAX_KEY_BYTES, first_behind
from include.embedding_etl.storage.page_spool import HeldPage
from include.embedding_etl.storage.s3_listing import Page
from include.embedding_etl.types import ListedObject

AskPage: TypeAlias = Callable[[str, Mapping[str, str]], Page]  # (prefix, what else to ask for)
_LAST = "\U0010ffff"
_MAX_LEVELS = 4
CUTS_PER_PAGE = 3  # cuts may be wrong, and each wrong one costs a request: this bounds them by the pages there are
_ASCII_END = 0x7F


class Progress(Enum):
    """How far a stretch is."""

    WAITING = auto()
    LISTING = auto()
    DONE = auto()


@dataclass(slots=True, eq=False)
class Stretch:
    """The keys behind `after` up to and including `until`."""

    after: str | None  # None = from the beginning
    until: str | None  # None = to the end. Others may lower it while the stretch is listed
    varies: bool = False  # whether its keys are known to differ where they were cut off from others
    progress: Progress = Progress.WAITING
    position: str = ""  # the last key that was listed
    pages: deque[tuple[HeldPage, int]] = field(default_factory=deque)  # with how many of its objects belong here
    cuts_left: int = 0  # until its next page
    first: str | None = None  # the first key that the store has behind `after`, be it in this stretch or not
    rest: Sequence[ListedObject] = ()  # what the last page holds behind `until`
    token: str | None = None  # how to go on behind the last page
    last_query: Mapping[str, str] = field(default_factory=dict)  # how the last page was asked for
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.position = self.after or ""

    @property
    def successor(self) -> str | None:
        """The first key behind the stretch; None = the store has none. Known when it is done."""
        return self.rest[0].key if self.rest else None


def find_boundaries(ask: AskPage, prefix: str, wanted: int) -> list[str]:
    """Texts that cut the keys about evenly, if folders do: one request a level, deeper where there is one folder only.

    Args:
        ask: For one page.
        prefix: Of all keys.
        wanted: At most so many, in order.
    """
    folder, boundaries = prefix, set[str]()
    for _ in range(_MAX_LEVELS):
        folders = ask(folder, {"delimiter": "/"}).folders
        boundaries.update(folders)
        if len(folders) != 1:
            break
        folder = folders[0]
        boundaries.add(first_behind(folder))
    usable = sorted(text for text in boundaries if prefix < text)
    step = max(1, -(-len(usable) // wanted))
    return usable[::step]


def cut(stretch: Stretch, prefix: str) -> Stretch | None:
    """Take the end off a stretch that is being listed.

    Returns:
        What was taken off; None where nothing can be.
    """
    boundary, varies = _middle(stretch, prefix)
    if not stretch.position < boundary or (stretch.until is not None and boundary >= stretch.until):
        return None
    if len(boundary.encode()) > MAX_KEY_BYTES:
        return None
    taken = Stretch(boundary, stretch.until, varies)
    stretch.until, stretch.cuts_left = boundary, stretch.cuts_left - 1
    return taken


def _middle(stretch: Stretch, prefix: str) -> tuple[str, bool]:
    """A text that may lie in the middle, and whether keys behind it are known to differ from those before it.

    Nobody knows which keys there are. As long as nothing is known of what follows, the question is whether all keys go
    on with the same character: a stretch that turns out to be empty has cost one request, and is the answer.
    """
    position, until = stretch.position, stretch.until
    shared = len(prefix) if until is None else _shared(position, until)
    above = ord(until[shared]) if until is not None and shared < len(until) else ord(_LAST)
    if shared < len(position) and above - ord(position[shared]) < 2:  # neighbours: the middle is further in
        shared, above = shared + 1, ord(_LAST)
    here = ord(position[shared]) if shared < len(position) else ord(" ")
    if above > _ASCII_END:
        if not stretch.varies or here >= _ASCII_END - 2:
            return position[: shared + 1] + _LAST, True
        above = _ASCII_END
    return position[:shared] + chr((here + above) // 2), stretch.varies


def _shared(one: str, other: str) -> int:
    """With how many of the same characters both begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
