"""kill -9 of every part in the middle of a run: it converges; storage, ledger and Milvus agree; nothing twice."""

import time
import zlib

import pytest

from tests.cluster.conftest import PIPELINE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
DAG_ID = f"ingest__{PIPELINE}"
OBJECTS = 20


@pytest.fixture(scope="module", autouse=True)
def ready(cluster, airflow):
    cluster.bucket.create()
    airflow.wait_for_dag(DAG_ID, 0, 120)
    airflow.unpause(DAG_ID)


@pytest.fixture
def put(cluster, request):
    """New objects, and new versions of those of the tests before. All are short: one row each."""
    name = request.node.name
    number = zlib.crc32(name.encode())
    for letter in range(OBJECTS):
        cluster.bucket.put_object(Key=f"{name}/{letter:02d}.txt", Body=f"letter {letter} of {number}".encode())
    for item in list(cluster.bucket.objects.filter(Prefix="changing/")):
        cluster.bucket.put_object(Key=item.key, Body=f"{item.key[-9:]} in {number}".encode())
    cluster.bucket.put_object(Key=f"changing/{name}.txt", Body=f"first in {number}".encode())


def wait_until(what, condition, timeout_s=180.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def run_into_embed(cluster, airflow):
    """A run that is in the middle of its embedding tasks, and stays there."""
    cluster.endpoint.close_gate()
    run_id = airflow.trigger(DAG_ID)
    assert cluster.endpoint.arrived.wait(timeout=240)
    return run_id


def state_of(airflow, run_id, task_id):
    return {task.state for task in airflow.task_states(DAG_ID, run_id) if task.task_id == task_id}


def assert_converges(cluster, airflow, run_id, killed_s, tell, what):
    """By Airflow's own retries, or by another run."""
    states = [cluster.follow(airflow, run_id)]
    while states[-1] != "success" and len(states) < 3:
        states.append(cluster.follow(airflow, airflow.trigger(DAG_ID)))
    assert states[-1] == "success", states
    tell(f"{what}: converged {time.monotonic() - killed_s:.0f} s after the kill, in {len(states)} run(s)")
    assert cluster.rows() == cluster.objects()
    audited = cluster.audit()
    assert audited.clean, audited.findings
    assert audited.compared["objects"] == len(cluster.objects())


def test_a_worker_killed_in_the_middle_of_embed(cluster, airflow, put, tell):
    run_id = run_into_embed(cluster, airflow)
    killed_s = time.monotonic()
    cluster.kill("worker-cpu")
    cluster.endpoint.gate.set()
    cluster.heal()
    assert_converges(cluster, airflow, run_id, killed_s, tell, "worker killed in embed")


def test_a_worker_killed_in_the_middle_of_sync(cluster, airflow, put, tell):
    run_id = run_into_embed(cluster, airflow)
    milvus = cluster.main_process("milvus")
    milvus.suspend()  # so that sync cannot be done before it is killed
    try:
        cluster.endpoint.gate.set()
        wait_until("sync", lambda: "running" in state_of(airflow, run_id, "text.shard.sync"))
        time.sleep(5)
        killed_s = time.monotonic()
        cluster.kill("worker-cpu")
    finally:
        milvus.resume()
    cluster.heal()
    assert_converges(cluster, airflow, run_id, killed_s, tell, "worker killed in sync")


@pytest.mark.parametrize("component", ["postgresql", "redis", "scheduler"])
def test_a_part_killed_and_started_again_during_embed(component, cluster, airflow, put, tell):
    run_id = run_into_embed(cluster, airflow)
    killed_s = time.monotonic()
    cluster.kill(component)
    time.sleep(3)
    cluster.heal()
    cluster.endpoint.gate.set()
    assert_converges(cluster, airflow, run_id, killed_s, tell, f"{component} killed")


def test_milvus_killed_while_rows_are_written(cluster, airflow, put, tell):
    run_id = run_into_embed(cluster, airflow)
    killed_s = time.monotonic()
    cluster.kill("milvus")
    cluster.endpoint.gate.set()
    wait_until("sync", lambda: "running" in state_of(airflow, run_id, "text.shard.sync"))
    cluster.heal()
    assert_converges(cluster, airflow, run_id, killed_s, tell, "milvus killed")


def test_whatever_was_killed_had_to_be_started_again(cluster):
    assert {"worker-cpu", "postgresql", "redis", "scheduler", "milvus"} <= set(cluster.started)
