"""PostgreSQL from the system's packages: a data directory of our own, passwords for every connection."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psutil
import sqlalchemy as sa

from include.embedding_etl.errors import ConfigError, TransientError
from include.local_stack.cluster.configuration import AIRFLOW_ROLE, LEDGER_ROLE, ClusterConfiguration
from include.local_stack.cluster.packages import postgresql_program
from include.local_stack.ports import HOST
from include.local_stack.process import Component, RunFile, log_path

SYSTEM_USER = "postgres"
_SETTINGS: Mapping[str, str | int] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": 200,
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
}


def postgresql_component(cluster: ClusterConfiguration) -> Component:
    """The database server. Where we are root, it runs as the system's user `postgres`: it refuses root."""
    port = cluster.stack.ports["postgresql"]
    settings = [f"-c{key}={value}" for key, value in (*_SETTINGS.items(), ("port", port.number))]
    data = cluster.postgresql / "data"
    return Component(
        name="postgresql",
        arguments=(*_as_user(cluster.postgresql), str(postgresql_program("postgres")), "-D", str(data), *settings),
        environment={"HOME": str(cluster.postgresql)},
        inherited=_inherited(),
        directory=cluster.postgresql,
        ports=(port,),
        healthy=partial(_is_healthy, cluster.database_url("postgresql+psycopg", "postgres")),
        stop_signal=signal.SIGINT,  # SIGTERM waits until every client has gone by itself
    )


def make_data_directory(cluster: ClusterConfiguration) -> None:
    """Make the data directory the first time; end what a killed server left behind.

    Raises:
        TransientError: initdb failed; the message names its log.
    """
    directory, data = cluster.postgresql, cluster.postgresql / "data"
    directory.mkdir(parents=True, exist_ok=True)
    _own(directory)
    _end_orphans(data)
    if data.exists():
        return
    unfinished, password_file = directory / "unfinished", directory / f"password-{secrets.token_hex(4)}"
    shutil.rmtree(unfinished, ignore_errors=True)  # an initdb that was killed
    log_file = log_path(cluster.stack.paths, "postgresql-initdb")
    log_file.parent.mkdir(parents=True, exist_ok=True)
    password_file.touch(mode=0o600)
    _own(password_file)
    try:
        password_file.write_text(cluster.secrets["POSTGRESQL_POSTGRES_PASSWORD"], encoding="utf-8")
        with log_file.open("ab") as log:
            finished = subprocess.run(
                (
                    *_as_user(directory),
                    str(postgresql_program("initdb")),
                    *("-D", str(unfinished), "--username=postgres", f"--pwfile={password_file}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
                ),
                cwd=directory,
                env=_inherited(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
    finally:
        password_file.unlink()
    if finished.returncode:
        raise TransientError(f"PostgreSQL's initdb failed; see {log_file}")
    unfinished.replace(data)


def make_databases(cluster: ClusterConfiguration) -> None:
    """Two roles, each with a database that the other cannot even connect to.

    Raises:
        TransientError: the server refused or went away.
    """
    engine = sa.create_engine(
        cluster.database_url("postgresql+psycopg", "postgres"), isolation_level="AUTOCOMMIT", hide_parameters=True
    )
    try:
        with engine.connect() as connection:
            # A statement that fails is logged, and these carry passwords.
            connection.execute(sa.text("SET log_min_error_statement = panic"))
            for role in (AIRFLOW_ROLE, LEDGER_ROLE):
                _make_database(connection, role, cluster.secrets[f"POSTGRESQL_{role.upper()}_PASSWORD"])
    except sa.exc.DBAPIError as error:
        raise TransientError(f"PostgreSQL's databases could not be made: {type(error.orig).__name__}") from None
    finally:
        engine.dispose()


def _make_database(connection: sa.Connection, role: str, password: str) -> None:
    known = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
    # Both are our own words without quotes in them: CREATE ROLE takes no parameters.
    connection.exec_driver_sql(f"{'ALTER' if known else 'CREATE'} ROLE {role} LOGIN PASSWORD '{password}'")
    if not connection.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": role}).first():
        connection.exec_driver_sql(f"CREATE DATABASE {role} OWNER {role}")
    connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {role} FROM PUBLIC")


def _is_healthy(url: str, _: RunFile) -> bool:
    """Whether it answers a query."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 3}, hide_parameters=True)
    try:
        with engine.connect() as connection:
            return bool(connection.execute(sa.text("SELECT 1")).scalar_one() == 1)
    except sa.exc.DBAPIError:
        return False


def _as_user(directory: Path) -> tuple[str, ...]:
    """The words before a command line that give root away."""
    if os.geteuid() != 0:
        return ()
    become = ("setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--init-groups")
    if all(parent.stat().st_mode & 0o001 for parent in directory.parents):
        return become
    # Below a directory that is closed to others, such as root's home: it may pass through, and still write nothing.
    return (*become, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise ConfigError(f"there is no user {SYSTEM_USER}: install Debian's package postgresql") from None
        os.chown(path, user.pw_uid, user.pw_gid)
    if path.is_dir():
        path.chmod(0o700)


def _end_orphans(data: Path) -> None:
    """Children of a killed server end by themselves. One that has not yet would keep a new server from starting.

    They overwrite their environment with a title, so that the stack's marker does not find them.
    """
    orphans = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(data):
            orphans.append(process)
    _, alive = psutil.wait_procs(orphans, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
