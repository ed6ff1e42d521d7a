"""Every way to a store over TLS with an authority of one's own, on real servers behind real TLS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.event_queue import EventQueue
from include.embedding_etl.places import Places
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.state import StateStore
from include.embedding_etl.steps.connections import s3_credentials_of
from include.embedding_etl.storage.select import open_source
from tests.certificates import Certificates, make_certificates
from tests.fixtures_pipeline import Project
from tests.fixtures_storage import S3Server
from tests.tls_proxy import tls_proxy


@dataclass(frozen=True)
class Secured:
    """A store behind TLS, who signed its certificate, and who did not."""

    server: S3Server
    ours: Certificates
    stranger: Certificates

    def credentials(self, ca_file: Path | None) -> S3Credentials:
        return replace(self.server.credentials(), ca_file=str(ca_file) if ca_file else None)


@pytest.fixture(scope="module")
def secured(moto_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    ours = make_certificates(tmp_path_factory.mktemp("ours"), ["127.0.0.1"])
    stranger = make_certificates(tmp_path_factory.mktemp("stranger"), ["127.0.0.1"])
    with tls_proxy(int(urlsplit(moto_server.endpoint).port or 0), ours) as port:
        yield Secured(replace(moto_server, endpoint=f"https://127.0.0.1:{port}"), ours, stranger)


def ask_source(bucket: str, credentials: S3Credentials) -> list[str]:
    source = open_source(SourceSettings(uri=f"s3://{bucket}/"), Places(_env_file=None), credentials)
    return [item.key for item in source.list()]


def ask_state(bucket: str, credentials: S3Credentials) -> bool:
    return StateStore(f"s3://{bucket}/state", Places(_env_file=None), credentials).exists("runs/a")


def ask_queue(server: S3Server, credentials: S3Credentials) -> int:
    queue = EventQueue(f"{server.endpoint}/123456789012/a-queue-over-tls", credentials, 30)
    try:
        return len(queue.receive(0))
    finally:
        queue.close()


@pytest.fixture
def bucket(moto_server: S3Server) -> str:
    moto_server.session().client("sqs", endpoint_url=moto_server.endpoint).create_queue(QueueName="a-queue-over-tls")
    name = moto_server.make_bucket()
    moto_server.client().put_object(Bucket=name, Key="docs/a.txt", Body=b"about topic 7")
    return name


@pytest.mark.parametrize("named_by", ["connection", "AWS_CA_BUNDLE"])
def test_source_state_and_queue_trust_the_authority_that_is_named(
    secured: Secured, bucket: str, named_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named_by == "AWS_CA_BUNDLE":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(secured.ours.ca))
    credentials = secured.credentials(secured.ours.ca if named_by == "connection" else None)
    assert ask_source(bucket, credentials) == ["docs/a.txt"]
    assert not ask_state(bucket, credentials)
    assert ask_queue(secured.server, credentials) == 0


@pytest.mark.parametrize("trusted", ["nobody", "a stranger", "a file that is not there"])
def test_source_state_and_queue_refuse_everybody_else(
    secured: Secured, bucket: str, trusted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(secured.ours.ca))  # the connection's word counts, where it has one
    files = {"a stranger": secured.stranger.ca, "a file that is not there": tmp_path / "none.pem"}
    if trusted == "nobody":
        monkeypatch.delenv("AWS_CA_BUNDLE")
    credentials = secured.credentials(files.get(trusted))
    for ask in (ask_source, ask_state):
        with pytest.raises(ConfigError, match="certificate"):
            ask(bucket, credentials)
    with pytest.raises(ConfigError, match="certificate"):
        ask_queue(secured.server, credentials)


def connection(**extra: Any) -> Any:
    return SimpleNamespace(conn_id="a-bucket", login="key", password="secret", extra_dejson=extra)


def test_a_connection_names_its_authority_and_cannot_switch_the_check_off() -> None:
    assert s3_credentials_of(connection(verify="/etc/ca.pem")).trusted == "/etc/ca.pem"
    assert s3_credentials_of(connection()).trusted is None
    with pytest.raises(ConfigError, match=r"a-bucket: certificates are always checked.*verify"):
        s3_credentials_of(connection(verify=False))


def run(project: Project, secured: Secured, bucket: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`etl run` with source and state in the bucket."""
    clean = {name: value for name, value in os.environ.items() if name not in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    places = {
        "ETL_STATE_URI": f"s3://{bucket}/state",
        "ETL_S3_ENDPOINT": secured.server.endpoint,
        "AWS_ACCESS_KEY_ID": secured.server.access_key,
        "AWS_SECRET_ACCESS_KEY": secured.server.secret_key,
    }
    return subprocess.run(
        [str(Path(sys.executable).with_name("etl")), "run", project.name, "--json"],
        env={**clean, **project.environment, **places, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_whole_run_over_tls(project: Project, secured: Secured, bucket: str) -> None:
    plain = urlsplit(project.endpoint.url)
    with tls_proxy(int(plain.port or 0), secured.ours) as port:
        lane = {
            "accepts": ["text/*"],
            "model": {
                "kind": "openai",
                "id": "word-hash",
                "weights": "remote",
                "base_url": f"https://127.0.0.1:{port}{plain.path}",
                "dimension": 16,
                "max_tokens": 64,
            },
            "index": {"type": "FLAT", "params": {}},
        }
        project.configure(source={"uri": f"s3://{bucket}/docs/"}, lanes={"text": lane})
        ca, stranger = str(secured.ours.ca), str(secured.stranger.ca)
        done = run(project, secured, bucket, AWS_CA_BUNDLE=ca, SSL_CERT_FILE=ca)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["green"]
        assert len(project.endpoint.texts) == 1
        refused = run(project, secured, bucket, AWS_CA_BUNDLE=stranger, SSL_CERT_FILE=ca)
        assert refused.returncode != 0
        assert "certificate is not trusted" in refused.stdout + refused.stderr
