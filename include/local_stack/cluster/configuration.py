"""What one cluster is made of: paths, ports, workers, and the secrets that were generated for it."""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.places import PROJECT_ROOT
from include.local_stack.configuration import (
    DEMO_KEYS,
    GENERATED,
    GENERATED_FOR_AIRFLOW,
    StackConfiguration,
    addresses,
)
from include.local_stack.env_file import keep_secrets
from include.local_stack.paths import DAGS_DIR_VARIABLE, StackPaths
from include.local_stack.ports import HOST, Port, read_ports
from include.local_stack.seaweed import SEAWEED_PORTS

CLUSTER_DIR_VARIABLE = "ETL_CLUSTER_DIR"
WORKERS_VARIABLE = "ETL_CLUSTER_WORKERS"
MILVUS_PYTHON_VARIABLE = "ETL_MILVUS_SERVER_PYTHON"
STATE_BUCKET = "etl-state"
AIRFLOW_ROLE = "airflow"  # of PostgreSQL, and the name of its database
LEDGER_ROLE = "ledger"
MILVUS_USER = "embedding_etl"
DEFAULT_QUEUE = "cpu"
CONCURRENCY = {DEFAULT_QUEUE: 2, "gpu": 1}  # tasks at a time of one worker: a GPU holds one model after the other
CLUSTER_KEYS = (*DEMO_KEYS, "ETL_MILVUS_TOKEN")
MILVUS_PORTS = (
    "milvus",
    "milvus-metrics",
    "milvus-etcd",
    "milvus-etcd-peers",
    "milvus-proxy",
    "milvus-root-coord",
    "milvus-query-coord",
    "milvus-query-node",
    "milvus-index-coord",
    "milvus-index-node",
    "milvus-data-coord",
    "milvus-data-node",
)
# The block behind the embedded stack's.
_NAMES = (
    "airflow",
    *SEAWEED_PORTS,
    "postgresql",
    "redis",
    *(name for name in MILVUS_PORTS if name != "milvus-etcd-peers"),
)
CLUSTER_PORTS: Mapping[str, tuple[str, int]] = {
    name: (f"ETL_CLUSTER_{name.upper().replace('-', '_')}_PORT", 18820 + number) for number, name in enumerate(_NAMES)
}
ETCD_PEERS = Port("milvus-etcd-peers", "", 2380)  # the etcd inside cannot be told another: one such Milvus a machine


@dataclass(frozen=True, slots=True)
class ClusterConfiguration:
    """Everything the cluster's components are started with."""

    stack: StackConfiguration
    secrets: Mapping[str, str]  # passwords of PostgreSQL, Redis and Milvus
    workers: Mapping[str, int]  # queue → number of workers
    milvus_python: Path  # of the environment that has the Milvus server

    @property
    def postgresql(self) -> Path:
        """PostgreSQL's directory."""
        return self.stack.paths.local / "postgresql"

    @property
    def redis(self) -> Path:
        """Redis' directory."""
        return self.stack.paths.local / "redis"

    @property
    def tasks_at_once(self) -> int:
        """As many as all workers take together."""
        return sum(number * CONCURRENCY.get(queue, 1) for queue, number in self.workers.items())

    def database_url(self, driver: str, role: str) -> str:
        """The SQLAlchemy URL of a role's own database. It carries the password: into environments only."""
        password = self.secrets[f"POSTGRESQL_{role.upper()}_PASSWORD"]
        database = "postgres" if role == "postgres" else role
        return f"{driver}://{role}:{password}@{HOST}:{self.stack.ports['postgresql'].number}/{database}"

    @property
    def broker_url(self) -> str:
        """Redis, with its password: into environments only."""
        return f"redis://:{self.secrets['REDIS_PASSWORD']}@{HOST}:{self.stack.ports['redis'].number}/0"


