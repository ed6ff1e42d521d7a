"""One cluster for the whole session: its own ports (all but Milvus' etcd's 2380), its own directory, its own pipelines.

It is ended with the session whatever happens. What the tests measure is printed below the summary.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import yaml

from include.embedding_etl.audit import Audit, audit
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import PROJECT_ROOT
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.vectorstore.schema import row_id
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.cluster.cluster import cluster_stack
from include.local_stack.cluster.configuration import (
    CLUSTER_DIR_VARIABLE,
    CLUSTER_PORTS,
    ClusterConfiguration,
    configure_cluster,
)
from include.local_stack.demo import places_of
from include.local_stack.process import kill_leftovers, read_run_file
from include.local_stack.stack import Stack, start_stack, stop_stack, wait_until_healthy
from tests.embedding_endpoint import DIMENSION, EmbeddingEndpoint
from tests.ports import free_ports

PIPELINE = "letters"
figures: list[str] = []


class GatedEndpoint(EmbeddingEndpoint):
    """Holds every request while the gate is closed: an embedding task is then in the middle of its work."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.arrived = threading.Event(), threading.Event()
        self.gate.set()

    def close_gate(self) -> None:
        self.arrived.clear()
        self.gate.clear()

    def answer(self, asked: dict[str, Any]) -> tuple[int, object]:
        self.arrived.set()
        self.gate.wait(timeout=240)
        return super().answer(asked)


@dataclass
class Cluster:
    """The running cluster, and what the tests do to it."""

    configuration: ClusterConfiguration
    pipelines: Path
    endpoint: GatedEndpoint
    started: list[str] = field(default_factory=list)  # components that had to be started again

    @property
    def stack(self) -> Stack:
        return cluster_stack(self.configuration)

    @property
    def bucket(self) -> Any:
        demo = self.configuration.stack.demo
        return boto3.resource(
            "s3",
            endpoint_url=demo["ETL_S3_ENDPOINT"],
            aws_access_key_id=demo["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=demo["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        ).Bucket(PIPELINE)

    def open(self) -> Runtime:
        return Runtime(find_pipeline(self.pipelines, PIPELINE), places_of(self.configuration.stack))

    def main_process(self, component: str) -> psutil.Process:
        run_file = read_run_file(self.stack.paths, component)
        assert run_file is not None, f"{component} does not run"
        return psutil.Process(run_file.pid)

    def kill(self, component: str) -> None:
        """As if its machine had died: kill -9 to it and all that it has started."""
        main = self.main_process(component)
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=20)

    def heal(self) -> None:
        """`make cluster` again, as far as it starts things."""
        self.started += start_stack(self.stack, print)

    def follow(self, client: AirflowClient, run_id: str) -> str:
        """Watch a run; whatever ends meanwhile is started again, as any supervisor does."""

        def supervise(_: object) -> None:
            if any(read_run_file(self.stack.paths, each.name) is None for each in self.stack.components):
                self.heal()

        return client.follow(f"ingest__{PIPELINE}", run_id, 420, supervise)

    def audit(self) -> Audit:
        with self.open() as runtime:
            return audit(runtime, f"audit-{time.time_ns()}")

    def rows(self) -> dict[str, tuple[str, str]]:
        """What readers of the alias see: {id: (object_key, object_version)}, and no row twice."""
        with self.open() as runtime:
            target = runtime.store.alias_target(f"{PIPELINE}_text") or ""
            listed = [
                (str(row["id"]), (str(row["object_key"]), str(row["object_version"])))
                for page in runtime.store.iterate(target, ["object_key", "object_version"])
                for row in page
            ]
            assert runtime.store.count(target) == len(listed) == len(dict(listed))
        return dict(listed)

    def objects(self) -> dict[str, tuple[str, str]]:
        """What storage holds, as rows."""
        return {
            row_id(PIPELINE, "text", item.key, 0): (item.key, item.e_tag.strip('"'))
            for item in self.bucket.objects.all()
        }


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    pipelines = directory / "pipelines"
    pipelines.mkdir()
    shutil.copy(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml", pipelines)
    endpoint = GatedEndpoint()
    (pipelines / f"{PIPELINE}.yaml").write_text(_pipeline(endpoint.url))
    ports = zip(CLUSTER_PORTS.values(), free_ports(len(CLUSTER_PORTS)), strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETL_PIPELINES_DIR", str(pipelines))
        patch.setenv(CLUSTER_DIR_VARIABLE, str(directory / "cluster"))
        for (variable, _), port in ports:
            patch.setenv(variable, str(port))
        running = Cluster(configure_cluster(), pipelines, endpoint)
        try:
            begun = time.monotonic()
            start_stack(running.stack, print)
            wait_until_healthy(running.stack, print)
            figures.append(f"from nothing to healthy: {time.monotonic() - begun:.0f} s")
            yield running
            figures.extend(_memory(running))
        finally:
            endpoint.gate.set()
            endpoint.close()
            stop_stack(running.stack)
            kill_leftovers(running.stack.paths)


@pytest.fixture(scope="session")
def airflow(cluster: Cluster) -> Iterator[AirflowClient]:
    with AirflowClient(cluster.configuration.stack) as client:
        for name, (slots, description) in cluster.stack.pools.items():
            client.keep_pool(name, slots, description)
        yield client


@pytest.fixture(scope="session")
def tell() -> Callable[[str], None]:
    """One more line below the summary."""
    return figures.append


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if figures:
        terminalreporter.section("the cluster's figures")
        for line in figures:
            terminalreporter.write_line(line)


def _memory(running: Cluster) -> Iterator[str]:
    for component in running.stack.components:
        main = running.main_process(component.name)
        processes = [main, *main.children(recursive=True)]
        private = sum(_private_bytes(process) for process in processes)
        yield f"memory of {component.name}: {private >> 20} MiB in {len(processes)} processes"


def _private_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:  # a task that ended meanwhile
        return 0


def _pipeline(endpoint_url: str) -> str:
    model = {"kind": "openai", "id": "word-hash", "weights": "remote", "base_url": endpoint_url}
    lane = {
        "accepts": ["text/*"],
        "model": {**model, "dimension": DIMENSION, "max_tokens": 64, "batch_size": 4},
        "chunk": {"overlap_tokens": 0},
        "index": {"type": "FLAT", "params": {}},
    }
    document = {
        "name": PIPELINE,
        "source": {"uri": f"s3://{PIPELINE}/", "connection_id": "etl_s3"},
        "milvus": {"connection_id": "etl_milvus"},
        "lanes": {"text": lane},
        "shards": {"max_shards": 4, "max_shard_objects": 10},
    }
    return yaml.safe_dump(document)
