"""PostgreSQL alone, as the cluster runs it: it comes back at once, whatever a killed server left behind."""

import time

import psutil
import pytest
import sqlalchemy as sa

from include.local_stack.cluster.configuration import CLUSTER_DIR_VARIABLE, CLUSTER_PORTS, configure_cluster
from include.local_stack.cluster.postgresql import make_data_directory, make_databases, postgresql_component
from include.local_stack.process import read_run_file, start, stop
from tests.ports import free_ports

pytestmark = pytest.mark.cluster


@pytest.fixture
def configuration(tmp_path):
    return configure_cluster(
        {CLUSTER_DIR_VARIABLE: str(tmp_path), CLUSTER_PORTS["postgresql"][0]: str(free_ports(1)[0])}
    )


def start_it(configuration):
    component = postgresql_component(configuration)
    make_data_directory(configuration)
    run_file = start(configuration.stack.paths, component)
    deadline = time.monotonic() + 60
    while not component.healthy(run_file):
        assert read_run_file(configuration.stack.paths, "postgresql"), "it ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return run_file


def test_a_killed_server_with_clients_is_started_again_with_its_data(configuration):
    component, paths = postgresql_component(configuration), configuration.stack.paths
    run_file = start_it(configuration)
    try:
        make_databases(configuration)
        make_databases(configuration)  # again changes nothing
        engine = sa.create_engine(configuration.database_url("postgresql+psycopg", "ledger"))
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept (a integer)"))
        open_clients = [engine.connect() for _ in range(4)]
        psutil.Process(run_file.pid).kill()  # its children are left
        while read_run_file(paths, "postgresql"):
            time.sleep(0.01)
        stop(paths, [component])
        start_it(configuration)
        for client in open_clients:
            client.invalidate()
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0
        engine.dispose()
    finally:
        stop(paths, [component])
