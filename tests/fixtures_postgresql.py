"""A real PostgreSQL server from Debian's binaries, one a session: it can be stopped, killed, and cut off from clients.

PostgreSQL refuses to run as root; where the tests do, it runs as the package's user `postgres`.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import sqlalchemy as sa

from tests.ports import free_port

if TYPE_CHECKING:
    import psycopg  # of requirements-cluster.txt: without it, all but the tests of a cluster are to run

HOST = "127.0.0.1"
ROLE = "etl"  # owns the ledger's database, and may nothing else
DATABASE = "ledger"
SYSTEM_USER = "postgres"
PROGRAMS = Path("/usr/lib/postgresql")
READY_TIMEOUT_S = 60.0
# No test cuts the power, so nothing need reach the disk.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "60"}


@dataclass
class PostgresqlServer:
    """One server with one role and one database; data, socket and log lie in `directory`."""

    directory: Path
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    process: "subprocess.Popen[bytes] | None" = None

    def make(self) -> None:
        """Make the data directory, start, make role and database."""
        self.port = self.port or free_port()
        (self.directory / "socket").mkdir()
        password_file = self.directory / "password"
        password_file.write_text(self.admin_password)
        _own(self.directory, self.directory / "socket", password_file)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password_file}",
                  "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        password_file.unlink()
        self.start()
        with self.admin() as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self.password}'")
            # By the rules of a language, so that a key column without a collation of its own is noticed.
            connection.execute(
                f"CREATE DATABASE {DATABASE} OWNER {ROLE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            )

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> sa.URL:
        """Of the ledger's database, for its owner."""
        return sa.URL.create("postgresql+psycopg", ROLE, self.password, HOST, self.port, DATABASE)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {**SETTINGS, "listen_addresses": HOST, "port": str(self.port)}
        settings["unix_socket_directories"] = str(self.directory / "socket")
        words = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_as_user(), str(_program("postgres")), "-D", str(self.data), *words],
                cwd=self.directory,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        import psycopg

        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None, (self.directory / "log").read_text()
            try:
                self.admin().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End every session and stop in order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 the server; its children notice by themselves and end too."""
        self._end(signal.SIGKILL)

    def admin(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the superuser, each statement a transaction of its own."""
        import psycopg

        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            password=self.admin_password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=3,
        )

    def cut_connections(self) -> int:
        """Cut every connection of the ledger's role, whatever it is doing. Returns how many there were."""
        with self.admin() as connection:
            query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
            return len(connection.execute(query, [ROLE]).fetchall())

    @contextlib.contextmanager
    def schema(self) -> Iterator[str]:
        """The URL of an empty schema of its own: for a client it is a database without tables."""
        name = f"test_{uuid.uuid4().hex}"
        url = self.url.update_query_dict({"options": f"-csearch_path={name}"})
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(name))
        yield url.render_as_string(hide_password=False)
        self.cut_connections()  # of processes that a test has killed or left frozen: they may hold locks
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(name, cascade=True))

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        family = [server, *server.children(recursive=True)]
        server.send_signal(number)
        self.process.wait(timeout=30)
        # A new server refuses to start while an old child still has the shared memory.
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive

    def _run(self, program: str, *words: str) -> None:
        finished = subprocess.run(
            [*_as_user(), str(_program(program)), *words],
            cwd=self.directory,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for all tests of a session. Whoever stops it starts it again."""
    # Not below tmp_path: pytest closes its directories to other users, and the server may have to be one.
    directory = Path(tempfile.mkdtemp(prefix="etl-postgresql-"))
    server = PostgresqlServer(directory)
    try:
        server.make()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A database without tables."""
    with postgresql_server.schema() as url:
        yield url


def _program(name: str) -> Path:
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parents[1].name))
    if not found:
        raise FileNotFoundError(f"no {name} below {PROGRAMS}: install Debian's package postgresql")
    return found[-1]


def _as_user() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--init-groups")


def _own(*paths: Path) -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(SYSTEM_USER)
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
