"""What docker-compose.yml runs beside Airflow: health checks, the metrics token, buckets; on a server that lies."""

import json
import stat
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from include.deployment import health, metrics_token
from include.deployment.bucket import ensure_bucket
from include.embedding_etl.errors import ConfigError, TransientError

HEALTHY = {"metadatabase": {"status": "healthy"}, "dag_processor": {"status": "healthy"}, "triggerer": {"status": None}}
SECRET = "password-of-this-test"


class Server:
    """Answers every request with `status` and `body`."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Reached although the machine names a proxy, which is for what lies outside."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started = Server()
    monkeypatch.setenv("AIRFLOW_INTERNAL_URL", started.url)
    monkeypatch.setenv("AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT", started.url.rpartition(":")[2])
    yield started
    started.http.shutdown()
    started.http.server_close()


def test_each_check_reads_its_own_component(server: Server) -> None:
    server.body = json.dumps(HEALTHY).encode()
    health.CHECKS["api-server"]()
    health.CHECKS["dag-processor"]()
    with pytest.raises(TransientError, match="triggerer is not known"):
        health.CHECKS["triggerer"]()
    assert set(server.paths) == {"/api/v2/monitor/health"}


def test_the_schedulers_own_server_does_not_name_itself(server: Server) -> None:
    server.body = b'{"status": "healthy"}'
    health.CHECKS["scheduler"]()
    assert server.paths == ["/health"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"scheduler": {"status": "unhealthy"}}'),
        (200, b'{"status": "unhealthy"}'),
        (200, b"[]"),
        (200, b"<html>"),
        (503, b"{}"),
    ],
)
def test_any_other_answer_is_not_healthy(server: Server, status: int, body: bytes) -> None:
    server.status, server.body = status, body
    with pytest.raises(TransientError):
        health.CHECKS["scheduler"]()


def test_nobody_there_is_not_healthy(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(TransientError, match="/api/v2/monitor/health"):
        health.CHECKS["dag-processor"]()


def test_the_token_is_what_airflow_says(server: Server) -> None:
    server.body = b'{"access_token": "abc"}'
    assert metrics_token.fetch_token(server.url, "metrics", SECRET) == "abc"


@pytest.mark.parametrize(("status", "body"), [(401, b"{}"), (200, b"{}"), (200, b"<html>")])
def test_a_refused_password_is_in_no_log(server: Server, status: int, body: bytes) -> None:
    server.status, server.body = status, body
    with pytest.raises(TransientError, match="/auth/token") as caught:
        metrics_token.fetch_token(server.url, "metrics", SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None


def test_prometheus_reads_the_token_whole_and_as_another_user(tmp_path: Path) -> None:
    path = tmp_path / "token"
    metrics_token.write_token(path, "old")
    with path.open(encoding="utf-8") as reader:
        metrics_token.write_token(path, "new")
        assert reader.read() == "old"  # the file was replaced, never half written
    assert path.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_bucket_that_cannot_be_made_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConfigError, match="ETL_S3_ENDPOINT is not set"):
        ensure_bucket("etl-state")
    monkeypatch.setenv("ETL_S3_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.status = 403
    with pytest.raises(TransientError, match="bucket etl-state: ") as caught:
        ensure_bucket("etl-state")
    assert SECRET not in str(caught.value)
