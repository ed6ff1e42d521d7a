"""Opening, creating and upgrading a ledger."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.ledger import Ledger, migrate
from include.embedding_etl.ledger.schema import HEAD, MIGRATIONS_DIR
from include.embedding_etl.ledger.tables import metadata
from tests.fixtures_ledger import make_object

ROOT = Path(__file__).parents[2]


def execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_the_tables_are_those_that_the_migrations_make(ledger_url: str) -> None:
    migrate(ledger_url)
    engine = sa.create_engine(ledger_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_stated_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS_DIR)).get_current_head() == HEAD


def test_migrating_again_keeps_what_is_there(ledger_url: str) -> None:
    with Ledger.open(ledger_url, migrate=True) as ledger:
        ledger.objects.put("demo", [make_object("k")])
    migrate(ledger_url)
    with Ledger.open(ledger_url) as ledger:
        assert ledger.objects.get("demo", "k") == make_object("k")


def test_a_database_without_a_ledger_asks_for_the_upgrade_and_stays_untouched(ledger_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="etl ledger upgrade"):
        Ledger.open(ledger_url)
    assert list(tmp_path.iterdir()) == []


def test_an_old_ledger_asks_for_the_upgrade(ledger_url: str) -> None:
    migrate(ledger_url)
    execute(ledger_url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(ConfigError, match=r"revision 0000.*etl ledger upgrade"):
        Ledger.open(ledger_url)


def test_a_newer_ledger_asks_for_newer_code(ledger_url: str) -> None:
    migrate(ledger_url)
    execute(ledger_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="update the code"):
        Ledger.open(ledger_url)


def test_a_table_that_went_missing_is_a_configuration_error(ledger: Ledger, ledger_url: str) -> None:
    execute(ledger_url, "DROP TABLE vectors")
    with pytest.raises(ConfigError, match="etl ledger upgrade"):
        ledger.vectors.known("f", ["h"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not a database URL"),
        ("no url hunter2", "not a database URL"),
        ("postgresql://me:hunter2@host:port/db", "not a database URL"),
        ("mysql://me:hunter2@host/db", "mysql is not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://me:hunter2@host/db", "takes no host"),
        ("sqlite:///x.db?mode=hunter2", "no parameters"),
        ("postgresql+nosuchdriver://me:hunter2@host/db", "not a database URL"),
    ],
)
def test_an_unusable_url_says_what_is_allowed_and_no_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        Ledger.open(url, migrate=True)
    chain = f"{caught.value} {caught.value.__cause__}"
    assert "sqlite:////absolute/path" in chain
    assert "hunter2" not in chain


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'psycopg\[binary\]'") as caught:
        Ledger.open("postgresql+psycopg://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


def test_another_driver_is_refused_and_ours_is_named() -> None:
    with pytest.raises(ConfigError, match=r"write postgresql\+psycopg://") as caught:
        Ledger.open("postgresql+psycopg2://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.cluster
def test_a_server_that_does_not_answer_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="did not answer") as caught:
        Ledger.open(f"postgresql+psycopg://me:hunter2@/db?host={tmp_path}")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("these are notes, and long enough to have a header of their own: " * 20)
    for migrate_first in (True, False):
        with pytest.raises(ConfigError, match="not a database"):
            Ledger.open(f"sqlite:///{path}", migrate=migrate_first)


def test_a_place_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot create"):
        migrate(f"sqlite:///{tmp_path}/file/ledger.db")
    with pytest.raises(ConfigError, match="unable to open"):
        migrate(f"sqlite:///{tmp_path}")


def test_a_path_of_odd_characters_works(tmp_path: Path) -> None:
    url = sa.URL.create("sqlite", database=str(tmp_path / "new dir" / "50% é" / "ledger.db"))
    with Ledger.open(url.render_as_string(), migrate=True) as ledger:
        ledger.objects.put("demo", [make_object("k")])
    assert (tmp_path / "new dir" / "50% é" / "ledger.db").exists()


def test_sqlite_is_set_up_to_survive_power_cuts_and_neighbours(tmp_path: Path) -> None:
    with (
        Ledger.open(f"sqlite:///{tmp_path}/ledger.db", migrate=True) as ledger,
        ledger._database.reading() as connection,
    ):
        settings = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        values = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in settings}
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


def test_a_lock_that_is_not_given_back_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.embedding_etl.ledger.database.BUSY_TIMEOUT_S", 0.1)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", migrate=True) as ledger:
        with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TransientError, match="locked"):
                ledger.objects.put("demo", [make_object("k")])
            assert ledger.objects.get("demo", "k") is None  # reading goes on meanwhile
        ledger.objects.put("demo", [make_object("k")])


def test_creating_the_ledger_waits_for_a_neighbour_who_is_at_it(tmp_path: Path) -> None:
    # SQLite itself does not wait here: the switch to WAL fails at once while another connection means to write.
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        release.start()
        migrate(f"sqlite:///{tmp_path}/ledger.db")
        release.join()
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()


def test_opening_a_current_ledger_does_not_import_alembic(ledger: Ledger, ledger_url: str) -> None:
    code = (
        "import sys; from include.embedding_etl.ledger import Ledger; Ledger.open(sys.argv[1], migrate=True);"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, ledger_url], cwd=ROOT).returncode == 0


def test_processes_that_create_the_ledger_at_once_do_not_get_in_each_others_way(ledger_url: str) -> None:
    code = "import sys; from include.embedding_etl.ledger import Ledger; Ledger.open(sys.argv[1], migrate=True)"
    started = [subprocess.Popen([sys.executable, "-c", code, ledger_url], cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    Ledger.open(ledger_url).close()
