"""More workers on the same input: with MiniLM, which needs processors, and with a model that only lets one wait."""

from bench.cluster_figures import print_run
from bench.cluster_runs import RunSpan
from bench.cluster_setup import MINILM, BenchCluster, bench_cluster, endpoint, load, model_seconds
from bench.measure import print_figure
from bench.texts import make_texts

SHARDS = 12
TASKS_EACH = 2  # embed tasks of a worker
WAITING_OBJECTS = 20  # of a task
WAITING_MS = 3_000.0  # for each of them


def measure_workers(objects: int) -> None:
    """One worker, two workers, and one whose model has two threads. Every trial has texts of its own."""
    trials = [("one", 1, 1), ("two", 2, 1), ("threads", 1, 2)]
    with bench_cluster("cpu=1 gpu=2") as cluster:
        spans: dict[str, RunSpan] = {}
        shards = {"max_shards": SHARDS, "max_shard_objects": max(1, objects // SHARDS)}
        for name, _, _ in trials:
            cluster.write_pipeline(f"bench_{name}", {"model": MINILM, "queue": "gpu"}, shards)
        for name, workers, threads in trials:
            texts = make_texts(objects, label=f"Trial {name}, note", longest=6)
            cluster.put(f"bench_{name}", texts)
            spans[name] = _trial(cluster, f"bench_{name}", workers, threads, objects)
            alone_s = model_seconds(texts, threads)
            print_figure(f"the model alone, {threads} threads", f"{alone_s:.1f} s, {objects / alone_s:.0f}/s")
        _print_ratios(spans["one"], {"2 workers": spans["two"], "2 threads": spans["threads"]})


def measure_latency(most: int) -> None:
    """1, 2, 4, … workers of one task each, whose model takes a while for each object and no processor.

    Each worker has TASKS_EACH shards to work off, so that every trial would take as long, were scheduling free.
    """
    counts = [count for count in (1, 2, 4, 8) if count <= most]
    with bench_cluster(f"cpu=1 gpu={most}") as cluster, endpoint(WAITING_MS) as (remote, _):
        rates: dict[int, float] = {}
        for count in counts:
            shards = {"max_shards": TASKS_EACH * count, "max_shard_objects": WAITING_OBJECTS}
            lane = {"model": {**remote, "batch_size": 1, "concurrency": 1}, "queue": "gpu"}
            cluster.write_pipeline(f"bench_wait{count}", lane, shards)
        for count in reversed(counts):
            objects = TASKS_EACH * WAITING_OBJECTS * count
            cluster.put(f"bench_wait{count}", make_texts(objects, label=f"With {count}, note", longest=1))
            run = _trial(cluster, f"bench_wait{count}", count, 1, objects)
            rates[count] = objects / run.stages["embed"].wall_s
            waiting_s = TASKS_EACH * WAITING_OBJECTS * WAITING_MS / 1000
            print_figure("embed stage, of that the model makes wait",
                         f"{run.stages['embed'].wall_s:.1f} s, {waiting_s:.1f} s")  # fmt: skip
        for count in counts[1:]:
            speedup = rates[count] / rates[1]
            print_figure(f"{count} workers against one", f"{speedup:.2f}×, efficiency {speedup / count:.0%}")


def _trial(cluster: BenchCluster, name: str, workers: int, threads: int, objects: int) -> RunSpan:
    cluster.use_gpu_workers(workers, threads)
    print(f"-- {name}: {objects:,} objects, gpu workers: {workers}, threads of a task: {threads}, load {load()}")
    run = cluster.run(name)
    print_run(f"run, load {load()}", run, objects)
    return run


def _print_ratios(one: RunSpan, others: dict[str, RunSpan]) -> None:
    for what, run in others.items():
        embed, base = run.stages["embed"], one.stages["embed"]
        print_figure(
            f"{what} against one: embed stage, run",
            f"{base.wall_s / embed.wall_s:.2f}×, {one.wall_s / run.wall_s:.2f}×; embed tasks at once "
            f"{embed.at_once:.2f}",
        )
