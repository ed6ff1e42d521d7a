"""docker-compose.yml: what it names exists, what it needs `make env` writes, and it is as safe as it says."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import yaml

from include.deployment.health import CHECKS
from include.embedding_etl.cli import app
from include.embedding_etl.ledger.database import parse_url
from include.embedding_etl.pipeline_files import load_pipeline, pipeline_files
from include.embedding_etl.places import Places
from include.embedding_etl.vectorstore.server_versions import security_warning
from include.local_stack.production_env import CHOICES, SECRETS
from include.milvus_provider.connection import MilvusConnection, read_connection

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
OVERRIDE = (ROOT / "deploy" / "compose" / "publish-stores.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Any] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
STORES = {"postgres", "redis", "s3", "etcd", "milvus"}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\})*))?\}")


def uses(text: str) -> Iterator[tuple[str, str, str]]:
    """(variable, operator, what follows) of every ${…}, also of those within others."""
    for name, operator, rest in VARIABLE.findall(re.sub(r"#.*", "", text)):
        yield name, operator, rest
        yield from uses(rest)


def interpolate(value: str, environment: Mapping[str, str]) -> str:
    """As Docker Compose does."""

    def one(match: re.Match[str]) -> str:
        name, operator, rest = match.group(1), match.group(2) or "", match.group(3) or ""
        found = environment.get(name)
        given = bool(found) if operator.startswith(":") else found is not None
        if operator.endswith("+"):
            return interpolate(rest, environment) if given else ""
        return found or "" if given else interpolate(rest, environment)

    return VARIABLE.sub(one, value).replace("$$", "$")


def environment_of(name: str, **env_file: str) -> dict[str, str]:
    secrets = {key: f"secret-of-{key.lower()}" for key in SECRETS}
    return {
        key: interpolate(str(value), {**secrets, **CHOICES, **env_file})
        for key, value in SERVICES[name].get("environment", {}).items()
    }


def words(name: str) -> list[str]:
    return [interpolate(word, {}) for word in SERVICES[name].get("command", [])]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_limited_restarted_and_without_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "no")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert "privileged" not in service
    assert service.get("read_only") is True or name == "milvus"
    assert not set(service.get("cap_add", ())) - {"CHOWN", "DAC_OVERRIDE", "FOWNER"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    if check["test"][1:4] == ["python", "-m", "include.deployment.health"]:
        assert check["test"][4] in CHECKS


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert wait["condition"] == expected
        # Of a profile that is not chosen, only what need not be there.
        profiles = set(SERVICES[other].get("profiles", ()))
        assert not profiles or set(SERVICES[name].get("profiles", ())) & profiles or wait["required"] is False


def waited_for(name: str) -> set[str]:
    """Whom a service waits for, and whom those wait for."""
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct | {further for other in direct for further in waited_for(other)}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_those_that_it_speaks_to(name: str) -> None:
    text = " ".join(environment_of(name).values())
    spoken_to = {other for other in SERVICES if re.search(rf"(?<![\w-]){other}:\d", text)} - {name}
    # What prepares knows addresses that it does not need; Airflow's own components come up side by side.
    needed = {"airflow-init": {"postgres"}, "api-server": {"postgres", "s3", "milvus"}}.get(name, spoken_to)
    assert needed <= waited_for(name)


def test_buckets_users_databases_and_pools_are_there_before_somebody_needs_them() -> None:
    assert "s3-init" in SERVICES["milvus"]["depends_on"]
    assert environment_of("milvus")["MINIO_BUCKET_NAME"] in words("s3-init")
    for name in ("api-server", "scheduler", "dag-processor", "triggerer", "worker-cpu", "worker-gpu"):
        assert {"airflow-init", "milvus-init", "s3-init"} <= set(SERVICES[name]["depends_on"])
    prepared = (ROOT / "deploy" / "airflow" / "init.sh").read_text().splitlines()
    steps = ["airflow db migrate", "python -m include.deployment.airflow_users", "etl ledger upgrade"]
    assert [line for line in prepared if line in steps] == steps


def test_nobody_is_let_in_without_a_password() -> None:
    redis = SERVICES["redis"]
    assert redis["entrypoint"][1] in [
        mount.split(":")[1] for mount in redis["volumes"] if "deploy/redis/start.sh" in mount
    ]
    assert "\nrequirepass ${REDIS_PASSWORD:?" in (ROOT / "deploy" / "redis" / "start.sh").read_text()
    postgres = SERVICES["postgres"]["environment"]
    assert "--auth-host=scram-sha-256" in postgres["POSTGRES_INITDB_ARGS"].split()
    assert "POSTGRES_HOST_AUTH_METHOD" not in postgres
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert not {key for key in grafana if key.startswith("GF_AUTH_ANONYMOUS")}
    airflow = environment_of("api-server")
    assert airflow["AIRFLOW__CORE__AUTH_MANAGER"].endswith(".FabAuthManager")
    assert airflow["AIRFLOW__API__EXPOSE_CONFIG"] == "False"


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_tasks_of_one_worker_share_its_processors(name: str) -> None:
    concurrency = words(name)[words(name).index("--concurrency") + 1]
    assert environment_of(name)["ETL_TASKS_PER_MACHINE"] == concurrency


def test_a_long_task_is_not_handed_to_a_second_worker() -> None:
    timeout = environment_of("worker-cpu")["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]
    assert int(timeout) >= 24 * 3600


def test_every_secret_is_made_by_make_env_and_has_no_default() -> None:
    found = {name: (operator, rest) for name, operator, rest in uses(TEXT)}
    secret = {name for name in found if re.search(r"PASSWORD|SECRET|KEY|TOKEN", name)}
    assert secret == set(SECRETS)
    for name, operator, rest in uses(TEXT + OVERRIDE):
        if name in SECRETS:
            assert (operator, rest) == (":?", "run make env"), name


def test_every_other_variable_has_a_default_or_is_written_by_make_env() -> None:
    plain = {(name, operator) for name, operator, _ in uses(TEXT + OVERRIDE) if name not in SECRETS}
    undecided = {name for name, operator in plain if operator not in (":-", "-")}
    assert undecided <= set(CHOICES)
    # Compose itself reads this one.
    assert set(CHOICES) - {"COMPOSE_PROFILES"} <= {name for name, _ in plain}
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert set(CHOICES["COMPOSE_PROFILES"].split(",")) <= profiles == {"milvus", "s3", "gpu", "monitoring"}


def test_no_secret_stands_in_the_file_itself() -> None:
    for name in SERVICES:
        for key, value in SERVICES[name].get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|FERNET|ACCESS_KEY|TOKEN$", key) and key not in ("METRICS_TOKEN_FILE",):
                assert "${" in str(value), f"{name}: {key}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_path_that_is_mounted_exists_and_every_volume_is_declared(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, target = interpolate(mount, {}).partition(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), mount
            assert target.endswith(":ro"), f"{mount}: the project is not a container's to change"
        elif target:
            assert source in COMPOSE["volumes"], mount


def test_no_volume_and_no_network_is_declared_for_nothing() -> None:
    mounted = {interpolate(m, {}).split(":")[0] for s in SERVICES.values() for m in s.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= mounted
    joined = {network for service in SERVICES.values() for network in service["networks"]}
    assert set(COMPOSE["networks"]) == joined


@pytest.mark.parametrize("name", SERVICES)
def test_every_script_and_module_that_is_run_exists(name: str) -> None:
    service = SERVICES[name]
    run = [*service.get("entrypoint", []), *words(name), *service.get("healthcheck", {}).get("test", [])]
    for word, following in zip(run, [*run[1:], ""], strict=True):
        if word == "-m":
            assert importlib.util.find_spec(following) is not None, following
        if word.endswith(".sh"):
            mounted = dict(reversed(m.split(":")[:2]) for m in service["volumes"] if m.startswith("./"))
            path = ROOT / mounted.get(word, word.removeprefix("/opt/etl/"))
            assert path.is_file()
            assert os.access(path, os.X_OK)
            assert path.read_text().startswith("#!/bin/sh\n")


def airflow_lines() -> list[list[str]]:
    """Every `airflow …` of the compose file and of the script that it runs, as argument lists."""
    script = interpolate((ROOT / "deploy" / "airflow" / "init.sh").read_text(), {})
    lines = [words(name) for name in SERVICES if words(name)[:1] == ["airflow"]]
    return lines + [shlex.split(line) for line in script.splitlines() if line.startswith("airflow ")]


def assert_airflow_parses(lines: list[list[str]], home: Path) -> None:
    code = "import json, sys\nfrom airflow.cli.cli_parser import get_parser\nparser = get_parser()\n"
    code += "for line in json.load(sys.stdin):\n    parser.parse_args(line[1:])\n"
    (home / "airflow.cfg").touch()
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(lines),
        env={**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__EXECUTOR": "LocalExecutor"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1500:]


def test_airflow_has_the_commands_that_are_run(tmp_path: Path) -> None:
    lines = [line for line in airflow_lines() if line[1] != "celery"]
    assert {line[1] for line in lines} == {"api-server", "scheduler", "dag-processor", "triggerer", "db", "pools"}
    assert_airflow_parses(lines, tmp_path)


@pytest.mark.cluster
def test_airflow_has_the_workers_command(tmp_path: Path) -> None:
    lines = [line for line in airflow_lines() if line[1] == "celery"]
    assert len(lines) == 2
    assert_airflow_parses(lines, tmp_path)


def test_etl_has_the_commands_that_are_run() -> None:
    root = typer.main.get_command(app)
    for script in (ROOT / "deploy").rglob("*.sh"):
        for line in re.findall(r"^etl (.*)$", script.read_text(), re.MULTILINE):
            command = root
            for word in line.split():
                command = command.commands[word]  # type: ignore[attr-defined]


def test_every_etl_variable_is_one_that_is_read() -> None:
    fields = {f"ETL_{name.upper()}" for name in Places.model_fields} | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    sources = "".join(path.read_text() for path in (ROOT / "include" / "embedding_etl").rglob("*.py"))
    given = {name for name in environment_of("worker-cpu") if name.startswith(("ETL_", "AWS_"))}
    assert [name for name in given - fields if f'"{name}"' not in sources] == []
    assert {"ETL_LEDGER_URL", "ETL_STATE_URI", "ETL_MILVUS_URI", "ETL_MODELS_DIR"} <= given


def test_the_places_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of("worker-cpu").items():
        monkeypatch.setenv(name, value)
    places = Places(_env_file=None)  # type: ignore[call-arg]
    ledger = parse_url(places.ledger_url.get_secret_value())
    assert (ledger.host, ledger.database, ledger.username) == ("postgres", "ledger", "ledger")
    assert places.state_uri.startswith("s3://etl-state/")
    assert places.milvus_token.get_secret_value() == "etl:secret-of-milvus_password"
    assert "etl-state" in words("s3-init")


def milvus_connection(environment: Mapping[str, str]) -> MilvusConnection:
    document = json.loads(environment["AIRFLOW_CONN_ETL_MILVUS"])
    assert document["conn_type"] == "milvus"
    return read_connection(SimpleNamespace(**document, port=None, extra_dejson={}))


def test_the_connections_of_the_pipelines_lead_to_the_services() -> None:
    environment = environment_of("worker-cpu")
    milvus = milvus_connection(environment)
    assert (milvus.uri, milvus.token) == ("http://milvus:19530", "etl:secret-of-milvus_password")
    s3 = json.loads(environment["AIRFLOW_CONN_ETL_S3"])
    assert s3["extra"]["endpoint_url"] == "http://s3:8333"
    assert s3["conn_type"] == "aws"


def test_a_managed_milvus_is_reached_by_its_key_alone() -> None:
    elsewhere = {"MILVUS_URI": "https://cluster.example.org", "MILVUS_USER": "", "MILVUS_PASSWORD": "an-api-key"}
    environment = environment_of("worker-cpu", **elsewhere)
    milvus = milvus_connection(environment)
    assert (milvus.uri, milvus.token) == ("https://cluster.example.org", "an-api-key")
    assert environment["ETL_MILVUS_TOKEN"] == "an-api-key"


def test_every_queue_has_a_worker_and_every_pool_is_made() -> None:
    def queues(name: str) -> set[str]:
        return set(words(name)[words(name).index("--queues") + 1].split(","))

    assert environment_of("scheduler")["AIRFLOW__OPERATORS__DEFAULT_QUEUE"] in queues("worker-cpu")
    made = {line[3] for line in airflow_lines() if line[1:3] == ["pools", "set"]} | {"default_pool"}
    for path in pipeline_files(ROOT / "include" / "pipelines"):
        pipeline = load_pipeline(path)
        for lane in pipeline.lanes.values():
            # Where no GPU is, the worker of the processor serves all queues.
            assert {lane.queue} - {None} <= queues("worker-cpu")
            assert {lane.queue} - {None, "cpu"} <= queues("worker-gpu")
        assert {pipeline.pools.embed, pipeline.pools.sync} <= made


def test_ports_are_open_to_this_machine_only_unless_told_otherwise() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    published += [port for service in yaml.safe_load(OVERRIDE)["services"].values() for port in service["ports"]]
    assert len(published) == 4
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in published)


def test_stores_are_in_networks_that_lead_nowhere_else() -> None:
    for name in STORES:
        assert "ports" not in SERVICES[name]
        assert all(COMPOSE["networks"][network]["internal"] for network in SERVICES[name]["networks"]), name
    assert not {"postgres", "redis"} & set(yaml.safe_load(OVERRIDE)["services"])


def test_images_are_pinned() -> None:
    with_tag = {name: service["image"].rpartition(":")[2] for name, service in SERVICES.items()}
    for name, service in SERVICES.items():
        if not service["image"].startswith("${"):
            assert re.fullmatch(r"v?\d+\.\d+[\w.-]*", with_tag[name]), service["image"]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert interpolate(SERVICES["api-server"]["image"], {}) == f"embedding-etl:{version.group(1)}"


def test_milvus_is_of_a_version_without_known_holes_and_asks_for_a_password() -> None:
    milvus = SERVICES["milvus"]
    assert security_warning(milvus["image"].rpartition(":")[2]) == ""
    assert security_warning("v2.6.9")  # the check itself
    assert milvus["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    assert "MILVUS_ROOT_PASSWORD" in milvus["environment"]["COMMON_SECURITY_DEFAULTROOTPASSWORD"]


def test_workers_finish_what_they_have_begun() -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert interpolate(SERVICES[name]["stop_grace_period"], {}) == "10m"
    devices = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]


def test_prometheus_finds_what_it_scrapes() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    targets = [target for job in prometheus["scrape_configs"] for s in job["static_configs"] for target in s["targets"]]
    assert {target.split(":")[0] for target in targets} <= set(SERVICES)
    mounted = [mount.split(":")[1] for mount in SERVICES["prometheus"]["volumes"]]
    assert set(prometheus["rule_files"]) <= set(mounted)
    token_file = prometheus["scrape_configs"][0]["authorization"]["credentials_file"]
    assert token_file == environment_of("metrics-token")["METRICS_TOKEN_FILE"]
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/embedding-etl.yaml").read_text())[
        "providers"
    ]
    assert any(f":{provider['options']['path']}/" in mount for mount in SERVICES["grafana"]["volumes"])


def test_the_drivers_of_its_databases_are_installed() -> None:
    locked = {line.split("==")[0] for line in (ROOT / "requirements-cluster.in").read_text().splitlines()}
    values = (ROOT / "deploy" / "helm" / "values.yaml").read_text() + (ROOT / "docs" / "kubernetes.md").read_text()
    drivers = set(re.findall(r"postgresql\+(\w+)://", TEXT + values))
    assert {"psycopg": "psycopg[binary]"}[drivers.pop()] in locked
    assert not drivers
