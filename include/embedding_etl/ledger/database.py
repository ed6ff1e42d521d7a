"""The edge to SQLAlchemy: connections, transactions, foreign errors, and the one place that knows the two dialects."""

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

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.key_range import first_behind

BUSY_TIMEOUT_S = 60
PAGE_ROWS = 5_000
_VALUES_PER_QUERY = 900
UPGRADE_HINT = "run `etl ledger upgrade`"

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
        self.engine = _sqlite_engine(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql_engine(parsed)
        # The driver of SQLite would begin lazily and upgrade a read lock later: that fails at once instead of waiting.
        self._writing_engine = self.engine.execution_options(ledger_begin="BEGIN IMMEDIATE")
        _databases.add(self)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view; nothing may be written in it."""
        with translated(), self.engine.connect() as connection:
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

    def close(self) -> None:
        """Close all connections. The database stays usable: the next transaction connects again."""
        self.engine.dispose()


def insert_into(connection: sa.Connection, table: sa.Table) -> Upsert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return _INSERTS[connection.dialect.name](table)


def replace_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key exists, set every other column."""
    insert = insert_into(connection, table)
    values = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    execute_many(connection, insert.on_conflict_do_update(index_elements=table.primary_key, set_=values), rows)


def execute_many(connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute once for each row; an empty sequence is nothing to do (to SQLAlchemy it would mean once)."""
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


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's errors into ours."""
    try:
        yield
    except exc.IntegrityError as error:
        raise IntegrityError(f"the ledger refused a contradiction: {error.orig}") from error
    except exc.TimeoutError as error:
        raise TransientError(f"ledger: no free connection: {error}") from error
    except exc.DBAPIError as error:
        raise _translate(error) from error


# What a person has to change, by SQLSTATE (PostgreSQL) or by words (SQLite has no code for some of them).
_TABLES_ARE_OLD = ("42P01", "42703", "no such table", "no such column")
_URL_IS_WRONG = ("3D000", "28P01", "28000", "unable to open", "readonly database", "not a database")


def _translate(error: exc.DBAPIError) -> ConfigError | TransientError | IntegrityError:
    reason = str(error.orig).strip()
    signs = f"{getattr(error.orig, 'sqlstate', '')} {reason}"
    if any(sign in signs for sign in _TABLES_ARE_OLD):
        return ConfigError(f"the ledger's tables are missing or old ({reason}): {UPGRADE_HINT}")
    if any(sign in signs for sign in _URL_IS_WRONG):
        return ConfigError(f"ETL_LEDGER_URL: cannot use the ledger's database: {reason}")
    if error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError):
        return TransientError(f"the ledger's database did not answer: {reason}")
    return IntegrityError(f"the ledger's database refused: {reason}")


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


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise ConfigError(f"ETL_LEDGER_URL: needs a driver that is not installed: pip install {error.name}") from error


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def _close_before_fork() -> None:
    # A forked child inherits SQLite's idea of which locks its process holds, but not the locks: with no connection open
    # at the fork, parent and child each start afresh.
    for database in tuple(_databases):
        database.close()


os.register_at_fork(before=_close_before_fork)
