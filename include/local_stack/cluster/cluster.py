"""The cluster: what it is made of, and what has to be there before Airflow starts."""

from functools import partial

from include.embedding_etl.ledger import Ledger
from include.local_stack.airflow import airflow_components, prepare_airflow
from include.local_stack.cluster.celery_workers import worker_components
from include.local_stack.cluster.configuration import STATE_BUCKET, ClusterConfiguration
from include.local_stack.cluster.milvus_server import make_user, milvus_server_component
from include.local_stack.cluster.packages import require_programs
from include.local_stack.cluster.postgresql import make_data_directory, make_databases, postgresql_component
from include.local_stack.cluster.redis import redis_component
from include.local_stack.process import read_run_file
from include.local_stack.seaweed import remove_sockets, seaweed_component
from include.local_stack.stack import Group, Say, Stack, wait_until_healthy
from include.local_stack.upload import keep_bucket


def cluster_stack(cluster: ClusterConfiguration) -> Stack:
    """What `make cluster` starts."""
    configuration = cluster.stack
    stores = Group(
        (
            postgresql_component(cluster),
            redis_component(cluster),
            seaweed_component(configuration),
            milvus_server_component(cluster),
        ),
        lambda _: _prepare_stores(cluster),
    )
    return Stack(
        title="PostgreSQL, Redis, S3, Milvus and Airflow with Celery workers",
        hint='To use it from a shell: eval "$(.venv/bin/python -m include.local_stack.cluster env)"; '
        ".venv/bin/etl search demo --text 'how does bread rise'",
        status_command="make cluster-status",
        down_command="make cluster-down",
        configuration=configuration,
        stores=stores,
        airflow=Group((*airflow_components(configuration), *worker_components(cluster)), partial(_prepare, cluster)),
        pools={
            "etl_embed": (cluster.tasks_at_once, "embedding tasks: as many as all workers take at a time"),
            "etl_sync": (2, "tasks that write to Milvus"),
        },
        clean_up=partial(remove_sockets, configuration),
    )


def _prepare_stores(cluster: ClusterConfiguration) -> None:
    require_programs(cluster)
    if read_run_file(cluster.stack.paths, "postgresql") is None:
        make_data_directory(cluster)


def _prepare(cluster: ClusterConfiguration, say: Say) -> None:
    """Databases, users, buckets and tables. Waits for the stores, which may just have been started."""
    configuration = cluster.stack
    wait_until_healthy(cluster_stack(cluster), say, ("postgresql", "redis", "s3", "milvus"))
    make_databases(cluster)
    make_user(cluster)
    keep_bucket(configuration, STATE_BUCKET)
    with Ledger.open(configuration.demo["ETL_LEDGER_URL"], migrate=True):
        say("databases, users, buckets and tables are there")
    prepare_airflow(configuration)
