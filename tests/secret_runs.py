"""Runs of the demo's stack that fail over secrets: the places that refuse them quote what they have been sent."""

import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import BUCKET, StackConfiguration

ENDPOINT_KEY_VARIABLE = "TEST_OF_SECRETS_ENDPOINT_KEY"
FAILING = ("refused_key", "wrong_signature")
PAGES = ("overview", "collections", "failures", "objects", "metrics")
DOWNLOADED = "texts/money/mortgage.txt"


@dataclass
class SecretRuns:
    """What the runs must keep to themselves."""

    endpoint_url: str
    endpoint_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    milvus_password: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    wrong_s3_secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    ledger_password: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    link_signature: str = ""

    def all(self, configuration: StackConfiguration) -> dict[str, str]:
        """By name: those of the runs and those of the stack."""
        return {
            **{name: value for name, value in vars(self).items() if name != "endpoint_url"},
            **configuration.airflow_keys,
            "AWS_SECRET_ACCESS_KEY": configuration.demo["AWS_SECRET_ACCESS_KEY"],
            "ETL_AIRFLOW_PASSWORD": configuration.demo["ETL_AIRFLOW_PASSWORD"],
        }

    @classmethod
    @contextmanager
    def endpoint(cls) -> Iterator["SecretRuns"]:
        """With an embedding endpoint that refuses every key, and tells the world which."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield cls(f"http://127.0.0.1:{server.server_address[1]}/v1")
        finally:
            server.shutdown()
            server.server_close()


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        authorization = self.headers["Authorization"]
        key = authorization.removeprefix("Bearer ")
        message = f"Incorrect API key provided: {key}. You sent Authorization: {authorization}"
        body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}})
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Nobody reads it."""


def write_failing_pipelines(directory: Path, runs: SecretRuns) -> None:
    """One whose endpoint refuses its key, and one whose bucket refuses its signature."""
    model = {
        "kind": "openai",
        "id": "any",
        "weights": "remote",
        "base_url": runs.endpoint_url,
        "api_key_env": ENDPOINT_KEY_VARIABLE,
        "dimension": 16,
        "max_tokens": 64,
    }
    lanes = {"text": {"accepts": ["text/plain"], "model": model, "index": {"type": "FLAT", "params": {}}}}
    pools = {"embed": "etl_embed", "sync": "etl_sync"}
    for name, s3, include in zip(FAILING, ("etl_s3", "wrong_s3"), ("texts/money/*", "**"), strict=True):
        source = {"uri": f"s3://{BUCKET}/", "connection_id": s3, "include": [include]}
        document = {"name": name, "source": source, "lanes": lanes, "pools": pools}
        document["milvus"] = {"connection_id": "milvus_with_token"}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(document))


def fail_runs(configuration: StackConfiguration, runs: SecretRuns) -> str:
    """Let everything fail that is made to fail.

    Returns:
        What users were shown: pages, answers of the API, outputs of the command line.
    """
    told: list[str] = []
    demo = configuration.demo
    with AirflowClient(configuration) as airflow:
        for connection in _connections(demo, runs):
            airflow._call("POST", "/api/v2/connections", json=connection)
        started = {}
        for name in FAILING:
            airflow.wait_for_dag(f"ingest__{name}", 0, 120)
            airflow.unpause(f"ingest__{name}")
            started[name] = airflow.trigger(f"ingest__{name}")
        for name, run_id in started.items():
            assert airflow.follow(f"ingest__{name}", run_id, 400, lambda _: None) == "failed"
        for connection_id in ("wrong_s3", "milvus_with_token"):
            told.append(airflow._http.get(f"/api/v2/connections/{connection_id}").text)
        for page in PAGES:
            shown = airflow._http.get(f"/embedding-etl/{page}")
            assert shown.status_code == 200, (page, shown.text[:500])
            told.append(shown.text)
        assert all(name in told[-len(PAGES)] for name in FAILING)
        runs.link_signature = _download(airflow)
    told.append(_unreachable_ledger(configuration, runs))
    return "\n".join(told)


def _connections(demo: Any, runs: SecretRuns) -> list[dict[str, Any]]:
    extra = json.dumps({"endpoint_url": demo["ETL_S3_ENDPOINT"], "region_name": "us-east-1"})
    port = int(demo["ETL_MILVUS_URI"].rpartition(":")[2])
    wrong = {"login": demo["AWS_ACCESS_KEY_ID"], "password": runs.wrong_s3_secret, "extra": extra}
    token = {"host": "127.0.0.1", "port": port, "login": "etl", "password": runs.milvus_password}
    return [
        {"connection_id": "wrong_s3", "conn_type": "aws", **wrong},
        {"connection_id": "milvus_with_token", "conn_type": "milvus", **token},
    ]


def _download(airflow: AirflowClient) -> str:
    """Ask for a link as the Objects page does; the signature that is in it."""
    found = re.search(r'"X-CSRF-Token": "(\w+)"', airflow._http.get("/embedding-etl/objects").text)
    assert found
    answer = airflow._http.post(
        "/embedding-etl/objects/demo/download", params={"key": DOWNLOADED}, headers={"X-CSRF-Token": found[1]}
    )
    signature = re.search(r"X-Amz-Signature=([0-9a-f]{64})", answer.text)
    assert signature, answer.text[:500]
    return signature[1]


def _unreachable_ledger(configuration: StackConfiguration, runs: SecretRuns) -> str:
    url = f"postgresql+psycopg://ledger:{runs.ledger_password}@127.0.0.1:1/ledger"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("etl")), "run", "demo"],
        env={**os.environ, **configuration.demo, "ETL_LEDGER_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr
