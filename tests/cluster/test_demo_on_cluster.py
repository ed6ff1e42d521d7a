"""The demo on the whole cluster: green, the same rows as on one machine, nothing open, no secret in sight."""

import io
import sys
import time

import psutil
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from rich.console import Console

from include.embedding_etl.converge import converge
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.runtime import Runtime
from include.local_stack.cluster.configuration import MILVUS_PORTS
from include.local_stack.demo import open_runtime, places_of, run_demo
from include.local_stack.ports import HOST
from include.local_stack.process import marked_processes
from include.local_stack.stack import left_running, start_stack
from tests.fixtures_milvus import MilvusLiteServer, plain_client
from tests.fixtures_stack import listening_addresses

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
FIELDS = ["object_key", "object_version", "content_hash", "media_type", "ordinal", "start", "end", "text", "meta"]


def demo(cluster):
    """Whether it was green, and what it printed."""
    printed = io.StringIO()
    green = run_demo(cluster.stack, Console(file=printed, width=160))
    sys.stdout.write(printed.getvalue())  # pytest shows it when something fails
    return green, printed.getvalue()


@pytest.fixture(scope="module")
def first(cluster, tell):
    begun = time.monotonic()
    result = demo(cluster)
    tell(f"the first demo on it: {time.monotonic() - begun:.0f} s")
    return result


def all_rows(runtime):
    """{lane: {id: the row without its vector}}."""
    return {
        lane: {
            str(row["id"]): {name: row[name] for name in FIELDS}
            for page in runtime.store.iterate(runtime.store.alias_target(runtime.pipeline.alias(lane)), FIELDS)
            for row in page
        }
        for lane in runtime.pipeline.lanes
    }


def test_the_first_demo_is_green(first):
    green, printed = first
    assert green
    assert "Green: the run succeeded" in printed


def test_the_rows_are_those_that_one_machine_makes(cluster, first, tmp_path):
    assert first[0]
    server = MilvusLiteServer(tmp_path / "milvus")
    server.start()
    places = places_of(cluster.configuration.stack).model_copy(
        update={
            "ledger_url": SecretStr(f"sqlite:///{tmp_path / 'ledger.db'}"),
            "state_uri": str(tmp_path / "state"),
            "milvus_uri": server.uri,
            "milvus_token": SecretStr(""),
        }
    )
    try:
        with Runtime(find_pipeline(cluster.pipelines, "demo"), places, one_process=True) as embedded:
            report = converge(embedded, "embedded")
            assert report.green, report.problems
            expected = all_rows(embedded)
        with open_runtime(cluster.configuration.stack) as runtime:
            assert all_rows(runtime) == expected
        assert all(expected.values())
    finally:
        server.kill()


def test_a_second_demo_starts_nothing_and_calls_no_model(cluster, first):
    green, printed = demo(cluster)
    assert green
    assert "everything is running already" in printed
    assert "0 model calls: nothing had changed" in printed


def test_starting_again_starts_nothing(cluster):
    before = left_running(cluster.stack)
    assert start_stack(cluster.stack, print) == []
    assert set(before) & set(left_running(cluster.stack))


def test_only_milvus_listens_beyond_the_loopback_address(cluster):
    open_ports = {cluster.configuration.stack.ports[name].number for name in MILVUS_PORTS}
    addresses = listening_addresses({process.pid for process in everything(cluster)})
    assert addresses
    beyond = {port for address, port in addresses if address.removeprefix("::ffff:") not in ("127.0.0.1", "::1")}
    assert beyond <= open_ports
    assert {port.number for port in cluster.configuration.stack.ports.values()} - open_ports <= {
        port for _, port in addresses
    }


def test_no_secret_stands_on_a_command_line(cluster, first):
    lines = [line for process in everything(cluster) if (line := command_line(process))]
    assert len(lines) > 10
    found = {name for name, secret in secrets_of(cluster).items() for line in lines if secret in line}
    assert not found


def test_no_secret_stands_in_a_log(cluster, first):
    secrets = secrets_of(cluster)
    found = {
        (name, str(log.relative_to(cluster.stack.paths.logs)))
        for log in cluster.stack.paths.logs.rglob("*")
        if log.is_file()
        for name, secret in secrets.items()
        if secret.encode() in log.read_bytes()
    }
    assert not found


def test_a_role_gets_into_its_own_database_only(cluster):
    url = sa.make_url(cluster.configuration.database_url("postgresql+psycopg", "ledger"))
    assert answers(url)
    assert not answers(url.set(database="airflow"))
    assert not answers(url.set(password="wrong"))


def test_redis_refuses_whoever_has_no_password(cluster):
    import redis

    port = cluster.configuration.stack.ports["redis"].number
    with redis.Redis(HOST, port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_milvus_knows_no_default_password_and_the_pipeline_makes_no_users(cluster):
    import grpc
    from pymilvus import MilvusException

    demo = cluster.configuration.stack.demo
    with pytest.raises(MilvusException):
        plain_client(demo["ETL_MILVUS_URI"], "root:Milvus").list_collections()
    client = plain_client(demo["ETL_MILVUS_URI"], demo["ETL_MILVUS_TOKEN"])
    with pytest.raises((MilvusException, grpc.RpcError), match=r"(?i)permission"):
        client.create_user("somebody", "a-password")
    client.close()


def command_line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a task that ended meanwhile
        return ""


def answers(url):
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    except sa.exc.OperationalError:
        return False


def secrets_of(cluster):
    configuration = cluster.configuration
    demo = configuration.stack.demo
    named = {name: demo[name] for name in ("AWS_SECRET_ACCESS_KEY", "ETL_AIRFLOW_PASSWORD")}
    return {**named, **configuration.secrets, **configuration.stack.airflow_keys}


def everything(cluster):
    """Every process of the cluster, those too that have overwritten their environment."""
    mains = [cluster.main_process(component.name) for component in cluster.stack.components]
    found = {process.pid: process for main in mains for process in (main, *main.children(recursive=True))}
    found |= {process.pid: process for process in marked_processes(cluster.stack.paths)}
    return list(found.values())
