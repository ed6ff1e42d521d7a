"""How many threads one task computes with: tasks that share a machine share its cores.

Every library counts the machine's cores for itself and takes all of them. So two tasks on one machine have twice as
many threads as there are cores, and are slower together than one after the other.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from include.embedding_etl.places import Places

CGROUP = Path("/sys/fs/cgroup")
_OPERATORS = "OMP_NUM_THREADS"
# Read when the library is loaded: they hold for what a task has not imported yet, and for its child processes.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def machine_cores(cgroup: Path = CGROUP) -> int:
    """The cores that this process may use: its affinity, or its container's share where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _container_share(cgroup)
    return max(1, min(cores, int(share))) if share is not None else cores


def task_threads(places: Places, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of one task: OMP_NUM_THREADS, else ETL_TASK_THREADS, else the cores / ETL_TASKS_PER_MACHINE."""
    by_operator = environment.get(_OPERATORS, "")
    if by_operator.isdigit() and int(by_operator) > 0:
        return int(by_operator)
    return places.task_threads or max(1, machine_cores() // places.tasks_per_machine)


def limit_threads(places: Places) -> int:
    """Make every library of this process keep to its share; torch does when a model is loaded (`limit_torch`).

    Returns:
        The number of threads.
    """
    threads = task_threads(places)
    for variable in _VARIABLES:
        os.environ.setdefault(variable, str(threads))
    if threads == 1:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Airflow's workers have imported these before a task begins: they no longer read the variables.
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    import pyarrow as pa

    pa.set_cpu_count(threads)
    return threads


def limit_torch(threads: int) -> None:
    """The same for torch, imported or not, which counts cores once more for work between operators."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != threads:
        try:
            torch.set_num_interop_threads(threads)
        except RuntimeError:
            return  # it has used them already; they wait more than they compute


def _container_share(cgroup: Path) -> float | None:
    """Cores that cgroup v2 or v1 grants; None = as many as there are."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (cgroup / "cpu" / name).read_text().strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        except OSError:
            return None
    return int(quota) / int(period) if quota not in ("max", "-1") else None
