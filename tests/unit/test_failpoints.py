"""A failpoint kills the process exactly where it says."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.embedding_etl import failpoints
from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.failpoints import DURABLE_WRITES, durable_write

SCRIPT = """
from include.embedding_etl.failpoints import durable_write
for turn in range(3):
    with durable_write("upsert"):
        print("wrote", turn, flush=True)
    print("behind", turn, flush=True)
"""


def run(value: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "ETL_FAILPOINT": value},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("value", "last_line"),
    [
        ("upsert:before", ""),
        ("upsert:after", "wrote 0"),
        ("upsert:before:3", "behind 1"),
        ("upsert:after:2", "wrote 1"),
    ],
)
def test_the_process_dies_by_sigkill_at_its_turn(value: str, last_line: str) -> None:
    done = run(value)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.rstrip().rpartition("\n")[2] == last_line


def test_other_names_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("purge_delete:before").stdout.splitlines()[-1] == "behind 2"


def test_lost_raises_after_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoints._hits.clear()
    monkeypatch.setenv("ETL_FAILPOINT", "upsert:lost")
    written = []
    with pytest.raises(TransientError, match="lost"), durable_write("upsert"):
        written.append(1)
    assert written == [1]


@pytest.mark.parametrize("value", ["upsert", "upset:before", "upsert:during", "upsert:after:x"])
def test_a_typo_in_the_variable_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ETL_FAILPOINT", value)
    with pytest.raises(ConfigError, match="allowed is NAME:MODE"), durable_write("upsert"):
        pass


def test_an_unnamed_durable_write_cannot_be_written() -> None:
    with pytest.raises(KeyError), durable_write("something new"):
        pass


def test_every_name_in_the_table_is_used_in_the_code() -> None:
    package = Path(failpoints.__file__).parent
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "failpoints.py")
    used = set(re.findall(r'durable_write\("(\w+)"\)', code)) | set(re.findall(r'delete_rows\(.*"(\w+)"\)', code))
    assert used == set(DURABLE_WRITES)
