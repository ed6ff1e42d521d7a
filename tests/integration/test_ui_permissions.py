"""Every route of the pages, in a running Airflow api-server: as nobody, as a viewer, as an admin.

Under the simple auth manager of the embedded stack, and under FAB, which docker-compose.yml configures.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount, Route

from include.deployment.health import check_dag_processor, check_metadatabase
from include.deployment.metrics_token import fetch_token, write_token
from include.embedding_etl.errors import TransientError
from include.embedding_etl.status.alone import AloneHost
from include.embedding_etl.status.app import create_app
from include.embedding_etl.status.guard import HEADERS
from include.embedding_etl.status.site import Site
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/embedding-etl"
PASSWORDS = {"boss": "a password of the boss", "reader": "a password of the reader"}
# A file to search with is uploaded, a link to an object is made: nothing is changed.
READING = {"/search/file", "/objects/demo/download"}
# What all forms together ask for, so that none of them is refused for being incomplete.
FORM = {"pipeline": "demo", "lane": "text", "ids": "1", "reason": "none", "rebuild": "index", "earlier": "demo_text_1"}
FORM |= {"min_recall": "0.9", "sample": "10", "grace_hours": "1"}
pytestmark = pytest.mark.timeout(300)


@dataclass
class Server:
    url: str
    tokens: dict[str, str]

    def ask(self, who: str, method: str, path: str, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return httpx.request(
            method, f"{self.url}{PREFIX}{path}", headers=headers, timeout=60, trust_env=False, **options
        )


def simple_auth(home: Path) -> dict[str, str]:
    (home / "passwords.json").write_text(json.dumps(PASSWORDS))
    return {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "boss:admin,reader:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
    }


def fab_auth(home: Path) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__FAB__CONFIG_FILE": str(ROOT / "deploy" / "airflow" / "webserver_config.py"),
        "AIRFLOW_ADMIN_USER": "boss",
        "AIRFLOW_ADMIN_PASSWORD": PASSWORDS["boss"],
        "AIRFLOW_METRICS_PASSWORD": PASSWORDS["reader"],
    }


# How to configure it, and the name under which the reader logs in.
AUTH_MANAGERS = {"simple": (simple_auth, "reader"), "fab": (fab_auth, "metrics")}


@pytest.fixture(scope="module", params=["simple", pytest.param("fab", marks=pytest.mark.cluster)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("airflow")
    port = free_port()
    configure, reader = AUTH_MANAGERS[request.param]
    (home / "pipelines").mkdir()
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "ETL_PIPELINES_DIR": str(home / "pipelines"),
        "ETL_LEDGER_URL": f"sqlite:///{home / 'ledger.db'}",
        "ETL_STATE_URI": str(home / "state"),
        "PYTHONPATH": str(ROOT),
        **configure(home),
    }
    airflow = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    if request.param == "fab":
        make_users = [sys.executable, "-m", "include.deployment.airflow_users"]
        for created in ("boss, metrics", "none, they exist"):
            said = subprocess.run(make_users, env=environment, check=True, capture_output=True, text=True, cwd=ROOT)
            assert said.stdout.endswith(f"users created: {created}\n")
    log = (home / "api.log").open("wb")
    process = subprocess.Popen(
        [airflow, "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env=environment,
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, home / "api.log")
        tokens = {
            name: httpx.post(
                f"{url}/auth/token", json={"username": login, "password": PASSWORDS[name]}, timeout=30, trust_env=False
            ).json()["access_token"]
            for name, login in (("boss", "boss"), ("reader", reader))
        }
        yield Server(url, tokens)
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/api/v2/version", timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(log.read_text(errors="replace")[-4000:])


def routes() -> list[tuple[str, str]]:
    """(method, path) of everything that the app answers; path parameters are filled with something."""
    app = create_app(Site(AloneHost("t"), ROOT / "include" / "pipelines", lambda _: None), "s")  # type: ignore[arg-type,return-value]
    found = []
    for route in app.routes:
        assert not isinstance(route, Mount), "a mounted app would need a walk of its own"
        assert isinstance(route, Route)
        path = re.sub(r"\{[^}]*\}", "demo", route.path)
        found += [(method, path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


def test_there_are_routes_to_walk() -> None:
    found = routes()
    assert ("GET", "/overview") in found
    assert sum(method == "POST" for method, _ in found) >= 2
    assert not {path for _, path in found} & {"/docs", "/redoc", "/openapi.json"}


@pytest.mark.parametrize(("method", "path"), [*routes(), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/x")])
def test_pain_33_nobody_gets_anything(server: Server, method: str, path: str) -> None:
    answer = server.ask("", method, path)
    assert answer.status_code == 401
    assert "Log in" in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]


@pytest.mark.parametrize(("method", "path"), routes())
def test_pain_33_a_viewer_may_look_and_change_nothing(server: Server, method: str, path: str) -> None:
    answer = server.ask("reader", method, path)
    if method == "GET":
        assert answer.status_code in (200, 307, 404, 422, 503)
    else:
        assert answer.status_code == 403  # without a token of the page; and with one:
        token = re.search(r'"X-CSRF-Token": "(\w+)"', server.ask("reader", "GET", "/overview").text)
        assert token
        refused = server.ask("reader", method, path, data={"csrf_token": token.group(1), **FORM})
        assert (refused.status_code == 403) is (path not in READING)


@pytest.mark.parametrize("path", [path for method, path in routes() if method == "GET"])
def test_an_admin_gets_pages_that_have_no_stack_trace(server: Server, path: str) -> None:
    answer = server.ask("boss", "GET", path)
    assert answer.status_code != 500
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_interface_description_is_off(server: Server, path: str) -> None:
    assert server.ask("boss", "GET", path).status_code == 404


def test_a_change_without_the_token_of_a_page_is_refused_even_for_an_admin(server: Server) -> None:
    posts = [path for method, path in routes() if method == "POST"]
    for path in posts:
        assert server.ask("boss", "POST", path, data={"pipeline": "demo"}).status_code == 403


def test_prometheus_scrapes_with_a_token_that_is_fetched_for_it(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    login = AUTH_MANAGERS[request.node.callspec.params["server"]][1]
    write_token(tmp_path / "token", fetch_token(server.url, login, PASSWORDS["reader"]))
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o644  # Prometheus is another user
    headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}
    answer = httpx.get(f"{server.url}{PREFIX}/metrics", headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 200
    assert "embedding_etl_scrape_failed 0" in answer.text
    with pytest.raises(TransientError) as refused:
        fetch_token(server.url, login, "a wrong password")
    assert "a wrong password" not in str(refused.value)


def test_a_container_is_healthy_when_its_component_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_INTERNAL_URL", server.url)
    check_metadatabase()
    with pytest.raises(TransientError, match="dag_processor is"):  # none runs here
        check_dag_processor()
    monkeypatch.setenv("AIRFLOW_INTERNAL_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError):
        check_metadatabase()
