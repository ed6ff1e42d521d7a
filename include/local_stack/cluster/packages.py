"""What the cluster needs beside Python packages: programs of Debian, and the Milvus server's own environment."""

import shutil
from pathlib import Path

from include.embedding_etl.errors import ConfigError
from include.local_stack.cluster.configuration import ClusterConfiguration

_POSTGRESQL = Path("/usr/lib/postgresql")
_OLDEST_POSTGRESQL = 13  # what Airflow works with


def require_programs(cluster: ClusterConfiguration) -> None:
    """Check that everything is installed. Asked before a start only: stopping must work without it.

    Raises:
        ConfigError: naming all that is missing, and what to install.
    """
    missing = []
    if not postgresql_program("postgres").exists():
        missing.append(f"PostgreSQL {_OLDEST_POSTGRESQL} or newer below {_POSTGRESQL}: Debian's package postgresql")
    if shutil.which("redis-server") is None:
        missing.append("redis-server: Debian's package redis-server")
    if not cluster.milvus_python.exists():
        missing.append(f"a Milvus server at {cluster.milvus_python}: an environment with tests/milvus-server.txt")
    if missing:
        raise ConfigError("The cluster needs, and `make cluster` installs:\n" + "\n".join(missing))


def postgresql_program(name: str) -> Path:
    """A program of the newest PostgreSQL that is installed. Whether it is there is another question."""
    versions = [int(found.name) for found in _POSTGRESQL.glob("*") if found.name.isdecimal()]
    return _POSTGRESQL / str(max([_OLDEST_POSTGRESQL, *versions])) / "bin" / name
