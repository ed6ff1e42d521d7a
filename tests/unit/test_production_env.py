"""`make env`: secrets are generated once, kept for ever, and never shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from include.embedding_etl.errors import ConfigError
from include.local_stack.env_file import read_env_file
from include.local_stack.production_env import CHOICES, SECRETS, complete_env_file

ROOT = Path(__file__).resolve().parents[2]


def test_every_secret_is_new_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    complete_env_file(one)
    complete_env_file(two)
    assert one.stat().st_mode & 0o777 == 0o600
    first, second = read_env_file(one), read_env_file(two)
    assert set(first) == set(SECRETS) | set(CHOICES)
    assert not {first[name] for name in SECRETS} & {second[name] for name in SECRETS}
    assert len({first[name] for name in SECRETS}) == len(SECRETS)
    assert all(len(first[name]) >= 20 for name in SECRETS)


def test_what_is_there_stays_and_what_is_missing_is_added(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# mine\nREDIS_PASSWORD=chosen-by-me\nBIND_ADDRESS=0.0.0.0\nCOMPOSE_PROFILES=\nS3_ACCESS_KEY=")
    added = complete_env_file(file)
    text = file.read_text()
    assert text.startswith(
        "# mine\nREDIS_PASSWORD=chosen-by-me\nBIND_ADDRESS=0.0.0.0\nCOMPOSE_PROFILES=\nS3_ACCESS_KEY=\n"
    )
    values = read_env_file(file)
    assert values["REDIS_PASSWORD"] == "chosen-by-me"
    assert values["COMPOSE_PROFILES"] == ""  # a choice
    assert values["S3_ACCESS_KEY"].startswith("AK")  # an empty secret is none
    assert {"REDIS_PASSWORD", "COMPOSE_PROFILES"} & set(added) == set()
    assert file.stat().st_mode & 0o777 == 0o600
    assert complete_env_file(file) == []
    assert file.read_text().startswith(text)


def test_a_line_that_nobody_understands_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("what is this")
    with pytest.raises(ConfigError, match="line 1"):
        complete_env_file(tmp_path / ".env")
    assert (tmp_path / ".env").read_text() == "what is this"


def test_passwords_need_no_quoting_anywhere() -> None:
    for name, make in SECRETS.items():
        assert set(make()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_="), name


def test_an_etl_outside_of_the_containers_does_not_read_it() -> None:
    # Places reads `.env` of the current directory, too.
    assert not [name for name in (*SECRETS, *CHOICES) if name.lower().startswith(("etl_", "aws_"))]


def test_it_runs_where_nothing_is_installed_and_shows_no_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "include.local_stack.production_env"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert "REDIS_PASSWORD" in done.stdout
    assert not [
        value for value in read_env_file(tmp_path / ".env").values() if len(value) > 12 and value in done.stdout
    ]
    again = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert again.stdout == ".env: nothing was missing\n"


def test_git_ignores_it() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
