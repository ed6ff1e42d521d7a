"""The locks, their hashes, their licences, and the audit of what is known against them."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from include.embedding_etl.places import PROJECT_ROOT
from scripts import audit_dependencies
from scripts.licences import LOCKS, is_allowed, licence_of, locked_packages


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_but_torch_has_hashes_of_its_version(lock: str) -> None:
    text = (PROJECT_ROOT / f"{lock}.hashes").read_text()
    locked = pins((PROJECT_ROOT / f"{lock}.txt").read_text())
    locked.pop("torch", None)
    assert pins(text) == locked, "run `make lock`"
    entries = re.split(r"\n(?=\S)", text.partition("\n")[2].strip())
    assert len(entries) == len(locked)
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_address_or_a_path(lock: str) -> None:
    for ending in ("txt", "hashes"):
        text = (PROJECT_ROOT / f"{lock}.{ending}").read_text()
        assert not re.search(r"://|^(-f|-i|--find-links|--index-url|--extra-index-url)|file:|\+cpu", text, re.MULTILINE)


def test_the_installation_checks_hashes_before_anything_else() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for lock in LOCKS:
        steps = [line for line in makefile.splitlines() if line.startswith("\t") and f"-r {lock}." in line]
        assert "$(HASHED)" in steps[0], f"{lock}.hashes is not installed first"
        assert f"-r {lock}.hashes" in steps[0]
    assert "--require-hashes --no-deps" in makefile


def test_the_list_of_licences_is_that_of_the_locks() -> None:
    document = (PROJECT_ROOT / "docs" / "licences.md").read_text().partition("## All")[2]
    rows = dict(re.findall(r"^\| (\S+) \| (\S+) \| [^|]+ \| \S+ \|$", document, re.MULTILINE))
    rows.pop("Package")
    assert rows == {package.name: package.version for package in locked_packages()}, "run `make licences`"


def test_every_licence_in_the_list_is_allowed() -> None:
    document = (PROJECT_ROOT / "docs" / "licences.md").read_text().partition("## All")[2]
    rows = re.findall(r"^\| (\S+) \| \S+ \| ([^|]*) \| \S+\.txt \|$", document, re.MULTILINE)
    assert len(rows) == len(locked_packages())
    assert [(name, licence) for name, licence in rows if not is_allowed(licence.strip())] == []


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT OR GPL-2.0-only", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-2.0-only AND (Apache-2.0 OR MIT)", False),
        ("AGPL-3.0-only", False),
        ("Proprietary", False),
    ],
)
def test_an_expression_is_allowed_if_one_choice_of_it_is(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_licences_are_read_from_what_is_installed() -> None:
    assert licence_of("numpy").startswith("BSD-3-Clause")
    assert licence_of("boto3") == "Apache-2.0"
    assert licence_of("pytz") == "MIT"  # only its classifier says so


class Database(ThreadingHTTPServer):
    """Answers as OSV does. One package is known to be bad."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class _Answers(BaseHTTPRequestHandler):
    server: Database

    def do_GET(self) -> None:
        self.send_error(405)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Nobody reads it."""


@pytest.fixture
def database() -> Iterator[Database]:
    server = Database()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_database_that_answers_anything_is_reachable_and_one_that_does_not_is_not(database: Database) -> None:
    assert audit_dependencies.is_reachable(database.url)
    assert not audit_dependencies.is_reachable("http://127.0.0.1:1/v1/query")


def test_without_a_database_the_audit_is_green_and_loud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_dependencies, "SERVICE", "http://127.0.0.1:1/v1/query")
    audit_dependencies.main()
    assert "NOT AUDITED" in capsys.readouterr().out


def stand_in(directory, exit_code: int):
    """A program that writes down what it was asked, as pip-audit would be."""
    program = directory / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        "requirements = pathlib.Path(sys.argv[sys.argv.index('-r') + 1]).read_text()\n"
        f"pathlib.Path({str(directory / 'asked')!r}).write_text(json.dumps([sys.argv[1:], requirements]))\n"
        f"sys.exit({exit_code})\n"
    )
    program.chmod(0o700)
    return program


@pytest.mark.parametrize("exit_code", [0, 1])
def test_the_audit_asks_about_every_pin_and_ends_as_pip_audit_does(
    tmp_path, database: Database, monkeypatch: pytest.MonkeyPatch, exit_code: int
) -> None:
    monkeypatch.setattr(audit_dependencies, "SERVICE", database.url)
    monkeypatch.setattr(audit_dependencies, "install_pip_audit", lambda: stand_in(tmp_path, exit_code))
    with pytest.raises(SystemExit) as ended:
        audit_dependencies.main()
    assert ended.value.code == exit_code
    arguments, requirements = json.loads((tmp_path / "asked").read_text())
    assert f"--osv-url={database.url}" in arguments
    assert pins(requirements) == {package.name: package.version for package in locked_packages()}


def test_pip_keeps_what_was_locked_and_refuses_anything_else(tmp_path) -> None:
    """As the Makefile calls it, on a file of our own: no registry is asked."""
    wheel = tmp_path / "thing-1-py3-none-any.whl"
    subprocess.run([sys.executable, "-c", _MAKE_WHEEL, str(wheel)], check=True)
    (tmp_path / "locked").write_text(f"thing==1 --hash=sha256:{'0' * 64}\n")
    arguments = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-index", "--dry-run"]
    done = subprocess.run(
        [*arguments, "--find-links", str(tmp_path), "-r", str(tmp_path / "locked")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert version("pip")


_MAKE_WHEEL = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1\\n")
    wheel.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("thing-1.dist-info/RECORD", "")
"""
