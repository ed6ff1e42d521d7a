"""What only a server does to a ledger: it goes away, cuts off, refuses, locks, and is used by many at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, TransientError
from include.embedding_etl.ledger import Ledger, migrate
from include.embedding_etl.ledger.database import Database
from include.embedding_etl.ledger.schema import HEAD
from include.embedding_etl.ledger.tables import Key, metadata
from tests.fixtures_ledger import COLLECTION, make_collection, make_entry, make_object
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.fixtures_postgresql import PostgresqlServer

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(postgresql_url: str) -> Iterator[Ledger]:
    with Ledger.open(postgresql_url, migrate=True) as opened:
        yield opened


@pytest.fixture
def project(tmp_path: Path, milvus_lite_uri: str, endpoint: EmbeddingEndpoint, postgresql_url: str) -> Project:
    return Project(tmp_path, milvus_lite_uri, endpoint, ledger_url=postgresql_url)


def setting(ledger: Ledger, name: str) -> str:
    with ledger._database.reading() as connection:
        return str(connection.execute(sa.text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


def test_every_key_column_sorts_by_bytes_though_the_database_does_not(ledger: Ledger) -> None:
    expected = {
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.c
        if isinstance(column.type, type(Key))
    }
    query = (
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation l ON l.oid = a.attcollation "
        "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND l.collname = 'C' "
        "AND c.relname <> 'alembic_version'"
    )
    with ledger._database.reading() as connection:
        assert {tuple(row) for row in connection.execute(sa.text(query))} == expected
        assert connection.execute(sa.text("SELECT 'B' COLLATE \"default\" > 'a'")).scalar_one() is True


def test_two_processes_migrate_a_ledger_with_data_at_once(postgresql_url: str) -> None:
    migrate(postgresql_url)
    with Ledger.open(postgresql_url) as before:
        before.runs.start("run-1", "demo")
        before.objects.put("demo", [make_object("k")])
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE runs DROP COLUMN given_up, DROP COLUMN seen_at_ms"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    code = "import sys; from include.embedding_etl.ledger import migrate; migrate(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", code, postgresql_url], cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    with Ledger.open(postgresql_url) as after, engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
        assert after.runs.running("demo") == ["run-1"]
        assert after.objects.get("demo", "k") == make_object("k")


def test_defaults_bound_every_wait_and_the_url_overrules_them(ledger: Ledger, postgresql_url: str) -> None:
    assert setting(ledger, "statement_timeout") == "10min"
    assert setting(ledger, "lock_timeout") == "1min"
    assert setting(ledger, "idle_in_transaction_session_timeout") == "30s"
    assert setting(ledger, "application_name") == "embedding-etl"
    with ledger._database.reading() as connection:
        assert connection.connection.driver_connection is not None
        libpq = connection.connection.driver_connection.info.get_parameters()
    patience = {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    assert patience <= {name for name, value in libpq.items() if int(value if value.isdigit() else 0) > 0}
    url = sa.make_url(postgresql_url)
    options = f"{url.query['options']} -cstatement_timeout=7s"
    changed = url.update_query_dict({"options": options, "application_name": "mine", "pool_size": "1"})
    with Ledger.open(changed.render_as_string(hide_password=False)) as other:
        assert setting(other, "statement_timeout") == "7s"
        assert setting(other, "lock_timeout") == "1min"
        assert setting(other, "application_name") == "mine"


def test_a_process_never_opens_more_than_five_connections(ledger: Ledger, postgresql_server: PostgresqlServer) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'etl'"
    seen = []

    def read(_: int) -> None:
        with ledger._database.reading() as connection:
            connection.execute(sa.text("SELECT pg_sleep(0.1)"))

    with ThreadPoolExecutor(20) as threads, postgresql_server.admin() as admin:
        reads = [threads.submit(read, number) for number in range(60)]
        while not all(each.done() for each in reads):
            row = admin.execute(query).fetchone()
            assert row is not None
            seen.append(int(str(row[0])))
    assert max(seen) == 5
    assert not [each for each in reads if each.exception()]


@pytest.mark.parametrize(
    "change",
    [
        {"password": "wrong-hunter2"},
        {"username": "nobody"},
        {"database": "nowhere"},
        {"query": {"sslmode": "require"}},
        {"query": {"sslmod": "require"}},
        {"query": {"pool_size": "many"}},
    ],
    ids=str,
)
def test_what_a_person_must_change_is_a_configuration_error_without_the_password(
    postgresql_server: PostgresqlServer, change: dict[str, str]
) -> None:
    url = postgresql_server.url.set(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ETL_LEDGER_URL") as caught:
        Ledger.open(url.render_as_string(hide_password=False))
    chain = f"{caught.value} {caught.value.__cause__!r}"
    assert "hunter2" not in chain
    assert postgresql_server.password not in chain


def test_a_server_that_is_down_or_full_is_worth_another_try(
    ledger: Ledger, postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    with postgresql_server.admin() as admin:
        admin.execute("ALTER ROLE etl CONNECTION LIMIT 0")
        ledger.close()
        try:
            with pytest.raises(TransientError, match="too many connections"):
                Ledger.open(postgresql_url)
        finally:
            admin.execute("ALTER ROLE etl CONNECTION LIMIT -1")
    postgresql_server.stop()
    try:
        with pytest.raises(TransientError, match="did not answer"):
            ledger.objects.put("demo", [make_object("k")])
    finally:
        postgresql_server.start()
    ledger.objects.put("demo", [make_object("k")])


def test_a_connection_cut_in_a_transaction_loses_it_and_the_next_one_works(
    ledger: Ledger, postgresql_server: PostgresqlServer
) -> None:
    def write() -> None:
        with ledger._database.writing() as connection:
            connection.execute(sa.text("DELETE FROM objects"))
            assert postgresql_server.cut_connections() >= 1
            connection.execute(sa.text("DELETE FROM objects"))

    with pytest.raises(TransientError):
        write()
    ledger.objects.put("demo", [make_object("j")])
    assert postgresql_server.cut_connections() == 1  # an idle one, in the pool: nobody notices
    ledger.objects.put("demo", [make_object("k")])


def test_a_deadlock_is_worth_another_try(ledger: Ledger) -> None:
    for name in ("a", "b"):
        ledger.leases.acquire(name, "run-1")
    met = threading.Barrier(2)

    def lock(first: str, second: str) -> str:
        update = sa.text("UPDATE leases SET pid = pid WHERE collection = :name")
        try:
            with ledger._database.writing() as connection:
                connection.execute(update, {"name": first})
                met.wait(30)
                connection.execute(update, {"name": second})
        except TransientError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(lock, ("a", "b"), ("b", "a")))
    assert sum("deadlock detected" in words for words in said) == 1


def test_writers_of_the_same_rows_in_opposite_orders_do_not_lock_each_other_out(ledger: Ledger) -> None:
    keys = [f"{number:04d}" for number in range(600)]
    ledger.collections.add(make_collection())
    writes: list[Callable[[list[str]], None]] = [
        lambda order: ledger.objects.put("demo", [make_object(key) for key in order]),
        lambda order: ledger.vectors.put("f", [(key, "uri", 1) for key in order]),
        lambda order: ledger.entries.distrust(COLLECTION, [(key, 1) for key in order]),
        lambda order: ledger.objects.mark_vanished("demo", order),
    ]
    with ThreadPoolExecutor(4) as threads:
        for write in writes:
            list(threads.map(write, [keys, keys[::-1]] * 4))


def test_a_holder_frozen_in_a_transaction_is_cut_off(postgresql_url: str) -> None:
    url = sa.make_url(postgresql_url)
    options = f"{url.query['options']} -cidle_in_transaction_session_timeout=500"
    short = url.update_query_dict({"options": options}).render_as_string(hide_password=False)
    with Ledger.open(short, migrate=True) as ledger:
        ledger.collections.add(make_collection())
        lease = ledger.leases.acquire(COLLECTION, "run-1", ttl_s=0)

        def freeze() -> None:
            with ledger._database.writing() as connection, Ledger.open(postgresql_url) as successor:
                connection.execute(sa.text("SELECT 1 FROM leases FOR UPDATE"))
                successor.leases.acquire(COLLECTION, "run-2")  # waits for the row until the frozen one is cut off
                connection.execute(sa.text("SELECT 1"))

        with pytest.raises(TransientError):
            freeze()
        with pytest.raises(TransientError, match="lease lost"):
            ledger.entries.commit(lease, COLLECTION, [make_entry("k")])


def test_leases_go_by_the_clock_of_the_server(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # this host thinks that it is 2001
    lease = ledger.leases.acquire("c", "run-1", ttl_s=60)
    assert lease.expires_at_ms > 1_700_000_000_000
    with pytest.raises(TransientError, match="held by run-1"):
        ledger.leases.acquire("c", "run-2")


def test_a_fork_in_the_middle_of_a_transaction_hurts_neither_side(ledger: Ledger) -> None:
    with ledger._database.writing() as connection:
        connection.execute(sa.text("INSERT INTO leases VALUES ('x', '', 0, 0, '', 0, 0, false)"))
        child = multiprocessing.get_context("fork").Process(target=_read_and_exit, args=(ledger,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        connection.execute(sa.text("UPDATE leases SET token = 5"))
    assert ledger.leases.token("x") == 5


def test_a_child_of_a_fork_does_not_end_the_sessions_of_its_parent(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread of the parent may have connected again just before the fork: hence nothing is closed here."""
    session = session_of(ledger)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "close", lambda _: None)
        child = multiprocessing.get_context("fork").Process(target=session_of, args=(ledger,))
        child.start()
    child.join(60)
    assert child.exitcode == 0
    assert session_of(ledger) == session


