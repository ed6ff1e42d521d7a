"""Tasks that share a machine share its cores: every library that counts them for itself is asked what it would use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.threads import machine_cores, task_threads

ASK = """
import json, os, sys
{before}
from include.embedding_etl.places import Places
from include.embedding_etl.threads import limit_threads
told = limit_threads(Places(_env_file=None))
from include.embedding_etl.embed.device import choose_device
choose_device("cpu")
import numpy, pyarrow, torch
from threadpoolctl import threadpool_info
print(json.dumps({{
    "told": told, "torch": torch.get_num_threads(), "between": torch.get_num_interop_threads(),
    "pyarrow": pyarrow.cpu_count(), "blas": max(each["num_threads"] for each in threadpool_info()),
    "rayon": os.environ["RAYON_NUM_THREADS"], "tokenizers": os.environ.get("TOKENIZERS_PARALLELISM"),
    "child": os.popen('echo "$OPENBLAS_NUM_THREADS $MKL_NUM_THREADS"').read().split(),
}}))
"""
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "ETL_TASK_THREADS")


def ask(before: str = "", **variables: str) -> dict[str, object]:
    """What the libraries of a process of its own say."""
    clean = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "TOKENIZERS_PARALLELISM")}
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)],
        env={**clean, **variables},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def everywhere(threads: int) -> dict[str, object]:
    return {
        "told": threads,
        "torch": threads,
        "between": threads,
        "pyarrow": threads,
        "blas": threads,
        "rayon": str(threads),
        "child": [str(threads)] * 2,
        "tokenizers": "false" if threads == 1 else None,
    }


@pytest.mark.parametrize("before", ["", "import numpy, pyarrow; pyarrow.cpu_count()", "import torch"])
def test_every_library_keeps_to_the_tasks_threads(before: str) -> None:
    assert ask(before, ETL_TASK_THREADS="1") == everywhere(1)


ENTRANCES = {
    "a task of Airflow": "from include.embedding_etl.steps.task_context import open_runtime; open_runtime('missing')",
    "a command": "from include.embedding_etl.cli.session import opened; opened('missing').__enter__()",
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_tasks_and_commands_keep_to_their_share_from_the_start(entrance: str, tmp_path: Path) -> None:
    """Also where there is nothing to do: before the pipeline is read, and so before anything imports torch."""
    code = f"""
import atexit, os, sys
atexit.register(lambda: print(os.environ.get("OMP_NUM_THREADS"), "torch" in sys.modules))
{ENTRANCES[entrance]}
"""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "ETL_TASK_THREADS": "3", "ETL_PIPELINES_DIR": str(tmp_path)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing" in done.stderr
    assert done.stdout == "3 False\n"


def test_a_torch_that_has_begun_already_keeps_what_it_has_between_operators() -> None:
    answers = ask("import torch; torch.set_num_interop_threads(5)", ETL_TASK_THREADS="1")
    assert answers == {**everywhere(1), "between": 5}


def test_what_the_operator_has_set_wins() -> None:
    assert ask(ETL_TASK_THREADS="1", OMP_NUM_THREADS="3") == everywhere(3)


def test_the_cores_are_shared_by_the_tasks_of_a_machine() -> None:
    cores = machine_cores()
    assert task_threads(Places(_env_file=None), {}) == cores
    assert task_threads(Places(_env_file=None, tasks_per_machine=2), {}) == max(1, cores // 2)
    assert task_threads(Places(_env_file=None, tasks_per_machine=1_000), {}) == 1
    assert task_threads(Places(_env_file=None, task_threads=7, tasks_per_machine=2), {}) == 7
    assert task_threads(Places(_env_file=None, task_threads=7), {"OMP_NUM_THREADS": "2"}) == 2
    assert task_threads(Places(_env_file=None, task_threads=7), {"OMP_NUM_THREADS": "many"}) == 7


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),  # half a core is still one thread
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "9900000 100000"}, None),  # more than the machine has
        ({}, None),
    ],
)
def test_a_containers_share_counts_and_not_the_machine_around_it(
    tmp_path: Path, files: dict[str, str], cores: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert machine_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))


def test_pinned_to_one_core_a_process_counts_one() -> None:
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert ask(script) == everywhere(1)
