"""The edge to SQLAlchemy: connections, transactions, and what the two dialects say differently."""

import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.key_range import first_behind
from include.embedding_etl.ledger.failures import translated
from include.embedding_etl.ledger.postgresql import postgresql_engine

BUSY_TIMEOUT_S = 60
PAGE_ROWS = 5_000
_VALUES_PER_QUERY = 900

Row: TypeAlias = sa.Row[*tuple[Any, ...]]
Select: TypeAlias = sa.Select[*tuple[Any, ...]]
Value = TypeVar("Value", str, int)
Upsert: TypeAlias = sqlite.Insert | postgresql.Insert

_INSERTS: Mapping[str, Callable[[sa.Table], Upsert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Database:
    """Short transactions on one ledger. Safe to share between threads, and usable in a forked child."""

    def __init__(self, url: str) -> None:
        """Prepare an engine; nothing is connected yet.

        Raises:
            ConfigError: the URL cannot be used.
        """
        parsed = parse_url(url)
        self.engine: sa.Engine
        self._reading_engine: sa.Engine
        self._writing_engine: sa.Engine
        if parsed.get_backend_name() == "sqlite":
            self.engine = self._reading_engine = _sqlite_engine(parsed)
            # Its driver would begin lazily and upgrade a read lock later: that fails at once instead of waiting.
            self._writing_engine = self.engine.execution_options(ledger_begin="BEGIN IMMEDIATE")
        else:
            self.engine = self._writing_engine = postgresql_engine(parsed)
            # Several statements see one moment, as on SQLite. Only reading: nothing can fail to serialize then.
            self._reading_engine = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        _databases.add(self)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view; nothing may be written in it."""
        with translated(), self._reading_engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back when an exception leaves it."""
        with translated(), self._writing_engine.begin() as connection:
            yield connection

    def stream(self, statement: Select, column: sa.ColumnElement[str], page_rows: int = PAGE_ROWS) -> Iterator[Row]:
        """All rows in byte order of `column`, page by page; no transaction stays open between two pages.

        Args:
            statement: Selects `column` among others; together with the statement's conditions it must be unique.
            column: What to order by. Empty strings are never yielded.
            page_rows: Rows read at a time.
        """
        page = statement.where(column > sa.bindparam("after", type_=column.type)).order_by(column).limit(page_rows)
        after = ""
        while True:
            with self.reading() as connection:
                rows = connection.execute(page, {"after": after}).all()
            yield from rows
            if len(rows) < page_rows:
                return
            after = rows[-1]._mapping[column]

    def after_fork(self) -> None:
        """In a child: leave alone what is the parent's. Closing it would end the parent's session on the server."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close all connections. The database stays usable: the next transaction connects again."""
        self.engine.dispose()


def insert_into(connection: sa.Connection, table: sa.Table) -> Upsert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return _INSERTS[connection.dialect.name](table)


def replace_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key exists, set every other column."""
    names = [column.name for column in table.primary_key]
    rows = sorted(rows, key=lambda row: [row[name] for name in names])
    insert = insert_into(connection, table)
    values = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    execute_many(connection, insert.on_conflict_do_update(index_elements=table.primary_key, set_=values), rows)


def execute_many(connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute once for each row; an empty sequence is nothing to do (to SQLAlchemy it would mean once).

    The caller sorts: two transactions that lock the same rows in different orders would wait for each other for ever.
    """
    if rows:
        connection.execute(statement, rows)


def in_slices(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Cut a list for IN: databases limit the variables of one statement (SQLite: 32,766; 999 before 3.32)."""
    return (values[start : start + _VALUES_PER_QUERY] for start in range(0, len(values), _VALUES_PER_QUERY))


def begins_with(column: sa.ColumnElement[str], prefix: str) -> list[sa.ColumnElement[bool]]:
    """Conditions that an index answers: LIKE would not use one, and would take % and _ for more than they are."""
    following = first_behind(prefix)
    return [*([column >= prefix] if prefix else []), *([column < following] if following else [])]


def now_ms(connection: sa.Connection | None = None) -> int:
    """The time; with a connection to a server it is the server's, because the clocks of many hosts differ."""
    if connection is not None and connection.dialect.name == "postgresql":
        return int(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())
    return time.time_ns() // 1_000_000


def parse_url(url: str) -> sa.URL:
    """Parse a ledger URL.

    Raises:
        ConfigError: it is none of those we support. No message contains the URL: it may carry a password.
    """
    allowed = "allowed are sqlite:////absolute/path/ledger.db and postgresql+psycopg://user:password@host:5432/database"
    try:
        parsed = sa.make_url(url)
        parsed.get_dialect()
    except (exc.ArgumentError, ValueError):
        raise ConfigError(f"ETL_LEDGER_URL: not a database URL; {allowed}") from None  # the cause quotes the URL
    if parsed.get_backend_name() not in _INSERTS:
        raise ConfigError(f"ETL_LEDGER_URL: {parsed.get_backend_name()} is not supported; {allowed}")
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:") or parsed.query:
            raise ConfigError(f"ETL_LEDGER_URL: SQLite needs a file and no parameters; {allowed}")
        if parsed.username or parsed.password or parsed.host or parsed.port:
            raise ConfigError(f"ETL_LEDGER_URL: SQLite takes no host (three slashes, then the path); {allowed}")
    return parsed


def _from_json(document: str) -> Any:
    return {} if document == "{}" else json.loads(document)  # most objects have no metadata: a fifth of a stream's time


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},  # None: we say BEGIN ourselves, below
        json_deserializer=_from_json,
        hide_parameters=True,  # keys of customers do not belong into logs
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        # FULL, not NORMAL: a commit that a power cut takes back could hide rows that Milvus already has (`intend`),
        # or hand out a lease's token twice.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("ledger_begin", "BEGIN"))

    return engine


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def _close_before_fork() -> None:
    # A forked child inherits SQLite's idea of which locks its process holds, but not the locks; and of a server's
    # connection it would be a second user. With none open at the fork, parent and child each start afresh.
    for database in tuple(_databases):
        database.close()


def _after_fork() -> None:
    for database in tuple(_databases):
        database.after_fork()


# Another thread may be in the middle of a transaction, or connect again just before the fork: hence both.
os.register_at_fork(before=_close_before_fork, after_in_child=_after_fork)
