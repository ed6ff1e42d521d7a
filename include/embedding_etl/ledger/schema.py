"""Which shape the ledger's tables have, and how they get it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.ledger.database import BUSY_TIMEOUT_S, Database
from include.embedding_etl.ledger.failures import UPGRADE_HINT

# Stated here so that opening a ledger need not import Alembic; a test compares it with the newest file in migrations.
HEAD = "0003"
MIGRATIONS_DIR = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = 7_305_115_921  # any number, the same in every process


def migrate(url: str) -> None:
    """Create or upgrade the ledger's tables; several processes may try at once.

    Raises:
        ConfigError: the URL cannot be used.
        TransientError: the database did not answer.
    """
    database = Database(url)
    try:
        upgrade(database)
    finally:
        database.close()


def upgrade(database: Database) -> None:
    """Bring the tables to HEAD in one transaction; where they are there already, only look."""
    path = _file(database)
    if path is not None:
        _make_file(path)
    if _revision(database) == HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            # A large table takes its time, and so may a neighbour who is at it.
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
            connection.execute(sa.text("SET LOCAL lock_timeout TO DEFAULT"))  # nobody queues behind us for ever
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_current(database: Database) -> None:
    """Make sure that this code and the tables fit together.

    Raises:
        ConfigError: they do not; the message says what to do.
    """
    path = _file(database)
    if path is not None and not path.exists():
        raise ConfigError(f"there is no ledger at {path}: {UPGRADE_HINT}")
    revision = _revision(database)
    if revision > HEAD:
        raise ConfigError(f"the ledger is newer ({revision}) than this code ({HEAD}): update the code")
    if revision != HEAD:
        raise ConfigError(f"the ledger is at revision {revision or 'none'}, this code needs {HEAD}: {UPGRADE_HINT}")


def _revision(database: Database) -> str:
    """The revision of the tables; "" where there are none. Revisions are numbered: they sort by age."""
    with database.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return ""
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or ""


def _file(database: Database) -> Path | None:
    if database.engine.dialect.name != "sqlite":
        return None
    return Path(str(database.engine.url.database)).absolute()


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"ETL_LEDGER_URL: cannot create {path.parent}: {error.strerror}") from error
    _set_write_ahead_log(path)


def _set_write_ahead_log(path: Path) -> None:
    # A lasting property of the file. SQLite's busy timeout does not cover this one lock, so we wait ourselves.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):
                raise ConfigError(f"ETL_LEDGER_URL: cannot use {path} as the ledger's file: {error}") from error
            if time.monotonic() > deadline:
                raise TransientError(f"{path} is locked by another process: {error}") from error
        time.sleep(0.05)
