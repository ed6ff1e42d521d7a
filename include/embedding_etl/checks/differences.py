"""What is not as it should be, piece by piece, in a temporary file: memory stays flat however much is wrong."""

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLES = 5
_SAMPLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which storage, ledger and Milvus can differ."""

    mending: str  # what `--repair` does about it
    pending: bool = False  # the next run does it anyway: no fault
    stays: bool = False  # a person has to do something


REWRITE = "its object's rows are written again from stored vectors"
REBUILD = "the lane is built anew beside it from stored vectors, then the alias is switched"
NEXT_RUN = "the next run does it"
KINDS: Mapping[str, Kind] = {
    "new object": Kind(NEXT_RUN, pending=True),
    "changed object": Kind(NEXT_RUN, pending=True),
    "vanished object": Kind(NEXT_RUN, pending=True),
    "pending change": Kind(NEXT_RUN, pending=True),
    "lane without collection": Kind(NEXT_RUN, pending=True),
    "ledger contradiction": Kind("the object is read again, and its rows are written again"),
    "missing row": Kind(REWRITE),
    "stale version": Kind(REWRITE),
    "other content": Kind(REWRITE),
    "orphan row": Kind("its object's rows are written again if it has any, then this one is deleted"),
    "foreign row": Kind("it is deleted by its primary key"),
    "duplicate row": Kind(REWRITE),
    "row held back": Kind("a dead letter holds its object back: mend that, see `etl dead-letters list`", stays=True),
    "other vector": Kind(REWRITE),
    "vector off norm": Kind(REWRITE),
    "missing collection": Kind("it is created again and filled from stored vectors"),
    "missing index": Kind("it is created, and the rows are written again from stored vectors"),
    "other index": Kind(REBUILD),
    "other dimension": Kind(REBUILD),
    "other fingerprint": Kind(REBUILD),
    "missing alias": Kind("it is pointed at the live collection"),
    "alias elsewhere": Kind("it is pointed at the live collection"),
    "unowned collection": Kind("it is dropped, unless an alias points at it"),
    "lost collection": Kind("the ledger forgets it"),
    "lost store file": Kind("the ledger forgets it: its contents are embedded again when they are needed"),
    "unreferenced store file": Kind("it is deleted"),
    "not compared": Kind("see what it says", stays=True),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be."""

    kind: str
    lane: str  # "" = not of one lane
    collection: str  # real name; "" = not of one collection
    subject: str  # row id, object key, alias, collection or file; unique within the three above
    key: str = ""  # of the object, for rows
    ordinal: int = 0  # of the row
    count: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """All differences of one kind in one lane."""

    lane: str
    kind: str
    count: int
    samples: tuple[str, ...]  # up to SAMPLES

    @property
    def pending(self) -> bool:
        """The next run does it anyway."""
        return KINDS[self.kind].pending

    @property
    def mending(self) -> str:
        """What `--repair` does about it."""
        return KINDS[self.kind].mending


class Differences(AbstractContextManager["Differences"]):
    """A collection of differences, each once. It is gone when the context is left."""

    def __enter__(self) -> Self:
        self._opened = ExitStack()
        directory = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="embedding-etl-"))
        path = Path(directory) / "differences.db"
        self._database = self._opened.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE differences (kind TEXT, lane TEXT, collection TEXT, subject TEXT, object_key TEXT, "
            "ordinal INT, n INT, UNIQUE (kind, lane, collection, subject))"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def add(self, *differences: Difference) -> None:
        """Remember them; what is known already is not counted twice."""
        rows = [astuple(each) for each in differences]
        self._database.executemany("INSERT OR IGNORE INTO differences VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def of(self, *kinds: str) -> list[Difference]:
        """Those of some kinds of which there are never many: collections, aliases, files."""
        return list(self.stream(*kinds))

    def stream(self, *kinds: str) -> Iterator[Difference]:
        """Those of some kinds, by collection and object key. Nothing may be added meanwhile."""
        return self._select("ORDER BY collection, object_key, ordinal", kinds)

    def rows_by_object(self) -> Iterator[tuple[str, list[Difference]]]:
        """All of them, the rows of one object together, in UTF-8 byte order of the object keys."""
        group: list[Difference] = []
        for each in self._select("ORDER BY object_key, ordinal, subject"):
            if group and group[0].key != each.key:
                yield group[0].key, group
                group = []
            group.append(each)
        if group:
            yield group[0].key, group

    def objects_of(self, *kinds: str) -> Iterator[tuple[str, str, int]]:
        """(collection, object key, greatest ordinal) of the rows of some kinds."""
        marks = ", ".join("?" * len(kinds))
        query = (
            f"SELECT collection, object_key, MAX(ordinal) FROM differences WHERE kind IN ({marks}) "  # noqa: S608
            "GROUP BY collection, object_key ORDER BY collection, object_key"
        )
        yield from self._database.execute(query, kinds)

    def counts(self, kind: str) -> dict[str, int]:
        """How many there are of one kind, by collection."""
        query = "SELECT collection, SUM(n) FROM differences WHERE kind = ? GROUP BY collection ORDER BY collection"
        return dict(self._database.execute(query, (kind,)))

    def findings(self) -> tuple[Finding, ...]:
        """Counted per kind and lane, in the order of KINDS."""
        grouped = self._database.execute("SELECT lane, kind, SUM(n) FROM differences GROUP BY lane, kind").fetchall()
        order = list(KINDS)
        return tuple(
            Finding(lane, kind, count, self._samples(lane, kind))
            for lane, kind, count in sorted(grouped, key=lambda row: (order.index(row[1]), row[0]))
        )

    def _samples(self, lane: str, kind: str) -> tuple[str, ...]:
        query = "SELECT * FROM differences WHERE lane = ? AND kind = ? ORDER BY rowid LIMIT ?"
        found = self._database.execute(query, (lane, kind, SAMPLES))
        return tuple(_sample(Difference(*row)) for row in found)

    def _select(self, order: str, kinds: tuple[str, ...] = ()) -> Iterator[Difference]:
        where = f"WHERE kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        found = self._database.execute(f"SELECT * FROM differences {where} {order}", kinds)  # noqa: S608
        return (Difference(*row) for row in found)


def _sample(difference: Difference) -> str:
    """For people: the object and chunk of a row, else what it is about."""
    if difference.key and difference.subject != difference.key:
        return f"{difference.key[:_SAMPLE_CHARACTERS]!r} chunk {difference.ordinal}"
    return difference.subject[:_SAMPLE_CHARACTERS]