def configure_cluster(environment: Mapping[str, str] | None = None) -> ClusterConfiguration:
    """Read ports, paths and workers from the environment; generate the secrets the first time, then keep them.

    Raises:
        ConfigError: a variable is wrong, or the file of secrets was damaged.
    """
    environment = os.environ if environment is None else environment
    paths = StackPaths(
        local=Path(environment.get(CLUSTER_DIR_VARIABLE) or PROJECT_ROOT / ".local" / "cluster").resolve(),
        dags=Path(environment.get(DAGS_DIR_VARIABLE) or PROJECT_ROOT / "dags").resolve(),
        env_name="cluster.env",
    )
    ports = {**read_ports(environment, CLUSTER_PORTS), ETCD_PEERS.name: ETCD_PEERS}
    passwords = ("POSTGRESQL_POSTGRES", "POSTGRESQL_AIRFLOW", "POSTGRESQL_LEDGER", "REDIS", "MILVUS_ROOT", "MILVUS")
    # Letters, digits, - and _ only: they stand in URLs. Milvus takes 72 characters at most.
    generated = {f"{name}_PASSWORD": lambda: secrets.token_urlsafe(24) for name in passwords}
    kept = keep_secrets(
        paths.env_file,
        "Addresses and generated secrets of the cluster. `make cluster` keeps this file; so does `make cluster-down`.",
        generated={**GENERATED, **GENERATED_FOR_AIRFLOW, **generated},
        settled={**addresses(ports), "ETL_STATE_URI": f"s3://{STATE_BUCKET}/state"},
    )
    cluster = ClusterConfiguration(
        stack=StackConfiguration(paths, ports, {}, {}),
        secrets={key: kept[key] for key in generated},
        workers=read_workers(environment.get(WORKERS_VARIABLE) or "cpu=1 gpu=1"),
        milvus_python=Path(
            environment.get(MILVUS_PYTHON_VARIABLE) or PROJECT_ROOT / ".venv-milvus" / "bin" / "python"
        ).absolute(),
    )
    derived = {
        **kept,
        "ETL_LEDGER_URL": cluster.database_url("postgresql+psycopg", LEDGER_ROLE),
        "ETL_MILVUS_TOKEN": f"{MILVUS_USER}:{kept['MILVUS_PASSWORD']}",
    }
    stack = StackConfiguration(
        paths,
        ports,
        demo={key: derived[key] for key in CLUSTER_KEYS},
        airflow_keys={key: kept[key] for key in GENERATED_FOR_AIRFLOW},
        airflow_settings=_airflow_settings(cluster),
    )
    return ClusterConfiguration(stack, cluster.secrets, cluster.workers, cluster.milvus_python)


def read_workers(text: str) -> dict[str, int]:
    """`cpu=2 gpu=1`: how many workers each queue has.

    Raises:
        ConfigError: it says something else, or leaves the default queue without a worker.
    """
    if not re.fullmatch(r"\s*[a-z][a-z0-9_-]*=[1-9]\d?(\s+[a-z][a-z0-9_-]*=[1-9]\d?)*\s*", text):
        raise ConfigError(f"{WORKERS_VARIABLE}={text!r}: expected queues and numbers of workers, such as cpu=2 gpu=1")
    workers = {queue: int(number) for queue, number in (word.split("=") for word in text.split())}
    if DEFAULT_QUEUE not in workers:
        raise ConfigError(f"{WORKERS_VARIABLE}={text!r}: the queue {DEFAULT_QUEUE} needs a worker; most tasks go there")
    return workers


def _airflow_settings(cluster: ClusterConfiguration) -> dict[str, str]:
    # psycopg: the driver that Airflow's own code expects where it is installed. Its asynchronous half takes asyncpg.
    database = cluster.database_url("postgresql+psycopg", AIRFLOW_ROLE)
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "16",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CELERY__BROKER_URL": cluster.broker_url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        # Longer than any task may run: a message that comes again while its task still runs is work for nothing.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": DEFAULT_QUEUE,
        "ETL_TASKS_PER_MACHINE": str(cluster.tasks_at_once),  # all workers share this machine's cores
    }
