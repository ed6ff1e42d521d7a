"""The scripts that docker-compose.yml starts its stores with, run on the real servers without containers."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from include.deployment.bucket import ensure_bucket
from include.deployment.health import check_worker
from include.embedding_etl.errors import TransientError
from tests.fixtures_postgresql import PostgresqlServer
from tests.ports import free_port, free_ports

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {name: f"{name.lower()}-of-this-test" for name in ("S3_SECRET_KEY", "MILVUS_S3_SECRET_KEY", "REDIS_PASSWORD")}
KEYS = {"S3_ACCESS_KEY": "AKPIPELINES", "MILVUS_S3_ACCESS_KEY": "AKMILVUS"}
WEED_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
WEED_PORTS += ("filer.port", "filer.port.grpc")


@contextmanager
def started(script: str, *arguments: str, **environment: str) -> Iterator[psutil.Process]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    process = subprocess.Popen(
        ["sh", str(ROOT / "deploy" / script), *arguments],
        env={"PATH": path, **SECRETS, **KEYS, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.3)
    pytest.fail(f"{url} does not answer")


def client(endpoint: str, access_key: str, secret_key: str):  # type: ignore[no-untyped-def]
    once = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access_key,
        aws_secret_access_key=secret_key, config=once,
    )  # fmt: skip


def test_s3_knows_two_users_and_keeps_milvus_out_of_the_pipelines_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = dict(zip(WEED_PORTS, free_ports(len(WEED_PORTS)), strict=True))
    options = [f"-{name}={number}" for name, number in ports.items()]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    (tmp_path / "data").mkdir()
    places = {"SEAWEED_KEYS": str(tmp_path / "s3.json"), "SEAWEED_DIRECTORY": str(tmp_path / "data")}
    with started("seaweedfs/start.sh", *options, "-s3.ip.bind=127.0.0.1", HOME=str(tmp_path), **places) as process:
        wait_for(f"{endpoint}/healthz")
        for name, value in {
            "ETL_S3_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": "AKPIPELINES",
            "AWS_SECRET_ACCESS_KEY": SECRETS["S3_SECRET_KEY"],
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for _ in range(2):  # again: it is there
            ensure_bucket("etl-state")
            ensure_bucket("milvus")
        pipelines = client(endpoint, "AKPIPELINES", SECRETS["S3_SECRET_KEY"])
        milvus = client(endpoint, "AKMILVUS", SECRETS["MILVUS_S3_SECRET_KEY"])
        pipelines.put_object(Bucket="etl-state", Key="a", Body=b"1")
        milvus.put_object(Bucket="milvus", Key="b", Body=b"2")
        milvus.head_bucket(Bucket="milvus")
        assert milvus.list_objects_v2(Bucket="milvus")["Contents"][0]["Key"] == "b"
        milvus.delete_object(Bucket="milvus", Key="b")
        refused = [
            lambda: milvus.get_object(Bucket="etl-state", Key="a"),
            lambda: milvus.put_object(Bucket="etl-state", Key="c", Body=b"3"),
            lambda: client(endpoint, "AKPIPELINES", "another").list_objects_v2(Bucket="etl-state"),
        ]
        for call in refused:
            with pytest.raises(ClientError, match=r"AccessDenied|SignatureDoesNotMatch|403"):
                call()
        assert not [word for word in process.cmdline() if any(secret in word for secret in SECRETS.values())]
        assert (tmp_path / "s3.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.cluster
def test_redis_asks_for_the_password_and_shows_it_to_nobody(tmp_path: Path) -> None:
    import redis

    port = free_port()
    configuration = {"REDIS_CONFIGURATION": str(tmp_path / "redis.conf"), "REDIS_DIRECTORY": str(tmp_path)}
    with started("redis/start.sh", "--port", str(port), "--bind", "127.0.0.1", **configuration) as process:
        server = redis.Redis(port=port, password=SECRETS["REDIS_PASSWORD"])
        deadline = time.monotonic() + 30
        while True:
            try:
                server.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        assert server.config_get("appendonly")["appendonly"] == "yes"
        assert server.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert SECRETS["REDIS_PASSWORD"] not in " ".join(process.cmdline())
        assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.cluster
def test_a_worker_is_healthy_while_it_answers_through_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    url = f"redis://:{SECRETS['REDIS_PASSWORD']}@127.0.0.1:{port}/0"
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", url)
    monkeypatch.setattr("include.deployment.health._TIMEOUT_S", 2)
    configuration = {"REDIS_CONFIGURATION": str(tmp_path / "redis.conf"), "REDIS_DIRECTORY": str(tmp_path)}
    with started("redis/start.sh", "--port", str(port), "--bind", "127.0.0.1", **configuration):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with pytest.raises(TransientError, match="does not answer"):
            check_worker()
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--broker", url, "worker", "--pool", "solo", "--loglevel", "ERROR",
             "--hostname", f"celery@{socket.gethostname()}"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while True:
                try:
                    check_worker()
                    break
                except TransientError:
                    assert time.monotonic() < deadline
        finally:
            worker.terminate()
            worker.wait()


@pytest.mark.cluster
def test_postgresql_gets_two_databases_whose_owners_cannot_enter_the_others(
    postgresql_server: PostgresqlServer,
) -> None:
    import psycopg

    where = {"PGHOST": "127.0.0.1", "PGPORT": str(postgresql_server.port)}
    passwords = {"airflow": "of-airflow", "ledger": "of-ledger"}
    with postgresql_server.admin() as admin:  # the ledger's tests have one of that name
        admin.execute("ALTER DATABASE ledger RENAME TO another_ledger")
    try:
        subprocess.run(
            ["sh", str(ROOT / "deploy" / "postgres" / "init.sh")],
            env={
                **where, "PATH": os.defpath, "POSTGRES_USER": "postgres",
                "PGPASSWORD": postgresql_server.admin_password, "AIRFLOW_DB_PASSWORD": "of-airflow",
                "LEDGER_DB_PASSWORD": "of-ledger",
            },
            check=True,
        )  # fmt: skip
        for role, password in passwords.items():
            url = f"postgresql://{role}:{password}@127.0.0.1:{postgresql_server.port}"
            with psycopg.connect(f"{url}/{role}") as connection:
                connection.execute("CREATE TABLE mine (id int)")
            for other in set(passwords) - {role}:
                with pytest.raises(psycopg.OperationalError, match="permission denied"):
                    psycopg.connect(f"{url}/{other}").close()
    finally:
        with postgresql_server.admin() as admin:
            for name in passwords:
                admin.execute(f"DROP DATABASE IF EXISTS {name}")  # type: ignore[arg-type]
                admin.execute(f"DROP ROLE IF EXISTS {name}")  # type: ignore[arg-type]
            admin.execute("ALTER DATABASE another_ledger RENAME TO ledger")