def session_of(ledger: Ledger) -> int:
    with ledger._database.reading() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def _read_and_exit(ledger: Ledger) -> None:
    assert ledger.leases.token("x") == 0  # not committed yet


def test_several_reads_see_one_moment(ledger: Ledger) -> None:
    count = sa.text("SELECT count(*) FROM objects")
    with ledger._database.reading() as connection:
        assert connection.execute(count).scalar_one() == 0
        ledger.objects.put("demo", [make_object("k")])
        assert connection.execute(count).scalar_one() == 0


def test_nothing_is_written_by_reading(ledger: Ledger) -> None:
    def write() -> None:
        with ledger._database.reading() as connection:
            connection.execute(sa.text("DELETE FROM objects"))

    with pytest.raises(EmbeddingEtlError, match="read-only transaction"):
        write()


def test_keys_of_customers_are_in_no_error(ledger: Ledger) -> None:
    key = "-".join(["name", "of", "a", "customer"])
    with pytest.raises(EmbeddingEtlError, match="zero") as caught, ledger._database.writing() as connection:
        connection.execute(sa.text("SELECT CAST(:key AS text) || 1 / count(*) FROM leases"), {"key": key})
    assert key not in "".join(traceback.format_exception(caught.value))


def test_keys_with_nul_come_back_as_they_were_and_in_order(ledger: Ledger) -> None:
    keys = sorted(["a", "a\0", "a\0b", "a\1", "a\1\1", "a\1\2", "a\2", "b"])
    ledger.objects.put("demo", [make_object(key) for key in reversed(keys)])
    assert [record.key for record in ledger.objects.stream("demo")] == keys
    assert [record.key for record in ledger.objects.stream("demo", "a\0")] == ["a\0", "a\0b"]
    ledger.audits.add("demo", "run-1", 1, {"samples": ["a\0b", "\ud800", "\\u0000"]})
    assert ledger.audits.last("demo", 1)[0].findings == {"samples": ["a\ufffdb", "\ufffd", "\\u0000"]}


