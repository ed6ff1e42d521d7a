"""The image: what it copies exists, what must stay out stays out, and nothing in it runs as root."""

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
RULES = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE, re.MULTILINE)
STAGES = [part for part in re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE) if part.startswith("FROM")]


def is_ignored(path: str) -> bool:
    """As Docker reads .dockerignore: the last rule that matches the path or a directory above it decides."""
    ignored = False
    parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
    for rule in RULES:
        pattern = rule.removeprefix("!")
        names = [parent.rsplit("/", 1)[-1] for parent in parents] if pattern.startswith("**/") else parents
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            ignored = not rule.startswith("!")
    return ignored


def copied() -> list[str]:
    """Paths of the project that are copied into the image."""
    lines = [arguments for name, arguments in INSTRUCTIONS if name == "COPY" and "--from=" not in arguments]
    return [word for line in lines for word in line.split()[:-1]]


@pytest.mark.parametrize("path", copied())
def test_what_is_copied_exists_and_is_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).exists()
    assert not is_ignored(path)
    for file in (ROOT / path).rglob("*"):
        relative = file.relative_to(ROOT).as_posix()
        if file.is_file() and "__pycache__" not in relative:
            assert not is_ignored(relative), relative


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", ".local/demo.env", "tests/conftest.py", ".venv/bin/python", "include/.env", "docs/a.md"],
)
def test_secrets_history_and_tests_are_not_sent_to_the_builder(path: str) -> None:
    assert is_ignored(path)


def test_the_image_runs_as_airflows_user() -> None:
    assert len(STAGES) == 2
    users = re.findall(r"^USER (.*)$", STAGES[-1], re.MULTILINE)
    assert users == ["50000:0"]
    assert not re.search(r"^RUN ", STAGES[-1].split("USER 50000:0")[1], re.MULTILINE)


def test_the_base_is_pinned_by_version() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert [stage.split()[1] for stage in STAGES] == ["${PYTHON_IMAGE}"] * 2


def test_an_edit_of_the_code_does_not_install_everything_again() -> None:
    build = STAGES[0]
    assert build.index("COPY requirements.txt") < build.index("pip install") < build.index("COPY include")


def pip_calls(directory: Path, **arguments: str) -> list[str]:
    """What the build asks of pip before the code is copied: its own script, with a pip that only writes it down."""
    (run,) = re.findall(r"^RUN .*(?<= )(locks=.*)$", STAGES[0].split("COPY pyproject.toml")[0], re.MULTILINE)
    (directory / "pip").write_text(f'#!/bin/sh\necho "$@" >> {directory}/calls\n')
    (directory / "pip").chmod(0o755)
    environment = {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}", **arguments}
    subprocess.run(["bash", "-eo", "pipefail", "-c", run], cwd=ROOT, env=environment, check=True)
    return (directory / "calls").read_text().splitlines()


def test_only_what_was_locked_is_downloaded_before_torch_is(tmp_path: Path) -> None:
    hashed, locked = pip_calls(tmp_path)
    assert hashed == "install --require-hashes --no-deps -r requirements.hashes -r requirements-cluster.hashes"
    assert locked == "install -r requirements.txt -r requirements-cluster.txt"


def test_a_build_of_torch_and_further_locks_can_be_chosen(tmp_path: Path) -> None:
    arguments = {"TORCH_INDEX_URL": "an-index", "EXTRA_REQUIREMENTS": "requirements-demo.txt"}
    hashed, torch, locked = pip_calls(tmp_path, **arguments)
    assert hashed.endswith(" -r requirements-demo.hashes")
    assert re.fullmatch(r"install --index-url an-index torch==[\d.]+", torch)
    assert locked.endswith(" -r requirements-demo.txt")


def test_every_lock_is_copied_with_its_hashes() -> None:
    locks = {path for path in copied() if path.startswith("requirements")}
    assert {"requirements.txt", "requirements-cluster.txt", "requirements-demo.txt"} <= locks
    assert {path.replace(".txt", ".hashes") for path in locks} <= locks


def test_no_address_of_a_registry_and_no_secret_is_in_it() -> None:
    assert not re.search(r"https?://", DOCKERFILE)
    assert not re.search(r"(PASSWORD|SECRET|TOKEN|_KEY)\s*=", DOCKERFILE)


def test_what_airflow_and_etl_read_is_in_the_image() -> None:
    places = dict(re.findall(r"\b(AIRFLOW__\w+|ETL_MODELS_DIR)=(\S+)", STAGES[-1]))
    assert len(places) == 5
    for name in ("CORE__DAGS_FOLDER", "CORE__PLUGINS_FOLDER", "FAB__CONFIG_FILE"):
        path = places[f"AIRFLOW__{name}"].removeprefix("/opt/etl/")
        assert (ROOT / path).exists()
        assert path.split("/")[0] in copied()
    assert places["ETL_MODELS_DIR"] == "/models"


def test_models_are_baked_in_if_told_so(tmp_path: Path) -> None:
    (run,) = re.findall(r"^RUN mkdir -p /models +&& (.*)$", STAGES[0], re.MULTILINE)
    (tmp_path / "etl").write_text(f'#!/bin/sh\necho "$ETL_MODELS_DIR $@" >> {tmp_path}/calls\n')
    (tmp_path / "etl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "BAKE_PIPELINES": "media demo"}
    subprocess.run(["bash", "-eo", "pipefail", "-c", run], env=environment, check=True)
    assert (tmp_path / "calls").read_text() == "/models models pull media\n/models models pull demo\n"
    assert "COPY --from=build --chown=50000:0 /models /models" in STAGES[-1]


def test_the_first_process_reaps_what_others_leave_behind() -> None:
    assert re.search(r"^ENTRYPOINT \[\"/usr/bin/tini\", ", STAGES[-1], re.MULTILINE)
    assert re.search(r"apt-get install .* tini\b", STAGES[-1])


def test_the_places_in_the_image_are_those_that_compose_mounts() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    for directory in ("/opt/airflow/logs", "/models", "/metrics-token"):
        assert f"{directory}" in STAGES[-1]
        assert f":{directory}" in compose
    # Owned by the user before volumes are put there, or they would be root's.
    assert re.search(r"install -d -o 50000 -g 0 .*/opt/airflow/logs /metrics-token /models", STAGES[-1])
