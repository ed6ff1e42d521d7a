"""The ledger: what we believe and have verified, table by table."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from include.embedding_etl.ledger.audits import Audits
from include.embedding_etl.ledger.collections import Collections
from include.embedding_etl.ledger.database import Database
from include.embedding_etl.ledger.dead_letters import DeadLetters
from include.embedding_etl.ledger.entries import Entries
from include.embedding_etl.ledger.lane_counts import LaneCounts
from include.embedding_etl.ledger.leases import Leases
from include.embedding_etl.ledger.objects import Objects
from include.embedding_etl.ledger.reindexes import Reindexes
from include.embedding_etl.ledger.runs import Runs
from include.embedding_etl.ledger.schema import check_current, upgrade
from include.embedding_etl.ledger.vectors import VectorFiles


class Ledger:
    """One open ledger. Every method is one short transaction; threads and forked children may share it.

    All methods raise TransientError when the database does not answer, IntegrityError when it refuses a contradiction,
    and ConfigError when its tables or its URL have to be put right by a person.
    """

    def __init__(self, database: Database) -> None:
        """Wrap a database whose tables are current; see `open`."""
        self._database = database
        self.objects = Objects(database)
        self.entries = Entries(database)
        self.vectors = VectorFiles(database)
        self.dead_letters = DeadLetters(database)
        self.collections = Collections(database)
        self.leases = Leases(database)
        self.runs = Runs(database)
        self.reindexes = Reindexes(database)
        self.audits = Audits(database)
        self.lanes = LaneCounts(database)

    @classmethod
    def open(cls, url: str, migrate: bool = False) -> Self:
        """Connect to a ledger.

        Args:
            url: sqlite:////absolute/path/ledger.db or postgresql+psycopg://user:password@host:5432/database.
            migrate: Create or upgrade the tables first.
        Raises:
            ConfigError: the URL cannot be used, or the tables do not fit this code. Passwords are not printed.
        """
        database = Database(url)
        with ExitStack() as on_failure:
            on_failure.callback(database.close)
            if migrate:
                upgrade(database)
            check_current(database)
            on_failure.pop_all()
        return cls(database)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
