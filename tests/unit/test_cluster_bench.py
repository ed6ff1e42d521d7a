"""The bench of the cluster counts what it says it counts."""

import os
import subprocess
import sys

import psutil
import pytest

from bench.cluster_runs import RunSpan, TaskSpan, stage_spans
from bench.cluster_watch import Watch, cpu_s

TASKS = (
    TaskSpan("scan", "success", 100.0, 101.0, 103.0),
    TaskSpan("text.shard.embed", "success", 104.0, 105.0, 115.0),
    TaskSpan("text.shard.embed", "success", 104.0, 110.0, 125.0, try_number=2),
    TaskSpan("text.shard.sync", "success", 116.0, 117.0, 118.0),
    TaskSpan("approve_deletes", "skipped", 119.0, 119.0, 119.0),
)


def test_a_stage_lasts_from_its_first_tasks_start_to_its_last_tasks_end():
    embed = stage_spans(TASKS, 99.0)["embed"]
    assert (embed.tasks, embed.begin_s, embed.wall_s, embed.work_s) == (2, 6.0, 20.0, 25.0)
    assert embed.at_once == 1.25
    assert embed.wait_s == pytest.approx((1 + 6) / 2)


def test_stages_stand_in_the_order_of_their_beginning_without_those_that_were_skipped():
    assert list(stage_spans(TASKS, 99.0)) == ["scan", "embed", "sync"]


def test_a_run_lasts_from_its_trigger_to_its_end():
    run = RunSpan("success", 99.0, 130.0, TASKS)
    assert run.wall_s == 31.0
    assert run.retried == 1
    assert run.stages["scan"].begin_s == 2.0


def test_memory_and_processor_time_of_children_belong_to_their_component():
    child = "x = bytearray(64 << 20); sum(range(10**7)); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        main = psutil.Process(process.pid)
        with Watch(lambda: {"part": main, "this": psutil.Process(os.getpid())}, every_s=0.05) as watch:
            while watch.peak_bytes.get("part", 0) < 64 << 20 or cpu_s(main) < 0.1:
                assert process.poll() is None
        process.communicate(b"\n", timeout=20)
    assert set(watch.cpu_s) == {"part", "this"}
    assert watch.peak_total_bytes > watch.peak_bytes["part"]
