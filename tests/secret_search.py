"""Where could a secret have got to? Every file of a stack, every table, every value in Parquet, every command line."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from include.local_stack.configuration import StackConfiguration

KEEPERS = {"demo.env", "airflow.env", "seaweed/s3.json", "airflow/passwords.json"}  # files that exist to hold secrets
PRIVATE = 0o077


def find_secrets(configuration: StackConfiguration, secrets: Mapping[str, str], told: str) -> list[str]:
    """`where: name` of every secret that is somewhere else than in the files that keep them.

    Args:
        configuration: Of the stack.
        secrets: By name.
        told: What users were shown.
    """
    wanted = {name: secret.encode() for name, secret in secrets.items() if secret}
    found = {f"shown to users: {name}" for name, secret in wanted.items() if secret in told.encode()}
    for where, content in _everything(configuration.paths.local):
        found |= {f"{where}: {name}" for name, secret in wanted.items() if secret in content}
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or []).encode()
        found |= {f"command line of {process.pid}: {name}" for name, secret in wanted.items() if secret in line}
    return sorted(found)


def _everything(directory: Path) -> Iterator[tuple[str, bytes]]:
    kept = set()
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = str(path.relative_to(directory))
        if name in KEEPERS:
            kept.add(name)
            assert not path.stat().st_mode & PRIVATE, f"{path} holds secrets and others may read it"
            continue
        yield name, path.read_bytes()
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            yield f"{name}, read", f"{file.metadata.metadata} {file.read().to_pylist()}".encode()
        elif path.suffix == ".db":
            yield from _tables(name, path)
    assert kept == KEEPERS, "a file of secrets has another name by now"


def _tables(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    """Values of every table: in the file itself a long one is cut up."""
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        tables = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert tables, f"{name} has no tables"
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - the database's own names
                yield f"{name}, table {table}", b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
