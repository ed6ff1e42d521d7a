"""The button of the sync tasks, in a real Airflow: after a run the API names it, and it leads to what was made."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.fixtures_pipeline import Project
from tests.ports import free_port

RunDag = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
BUTTON = "Objects in the index"
pytestmark = pytest.mark.timeout(400)


@contextmanager
def api_server(environment: dict[str, str], home: Path) -> Iterator[httpx.Client]:
    """Airflow's API with our plugin, for somebody who has logged in."""
    port = free_port()
    (home / "passwords.json").write_text(json.dumps({"boss": "a password"}))
    variables = {
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "boss:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
    }
    command = [str(Path(sys.executable).with_name("airflow")), "api-server", "--host", "127.0.0.1", "--workers", "1"]
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port)], env=environment | variables, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                deadline = time.monotonic() + 150
                while True:
                    try:
                        client.get("/api/v2/version").raise_for_status()
                        break
                    except httpx.HTTPError:
                        if process.poll() is not None or time.monotonic() > deadline:
                            pytest.fail((home / "api.log").read_text(errors="replace")[-4000:])
                        time.sleep(0.5)
                token = client.post("/auth/token", json={"username": "boss", "password": "a password"}).json()
                client.headers["authorization"] = f"Bearer {token['access_token']}"
                yield client
        finally:
            process.terminate()
            process.wait(timeout=60)


def run_ids(environment: dict[str, str], dag_id: str) -> list[str]:
    path = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("select run_id from dag_run where dag_id = ? order by id", (dag_id,))
        return [row[0] for row in rows]


def test_a_sync_task_leads_to_what_it_has_made(
    project: Project, run_airflow: RunDag, airflow_environment: dict[str, str], tmp_path: Path
) -> None:
    project.put_many(3)
    dag_id = f"ingest__{project.name}"
    for more in ("", "one more ä&?.txt"):
        if more:
            project.put(more, "another text")
        done = run_airflow("dags", "test", dag_id)
        assert done.returncode == 0, done.stdout[-3000:]
    first, second = run_ids(airflow_environment, dag_id)
    environment = {**os.environ, **airflow_environment, **project.environment}
    with api_server(environment, tmp_path) as client:

        def links(run_id: str, task: str, map_index: int) -> dict[str, str | None]:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task}/links"
            answer = client.get(path, params={"map_index": map_index})
            assert answer.status_code == 200, answer.text
            found: dict[str, str | None] = answer.json()["extra_links"]
            return found

        assert links(first, "text.shard.embed", 0) == {}  # nobody else gets the button
        assert links(first, "scan", -1) == {}
        button = links(first, "text.shard.sync", 0)[BUTTON]
        assert button is not None
        assert urlsplit(button).path == "/embedding-etl/made"
        assert len(button) < 400  # an XCom: no key in it
        many = client.get(button, follow_redirects=True)
        assert many.status_code == 200
        assert urlsplit(str(many.url)).path == "/embedding-etl/objects"
        assert "doc-001.txt" in many.text
        assert "one more" not in many.text
        assert f'href="/dags/{dag_id}/runs/{quote(first, safe="")}"' in many.text
        one = client.get(links(second, "text.shard.sync", 0)[BUTTON] or "", follow_redirects=True)
        assert urlsplit(str(one.url)).path == f"/embedding-etl/objects/{project.name}"
        assert "one more ä&amp;?.txt" in one.text
        assert f'/runs/{quote(second, safe="")}/tasks/group/text.shard"' in one.text
