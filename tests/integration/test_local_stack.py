"""The embedded stack as a whole, on its real servers. Slow, so one story: up, used, killed, up again, down.

The tests of this module run in order on one stack; each leaves it running and healthy, the last one stops it.
"""

import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from include.embedding_etl.errors import ConfigError
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import configure
from include.local_stack.corpus.model import CorpusObject
from include.local_stack.embedded import embedded_stack
from include.local_stack.ports import is_free
from include.local_stack.process import read_run_file
from include.local_stack.run_progress import RunProgress
from include.local_stack.stack import (
    left_running,
    stack_status,
    start_stack,
    stop_stack,
    wait_until_healthy,
)
from include.local_stack.upload import Uploaded, upload_corpus
from tests.fixtures_milvus import plain_client
from tests.fixtures_stack import listening_addresses, stack_environment

pytestmark = pytest.mark.slow
NAMES = ["s3", "milvus", "api-server", "scheduler", "dag-processor", "triggerer"]
LETTER = CorpusObject("letters/à + b.txt", "text/plain", lambda: b"a letter", meta={"author": "Ann"})


@pytest.fixture(scope="module")
def running(stack):
    started = start_stack(embedded_stack(stack), print)
    wait_until_healthy(embedded_stack(stack), print)
    assert started == NAMES
    return stack


@pytest.fixture(scope="module")
def used(running, tmp_path_factory):
    """The stack with something in each store, to find again."""
    letters = tmp_path_factory.mktemp("corpus")
    (letters / "letters").mkdir()
    (letters / LETTER.key).write_bytes(LETTER.write())
    assert upload_corpus(running, letters, [LETTER]) == Uploaded(written=1, unchanged=0)
    milvus = plain_client(running.demo["ETL_MILVUS_URI"])
    milvus.create_collection("kept", dimension=4)
    milvus.insert("kept", [{"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}])
    milvus.close()
    with AirflowClient(running) as airflow:
        airflow.keep_pool("etl_embed", 2, "test")
        airflow.wait_for_dag("tiny", read_run_file(running.paths, "dag-processor").created_s, timeout_s=60)
        airflow.unpause("tiny")
        run_id = airflow.trigger("tiny")
        state = airflow.follow("tiny", run_id, 120, RunProgress(Console()).report)
    assert state == "success"
    return running, letters, run_id


def kill_dash_nine(pids):
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


def assert_data_is_kept(used):
    configuration, letters, run_id = used
    assert upload_corpus(configuration, letters, [LETTER]) == Uploaded(written=0, unchanged=1)
    milvus = plain_client(configuration.demo["ETL_MILVUS_URI"])
    milvus.load_collection("kept")
    assert [row["id"] for row in milvus.query("kept", filter="id >= 0", consistency_level="Strong")] == [1]
    milvus.close()
    with AirflowClient(configuration) as airflow:
        assert airflow.run_state("tiny", run_id) == "success"


def test_every_port_listens_on_the_loopback_address_alone(used):
    configuration = used[0]
    addresses = listening_addresses(set(left_running(embedded_stack(configuration))))
    assert {address.removeprefix("::ffff:") for address, _ in addresses} == {"127.0.0.1"}
    assert {port for _, port in addresses} == {port.number for port in configuration.ports.values()}


def test_status_knows_every_component(used):
    entries = stack_status(embedded_stack(used[0]))
    assert [entry.name for entry in entries] == NAMES
    assert all(entry.healthy and entry.pid and entry.log.exists() for entry in entries)


def test_starting_again_starts_nothing(used):
    before = left_running(embedded_stack(used[0]))
    assert start_stack(embedded_stack(used[0]), print) == []
    assert set(before) <= set(left_running(embedded_stack(used[0])))


def test_another_stack_on_the_same_port_is_refused_before_anything_starts(used, tmp_path):
    taken = used[0].ports["milvus"]
    other = configure({**stack_environment(tmp_path), taken.variable: str(taken.number)})
    with pytest.raises(ConfigError, match=rf"port {taken.number} \(milvus\) is in use by .*{taken.variable}="):
        start_stack(embedded_stack(other), print)
    assert left_running(embedded_stack(other)) == []


def test_a_killed_component_is_started_again_with_all_data(used):
    configuration = used[0]
    before = {name: read_run_file(configuration.paths, name) for name in NAMES}
    kill_dash_nine([before[name].pid for name in ("s3", "milvus", "scheduler")])
    assert sorted(start_stack(embedded_stack(configuration), print)) == ["milvus", "s3", "scheduler"]
    wait_until_healthy(embedded_stack(configuration), print)
    after = {name: read_run_file(configuration.paths, name) for name in NAMES}
    assert [name for name in NAMES if before[name] == after[name]] == ["api-server", "dag-processor", "triggerer"]
    assert_data_is_kept(used)


def test_after_a_power_cut_everything_comes_back_with_all_data(used):
    configuration = used[0]
    kill_dash_nine(left_running(embedded_stack(configuration)))
    assert start_stack(embedded_stack(configuration), print) == NAMES
    wait_until_healthy(embedded_stack(configuration), print)
    assert_data_is_kept(used)


def test_down_leaves_no_process_and_no_port_taken(used):
    configuration = used[0]
    pids = left_running(embedded_stack(configuration))
    begun = time.monotonic()
    assert set(stop_stack(embedded_stack(configuration))) >= set(pids)
    assert time.monotonic() - begun < 120
    assert left_running(embedded_stack(configuration)) == []
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    assert all(
        is_free(port.number) for component in embedded_stack(configuration).components for port in component.ports
    )
    assert all(entry.pid is None and not entry.healthy for entry in stack_status(embedded_stack(configuration)))
    assert not any(list(Path("/tmp").glob(f"seaweedfs-*-{port.number}.sock")) for port in configuration.ports.values())
    assert stop_stack(embedded_stack(configuration)) == []
    assert Path(configuration.paths.env_file).exists()