def test_a_server_killed_in_the_middle_of_a_run_loses_nothing(
    project: Project, postgresql_server: PostgresqlServer
) -> None:
    project.put_many(30)
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("etl")), "run", project.name, "--json"],
        env={**os.environ, **project.environment, "ETL_FAILPOINT": "upsert:stop"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None
        time.sleep(0.05)
    postgresql_server.kill()
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    postgresql_server.start()
    report = project.run()
    assert report.problems == []
    assert project.rows() == project.expected_rows()
    assert len(project.endpoint.texts) == 30  # no vector was lost


def test_of_two_runs_at_once_one_works_and_the_other_is_told(project: Project) -> None:
    project.put_many(10)
    with project.open() as runtime:
        assert runtime.ledger.runs.running(project.name) == []

    def run(_: int) -> str:
        try:
            return "\n".join(project.run_process().stdout.splitlines()[-1:])
        except EmbeddingEtlError as error:
            return str(error)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, range(2)))
    assert project.run().green
    assert project.rows() == project.expected_rows()
    assert len(project.endpoint.texts) == 10


def test_a_wide_lookup_stays_below_the_parameters_of_a_statement(ledger: Ledger) -> None:
    keys = [f"{number:06d}" for number in range(70_000)]
    assert ledger.objects.get_many("demo", keys) == {}
    ledger.objects.put("demo", [make_object(key) for key in keys[:1000]])
    assert len(ledger.objects.get_many("demo", keys)) == 1000


def test_closing_a_database_leaves_no_connection(postgresql_server: PostgresqlServer, postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.reading() as connection:
        connection.execute(sa.text("SELECT 1"))
    database.close()
    time.sleep(0.2)
    assert postgresql_server.cut_connections() == 0
