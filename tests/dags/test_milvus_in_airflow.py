"""The Milvus provider as Airflow finds it: its lists, its form, its Test button, its operators in a run."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from include.local_stack.airflow import airflow_environment as stack_environment
from include.local_stack.configuration import StackConfiguration
from include.milvus_provider.connection import read_connection
from tests.dags.conftest import PATIENCE_S
from tests.fixtures_milvus import plain_client
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "tests" / "example_dags"
ASK_THE_API = """
import json, sys
from fastapi.testclient import TestClient
from airflow.api_fastapi.app import create_app
with TestClient(create_app()) as client:
    token = client.get("/auth/token").json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    meta = client.get("/ui/connections/hook_meta").json()
    answers = {}
    for name, fields in json.loads(sys.argv[1]).items():
        body = {"connection_id": "a_new_one", "conn_type": "milvus", **fields}
        answers[name] = client.post("/api/v2/connections/test", json=body).json()
print("RESULT" + json.dumps({"meta": [each for each in meta if each["connection_type"] == "milvus"], **answers}))
"""


@pytest.fixture(scope="session")
def installed(airflow_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the project is installed as its pyproject.toml says, entry points included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in named.items())
            for group, named in project["entry-points"].items()
        )
    )
    return {
        **airflow_environment,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(EXAMPLES / "none"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }


def airflow(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def api(installed: dict[str, str], milvus_lite_uri: str) -> dict[str, Any]:
    """What the API says of the form, and of connections to this and that."""
    host, port = milvus_lite_uri.removeprefix("http://").split(":")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = {
            "uri": {"host": milvus_lite_uri, "login": "root", "password": "Milvus"},
            "host and port": {"host": host, "port": int(port), "extra": json.dumps({"secure": False, "token": "t"})},
            "missing database": {"host": milvus_lite_uri, "schema": "nope"},
            "nothing": {"host": f"http://127.0.0.1:{free_port()}"},
            "not milvus": {"host": "127.0.0.1", "port": server.server_port},
            "no host": {"port": 19530},
            "tls": {"host": milvus_lite_uri, "extra": json.dumps({"secure": True})},
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK_THE_API, json.dumps(asked)],
            env=installed,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        server.shutdown()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return answers


def test_airflow_lists_the_provider_and_its_connection_type(installed: dict[str, str]) -> None:
    providers = json.loads(airflow(installed, "providers", "list", "--output", "json"))
    assert [each["description"] for each in providers if each["package_name"] == "embedding-etl"]
    hooks = json.loads(airflow(installed, "providers", "hooks", "--output", "json"))
    (milvus,) = [each for each in hooks if each["connection_type"] == "milvus"]
    assert milvus["class"] == "include.milvus_provider.hooks.milvus.MilvusHook"
    assert milvus["conn_id_attribute_name"] == "conn_id"
    assert milvus["hook_name"] == "Milvus"


def test_the_form_has_the_fields_and_says_what_belongs_there(api: dict[str, Any]) -> None:
    (form,) = api["meta"]
    standard = form["standard_fields"]
    assert standard["host"] == {"hidden": False, "title": "URI or host", "placeholder": "http://milvus:19530"}
    assert standard["url_schema"]["title"] == "Database"
    assert standard["login"]["title"] == "User"
    extra = form["extra_fields"]
    assert {name: field["schema"]["title"] for name, field in extra.items()} == {
        "token": "Token",
        "secure": "TLS",
        "ca_pem_path": "CA certificate",
        "client_pem_path": "Client certificate",
        "client_key_path": "Client key",
        "server_name": "Server name",
    }
    assert extra["token"]["schema"]["format"] == "password"
    assert all(field["description"] for field in extra.values())


@pytest.mark.parametrize("name", ["uri", "host and port"])
def test_the_test_button_connects(api: dict[str, Any], name: str) -> None:
    assert api[name]["status"] is True
    assert "Connected to Milvus" in api[name]["message"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing database", "has no database 'nope'"),
        ("nothing", "Nothing listens on 127.0.0.1:"),
        ("not milvus", "does not answer like Milvus"),
        ("no host", "host is empty; write the URI"),
        ("tls", "TLS is on, but the URI begins with http://"),
    ],
)
def test_the_test_button_says_what_is_wrong(api: dict[str, Any], name: str, message: str) -> None:
    assert api[name]["status"] is False
    assert message in api[name]["message"]


def test_the_demo_has_the_test_button_on(stack: StackConfiguration) -> None:
    environment = stack_environment(stack)
    assert environment["AIRFLOW__CORE__TEST_CONNECTION"] == "Enabled"
    connection = Connection.from_json(environment["AIRFLOW_CONN_ETL_MILVUS"], conn_id="etl_milvus")
    assert connection.conn_type == "milvus"
    assert read_connection(connection).uri == stack.demo["ETL_MILVUS_URI"]


def test_the_example_runs(installed: dict[str, str], milvus_lite_uri: str) -> None:
    variables = {"AIRFLOW_CONN_MILVUS_DEFAULT": json.dumps({"conn_type": "milvus", "host": milvus_lite_uri})}
    airflow({**installed, **variables}, "dags", "test", "example_milvus", "--conf", '{"version": 7}')
    client = plain_client(milvus_lite_uri)
    try:
        assert client.describe_alias("articles")["collection_name"] == "articles_7"
        found = client.query("articles", filter="", output_fields=["count(*)"], consistency_level="Strong")
        assert found[0]["count(*)"] == 2
    finally:
        client.close()


def test_parsing_the_example_does_not_import_pymilvus(installed: dict[str, str]) -> None:
    code = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; bag = DagBag(sys.argv[1]);"
        "assert not bag.import_errors, bag.import_errors; assert list(bag.dags) == ['example_milvus'];"
        "assert 'pymilvus' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLES)], env=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_example_in_the_document_is_the_one_that_runs() -> None:
    document = (ROOT / "docs" / "milvus-provider.md").read_text()
    source = (EXAMPLES / "example_milvus.py").read_text()
    (example,) = re.findall(r"# \[START howto_milvus\]\n(.*)# \[END howto_milvus\]", source, re.DOTALL)
    assert f"```python\n{example}```" in document
