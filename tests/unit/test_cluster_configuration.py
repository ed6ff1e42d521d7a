"""The cluster's configuration: beside the embedded stack, generated secrets in one private file, workers by queue."""

import pytest

from include.embedding_etl.errors import ConfigError
from include.local_stack.cluster.configuration import (
    CLUSTER_DIR_VARIABLE,
    CLUSTER_PORTS,
    MILVUS_PYTHON_VARIABLE,
    WORKERS_VARIABLE,
    configure_cluster,
    read_workers,
)
from include.local_stack.cluster.packages import require_programs
from include.local_stack.env_file import read_env_file
from include.local_stack.ports import EMBEDDED_PORTS


@pytest.fixture
def environment(tmp_path):
    return {CLUSTER_DIR_VARIABLE: str(tmp_path)}


def test_cluster_and_embedded_stack_have_no_port_in_common():
    embedded, cluster = ({default for _, default in ports.values()} for ports in (EMBEDDED_PORTS, CLUSTER_PORTS))
    assert not embedded & cluster
    assert len(cluster) == len(CLUSTER_PORTS)
    assert not {name for name, _ in EMBEDDED_PORTS.values()} & {name for name, _ in CLUSTER_PORTS.values()}


def test_all_secrets_are_in_one_file_that_only_its_owner_reads(environment, tmp_path):
    configuration = configure_cluster(environment)
    file = configuration.stack.paths.env_file
    assert file == tmp_path / "cluster.env"
    assert file.stat().st_mode & 0o777 == 0o600
    written = read_env_file(file)
    assert {**configuration.secrets, **configuration.stack.airflow_keys}.items() <= written.items()
    assert len(set(configuration.secrets.values())) == len(configuration.secrets)


def test_secrets_are_kept(environment):
    first, second = configure_cluster(environment), configure_cluster(environment)
    assert first == second


def test_ledger_and_airflow_have_databases_of_their_own(environment):
    configuration = configure_cluster(environment)
    ledger = configuration.stack.demo["ETL_LEDGER_URL"]
    airflow = configuration.stack.airflow_settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert ledger.startswith("postgresql+psycopg://ledger:")
    assert ledger.endswith("/ledger")
    assert airflow.startswith("postgresql+psycopg://airflow:")
    assert airflow.endswith("/airflow")
    assert configuration.stack.demo["ETL_STATE_URI"].startswith("s3://")


def test_workers_are_chosen_by_queue(environment):
    assert configure_cluster(environment).workers == {"cpu": 1, "gpu": 1}
    chosen = configure_cluster({**environment, WORKERS_VARIABLE: "cpu=2 gpu=3"})
    assert chosen.workers == {"cpu": 2, "gpu": 3}
    assert chosen.tasks_at_once == 2 * 2 + 3


@pytest.mark.parametrize("text", ["cpu", "cpu=0", "cpu=1,gpu=1", "cpu=1 gpu", "CPU=1", "gpu=1"])
def test_workers_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError, match=f"{WORKERS_VARIABLE}='{text}'"):
        read_workers(text)


def test_what_is_not_installed_is_named_with_its_package(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    configuration = configure_cluster({**environment, MILVUS_PYTHON_VARIABLE: str(tmp_path / "none" / "python")})
    with pytest.raises(ConfigError) as refused:
        require_programs(configuration)
    for expected in ("Debian's package redis-server", str(tmp_path / "none" / "python"), "tests/milvus-server.txt"):
        assert expected in str(refused.value)
