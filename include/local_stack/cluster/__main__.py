"""`python -m include.local_stack.cluster`: the cluster's commands."""

from include.local_stack.cluster.cluster import cluster_stack
from include.local_stack.cluster.configuration import configure_cluster
from include.local_stack.commands import run_command

if __name__ == "__main__":
    run_command(
        "The cluster on this machine: PostgreSQL, Redis, a Milvus server, S3, Airflow with Celery workers.",
        lambda: cluster_stack(configure_cluster()),
    )
