"""Foreign errors of the ledger's database, turned into ours at the one edge where they appear."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError

UPGRADE_HINT = "run `etl ledger upgrade`"

# What a person has to change, by SQLSTATE (PostgreSQL) or by words (SQLite has no code for some of them, and PostgreSQL
# sends none to somebody whom it does not let in).
_TABLES_ARE_OLD = ("42P01", "42703", "no such table", "no such column")
_URL_IS_WRONG = (
    *("3D000", "28P01", "28000", "42501", "3F000"),
    *("unable to open", "readonly database", "not a database"),
    *("authentication failed", "no password supplied", "does not exist", "pg_hba.conf", "permission denied"),
    *("is not permitted to log in", "invalid connection option", "invalid value for", "invalid sslmode value"),
    *("invalid integer value", "unrecognized configuration parameter", "does not support SSL", "certificate"),
)
_A_STANDBY = "25006"
# Classes: connection, its transaction was cut off, rolled back for a neighbour's sake, no resources, the server goes
# down or a lock or a statement took too long, the system below it.
_PASSING = ("08", "25P", "40", "53", "55P03", "57", "58")


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
        raise translate(error) from error
    except UnicodeEncodeError as error:
        raise IntegrityError(f"the ledger cannot store a text that is not Unicode: {error.reason}") from error


def translate(error: exc.DBAPIError) -> ConfigError | TransientError | IntegrityError:
    """The error of ours that says what is to be done."""
    reason = str(error.orig).strip()
    code = str(getattr(error.orig, "sqlstate", None) or "")
    signs = f"{code} {reason}"
    if any(sign in signs for sign in _TABLES_ARE_OLD):
        return ConfigError(f"the ledger's tables are missing or old ({reason}): {UPGRADE_HINT}")
    if code == _A_STANDBY:
        return TransientError(
            f"the ledger's database cannot be written now ({reason}); where there is a standby, add "
            "target_session_attrs=read-write to ETL_LEDGER_URL"
        )
    if code.startswith(_PASSING):
        return TransientError(f"the ledger's database did not answer: {reason}")
    if any(sign in signs for sign in _URL_IS_WRONG):
        return ConfigError(f"ETL_LEDGER_URL: cannot use the ledger's database: {reason}")
    if error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError):
        return TransientError(f"the ledger's database did not answer: {reason}")
    return IntegrityError(f"the ledger's database refused: {reason}")
