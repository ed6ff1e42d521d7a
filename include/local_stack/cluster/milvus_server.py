"""A Milvus server from PyPI, in an environment of its own: authentication on, and a user of its own for the pipeline.

It listens on every interface and cannot be told otherwise; hence nobody gets in without a password, and the one that
every fresh server begins with is changed before anything else happens.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from include.deployment.milvus_roles import PIPELINES, keep_role
from include.embedding_etl.errors import TransientError
from include.local_stack.cluster.configuration import MILVUS_PORTS, MILVUS_USER, ClusterConfiguration
from include.local_stack.process import Component, RunFile

ROOT = "root"
FIRST_PASSWORD = "Milvus"  # noqa: S105 - public: what every fresh server begins with
# By name of its template: the port of ours that takes its place.
_PORT_SETTINGS = {
    "proxy_port": "milvus",
    "etcd_port": "milvus-etcd",
    "proxy_internal_port": "milvus-proxy",
    "root_coord_port": "milvus-root-coord",
    "query_coord_port": "milvus-query-coord",
    "query_node_port": "milvus-query-node",
    "index_coord_port": "milvus-index-coord",
    "index_node_port": "milvus-index-node",
    "data_coord_port": "milvus-data-coord",
    "data_node_port": "milvus-data-node",
}


def milvus_server_component(cluster: ClusterConfiguration) -> Component:
    """The server. Its process becomes Milvus itself: the package's launcher would leave it behind when it is killed."""
    directory, ports = cluster.stack.paths.milvus, cluster.stack.ports
    directory.mkdir(parents=True, exist_ok=True)
    settings = [f"{setting}={ports[name].number}" for setting, name in _PORT_SETTINGS.items()]
    return Component(
        name="milvus",
        arguments=(
            str(cluster.milvus_python),
            str(Path(__file__).with_name("become_milvus.py")),
            str(directory),
            str(ports["milvus-metrics"].number),
            *settings,
        ),
        environment={"HOME": str(directory)},
        inherited={name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ},
        directory=directory,
        ports=tuple(ports[name] for name in MILVUS_PORTS),
        healthy=partial(_is_healthy, cluster),
    )


def make_user(cluster: ClusterConfiguration) -> None:
    """Change root's password the first time, and keep one user with one role that may do what the pipeline does.

    Raises:
        TransientError: the server refused or went away.
    """
    from pymilvus import MilvusException

    root_password, password = cluster.secrets["MILVUS_ROOT_PASSWORD"], cluster.secrets["MILVUS_PASSWORD"]
    try:
        root = _connect(cluster, ROOT, root_password)
        if root is None:
            root = _connect(cluster, ROOT, FIRST_PASSWORD)
            if root is None:
                raise TransientError(f"Milvus knows neither of root's passwords: see {cluster.stack.paths.env_file}")
            root.update_password(ROOT, FIRST_PASSWORD, root_password)
            root.close()
            root = _connect(cluster, ROOT, root_password)
        keep_role(root, PIPELINES)
        if MILVUS_USER not in root.list_users():
            root.create_user(MILVUS_USER, password)
        root.grant_role(MILVUS_USER, PIPELINES)
        root.close()
    except MilvusException as error:
        raise TransientError(f"Milvus' user could not be made: {error.message}") from error


def _connect(cluster: ClusterConfiguration, user: str, password: str) -> Any:
    """A client, or None: pymilvus tells a password that is refused and a server that is gone by the same error."""
    from pymilvus import MilvusClient, MilvusException

    uri = cluster.stack.demo["ETL_MILVUS_URI"]
    client = None
    try:
        client = MilvusClient(uri, token=f"{user}:{password}", timeout=10, dedicated=True)
        client.list_collections()
    except MilvusException:
        if client is not None:
            client.close()
        return None
    return client


def _is_healthy(cluster: ClusterConfiguration, _: RunFile) -> bool:
    """Whether it answers whoever may ask: our user, or root before there is one."""
    users = (
        (MILVUS_USER, cluster.secrets["MILVUS_PASSWORD"]),
        (ROOT, cluster.secrets["MILVUS_ROOT_PASSWORD"]),
        (ROOT, FIRST_PASSWORD),
    )
    for user, password in users:
        client = _connect(cluster, user, password)
        if client is not None:
            client.close()
            return True
    return False
