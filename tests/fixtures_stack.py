"""Embedded stacks of a test's own: free ports, a directory of its own, ended with the test whatever happens."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from include.local_stack.configuration import StackConfiguration, configure
from include.local_stack.paths import DAGS_DIR_VARIABLE, LOCAL_DIR_VARIABLE, StackPaths
from include.local_stack.ports import PORT_VARIABLES
from include.local_stack.process import Component, kill_leftovers
from tests.ports import free_ports

TINY_DAG = """
from airflow.sdk import Connection, dag, task

@dag(dag_id="tiny", schedule=None)
def tiny():
    @task(pool="etl_embed")
    def which():
        return [Connection.get("etl_s3").extra_dejson["endpoint_url"], Connection.get("etl_milvus").host]
    which()

tiny()
"""


def stack_environment(directory: Path) -> dict[str, str]:
    """What a stack of one's own is configured by."""
    ports = free_ports(len(PORT_VARIABLES))
    return {
        LOCAL_DIR_VARIABLE: str(directory / "local"),
        DAGS_DIR_VARIABLE: str(directory / "dags"),
        **{variable: str(port) for variable, port in zip(PORT_VARIABLES, ports, strict=True)},
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackConfiguration]:
    """A configured stack with one tiny DAG; nothing of it runs yet."""
    directory = tmp_path_factory.mktemp("stack")
    (directory / "dags").mkdir()
    (directory / "dags" / "tiny.py").write_text(TINY_DAG)
    configuration = configure(stack_environment(directory))
    yield configuration
    kill_leftovers(configuration.paths)


@pytest.fixture
def stack_paths(tmp_path: Path) -> Iterator[StackPaths]:
    """Paths for components that are no servers."""
    paths = StackPaths(local=tmp_path / "local", dags=tmp_path / "dags")
    yield paths
    kill_leftovers(paths)


@pytest.fixture
def component(tmp_path: Path) -> Callable[..., Component]:
    """Makes components out of command lines."""

    def make(*arguments: str, name: str = "sleeper", **environment: str) -> Component:
        return Component(
            name=name,
            arguments=arguments or ("sleep", "600"),
            environment=environment,
            inherited={"PATH": os.environ["PATH"]},
            directory=tmp_path,
            ports=(),
            healthy=lambda _: True,
            stop_timeout_s=1.0,
        )

    return make


def listening_addresses(pids: set[int]) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which these processes listen."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
