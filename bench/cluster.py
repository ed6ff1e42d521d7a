"""The whole cluster, measured: `python -m bench.cluster objects | workers | latency | ledger`.

It starts a cluster of its own (PostgreSQL, Redis, SeaweedFS, Milvus 2.3.5, Airflow with Celery workers), as `make
cluster` does, and ends it. So it needs Debian's postgresql and redis-server and the Milvus server's environment, which
`make test-cluster` installs, and no other Milvus 2.3.5 on the machine; it is not part of `make bench`.

- objects: so many small objects in one run, with a model that costs nothing and with MiniLM: the time of each stage,
  the overhead of an object, memory and processor time of each component, S3 requests, bytes in ledger and state.
- workers: the same number of texts with one and with two workers, and with two threads.
- latency: 1 to 8 workers whose model only makes them wait: what scheduling costs.
- ledger: a run in which nothing has changed, with the ledger on PostgreSQL; no Airflow, no Milvus.
"""

import argparse
import platform
from pathlib import Path

from bench.cluster_ledger import measure_ledger
from bench.cluster_objects import MEASURES, measure_objects
from bench.cluster_scaling import measure_latency, measure_workers
from bench.measure import print_figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    of_objects = commands.add_parser("objects")
    of_objects.add_argument("--objects", type=int, default=10_000)
    of_objects.add_argument("--models", nargs="+", choices=sorted(MEASURES), default=sorted(MEASURES))
    commands.add_parser("workers").add_argument("--objects", type=int, default=3_000)
    commands.add_parser("latency").add_argument("--workers", type=int, default=8, help="the most")
    commands.add_parser("ledger").add_argument("--objects", type=int, default=200_000)
    arguments = parser.parse_args()
    print_figure("machine", f"{_processor()}, {platform.machine()}")
    match arguments.command:
        case "objects":
            measure_objects(arguments.objects, arguments.models)
        case "workers":
            measure_workers(arguments.objects)
        case "latency":
            measure_latency(arguments.workers)
        case "ledger":
            measure_ledger(arguments.objects)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else "unknown processor"


if __name__ == "__main__":
    main()
