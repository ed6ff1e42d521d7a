"""Many small objects through the whole cluster: what each costs beyond the model, and what each component takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import sqlalchemy as sa

from bench.cluster_figures import print_ledger, print_run
from bench.cluster_runs import RunSpan
from bench.cluster_setup import MINILM, BenchCluster, bench_cluster, endpoint, load, model_seconds
from bench.cluster_watch import Watch, cpu_s
from bench.measure import print_figure, require
from bench.texts import make_texts

SHARDS = {"max_shards": 8, "max_shard_objects": 2_000}


def measure_objects(objects: int, models: Sequence[str]) -> None:
    """One run for each of the models, in one cluster."""
    with bench_cluster("cpu=1 gpu=1") as cluster:
        for model in models:
            MEASURES[model](cluster, objects)


def _measure_endpoint(cluster: BenchCluster, objects: int) -> None:
    """A model that costs nothing: all that is left is overhead."""
    with endpoint() as (remote, process):
        name, texts = "bench_endpoint", make_texts(objects, label="Endpoint note", longest=2)
        cluster.write_pipeline(name, {"model": {**remote, "batch_size": 32, "concurrency": 4}}, SHARDS)
        run = _measure(cluster, name, texts, {"endpoint": process})
    print_figure("overhead per object: wall / objects", f"{1000 * run.wall_s / objects:.2f} ms")


def _measure_minilm(cluster: BenchCluster, objects: int) -> None:
    """MiniLM in a worker of the queue `gpu`."""
    name, texts = "bench_minilm", make_texts(objects, label="MiniLM note", longest=2)
    cluster.write_pipeline(name, {"model": MINILM, "queue": "gpu"}, SHARDS)
    run = _measure(cluster, name, texts, {})
    model_s = model_seconds(texts, threads=1)
    print_figure("the model alone, one process, one thread", f"{model_s:.1f} s, {objects / model_s:.0f}/s")
    print_figure("wall time / the model's", f"{run.wall_s / model_s:.2f}")
    print_figure("overhead per object: (wall - model) / objects", f"{1000 * (run.wall_s - model_s) / objects:.2f} ms")


def _measure(cluster: BenchCluster, name: str, texts: Sequence[str], beside: Mapping[str, psutil.Process]) -> RunSpan:
    print(f"-- {name}: {len(texts):,} objects, load {load()}", flush=True)
    upload_s = cluster.put(name, texts)
    print_figure("put into the bucket", f"{upload_s:.1f} s, {len(texts) / upload_s:.0f}/s")
    used = {other: cpu_s(each) for other, each in beside.items()}
    asked = cluster.s3_requests()
    with Watch(cluster.main_processes) as watch:
        run = cluster.run(name)
    asked = cluster.s3_requests() - asked
    print_run(f"first run, load {load()}", run, len(texts))
    for other, each in beside.items():
        print_figure(f"processor time of the {other}", f"{cpu_s(each) - used[other]:.1f} s")
    for component, size_bytes in watch.peak_bytes.items():
        print_figure(
            f"{component}", f"{size_bytes >> 20} MiB at most, {watch.cpu_s.get(component, 0):.1f} s of processor"
        )
    print_figure("all components at once", f"{watch.peak_total_bytes >> 20} MiB at most")
    print_figure("processor time of all, and of looking at them",
                 f"{sum(watch.cpu_s.values()):.0f} s, {watch.own_cpu_s:.1f} s")  # fmt: skip
    print_figure("S3 requests", ", ".join(f"{what}: {number:,}" for what, number in sorted(asked.items())))
    _print_stored(cluster, name, len(texts))
    again = cluster.run(name)
    print_run(f"second run, nothing has changed, load {load()}", again, len(texts))
    require(run.retried == 0, f"{run.retried} tasks had to be tried again")
    return run


def _print_stored(cluster: BenchCluster, name: str, objects: int) -> None:
    """Rows in Milvus; the ledger's own seconds; bytes in ledger and embedding store."""
    with cluster.open(name) as runtime:
        rows = runtime.store.count(runtime.store.alias_target(f"{name}_text") or "")
        require(rows == objects, f"{rows} rows of {objects} objects")
        (record,) = runtime.ledger.runs.last(name, 1)
        seconds: dict[str, list[float]] = {}
        for stage in record.stages:
            total = seconds.setdefault(stage.stage, [0.0, 0.0])
            total[0], total[1] = total[0] + stage.duration_s, total[1] + stage.model_s
        spent = ", ".join(f"{stage} {both[0]:.1f} ({both[1]:.1f})" for stage, both in seconds.items())
        print_figure("seconds within tasks (of them in model calls)", spent)
        (live,) = [each for each in runtime.ledger.collections.of_pipeline(name) if each.state == "live"]
        stored = {file.uri for _, file in runtime.ledger.vectors.stream(live.fingerprint)}
        size_bytes = sum(_state_bytes(cluster, path) for path in stored)
        print_figure("embedding store", f"{len(stored)} files, {size_bytes / rows:.0f} bytes a vector, text included")
    engine = sa.create_engine(cluster.configuration.database_url("postgresql+psycopg", "ledger"))
    print_ledger(engine)
    engine.dispose()


def _state_bytes(cluster: BenchCluster, path: str) -> int:
    client: Any = cluster.s3()
    return int(client.head_object(Bucket="etl-state", Key=f"state/{path}")["ContentLength"])


MEASURES = {"endpoint": _measure_endpoint, "minilm": _measure_minilm}
