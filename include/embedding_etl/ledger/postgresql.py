"""The engine for a ledger on PostgreSQL: few connections a process, and nothing that waits for ever.

Everything here is a default: parameters of ETL_LEDGER_URL win. Those of libpq are named as there (`sslmode`,
`connect_timeout`, `application_name`, `keepalives_idle`, `target_session_attrs` …; timeouts of the server go into
`options=-cstatement_timeout=0`); those of the pool are `pool_size`, `max_overflow`, `pool_timeout` and `pool_recycle`.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.ledger.stored_text import to_json

DRIVER = "psycopg"

# Many processes have a ledger open: a main thread and its heartbeats need few connections, and all of them together
# must stay below the server's max_connections.
_POOL: Mapping[str, int] = {"pool_size": 2, "max_overflow": 3, "pool_timeout": 30, "pool_recycle": 1800}
# A server that vanished without a word is noticed within a minute or so, whether we wait to send or to hear.
_LIBPQ: Mapping[str, str] = {
    "application_name": "embedding-etl",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Idle in a transaction is shorter than a lock's wait: a frozen process that holds a lease's row is cut off, and its
# successor, who waits for that row, goes on.
_SERVER_MS: Mapping[str, int] = {
    "statement_timeout": 600_000,
    "lock_timeout": 60_000,
    "idle_in_transaction_session_timeout": 30_000,
}


def postgresql_engine(url: sa.URL) -> sa.Engine:
    """Prepare an engine; nothing is connected yet.

    Raises:
        ConfigError: a parameter of the pool is no whole number, another driver is named, or psycopg is not installed.
    """
    if url.drivername not in ("postgresql", f"postgresql+{DRIVER}"):
        raise ConfigError(f"ETL_LEDGER_URL: {url.drivername} is not supported: write postgresql+{DRIVER}://…")
    pool = {name: _whole_number(name, url.query.get(name, default)) for name, default in _POOL.items()}
    libpq = {name: default for name, default in _LIBPQ.items() if name not in url.query}
    timeouts = " ".join(f"-c{name}={value}" for name, value in _SERVER_MS.items())
    given = url.query.get("options", "")
    options = " ".join([timeouts, *([given] if isinstance(given, str) else given)]).strip()  # the later one wins
    cleaned = url.set(drivername=f"postgresql+{DRIVER}").difference_update_query([*_POOL, "options"])
    try:
        return sa.create_engine(
            cleaned,
            pool_pre_ping=True,
            hide_parameters=True,  # keys of customers do not belong into logs
            json_serializer=to_json,
            connect_args={**libpq, "options": options},
            **pool,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ETL_LEDGER_URL: needs a driver that is not installed: pip install '{error.name}[binary]'"
        ) from error


def _whole_number(name: str, value: object) -> int:
    if not str(value).isdecimal():
        raise ConfigError(f"ETL_LEDGER_URL: {name} is a whole number")
    return int(str(value))
