"""The chart's values: every lane's queue has workers, names agree with the image, and no secret is written down."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from include.embedding_etl.pipeline_files import load_pipeline, pipeline_files

ROOT = Path(__file__).resolve().parents[2]
HELM = ROOT / "deploy" / "helm"
VALUES = yaml.safe_load((HELM / "values.yaml").read_text())
GPU = yaml.safe_load((HELM / "gpu-pod-override.yaml").read_text())
PREPARE = yaml.safe_load((HELM / "prepare.yaml").read_text())
CONTAINERS = PREPARE["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("values", [VALUES, GPU], ids=["values", "gpu"])
def test_every_queue_of_a_lane_has_workers(values: dict[str, dict[str, dict[str, list[dict[str, str]]]]]) -> None:
    served = [queue for workers in values["workers"]["celery"]["sets"] for queue in workers["queue"].split(",")]
    assert len(served) == len(set(served))
    lanes = [lane for path in pipeline_files(ROOT / "include/pipelines") for lane in load_pipeline(path).lanes.values()]
    assert {lane.queue or VALUES["config"]["operators"]["default_queue"] for lane in lanes} <= set(served)


def test_only_pods_of_the_gpu_queue_ask_for_a_gpu() -> None:
    for workers in [*VALUES["workers"]["celery"]["sets"], *GPU["workers"]["celery"]["sets"]]:
        assert ("nvidia.com/gpu" in workers["resources"]["limits"]) is (workers["queue"] == "gpu")


def test_airflow_and_the_image_are_of_the_projects_versions() -> None:
    assert f"apache-airflow=={VALUES['airflowVersion']}" in (ROOT / "requirements.in").read_text()
    assert f'version = "{VALUES["defaultAirflowTag"]}"' in (ROOT / "pyproject.toml").read_text()
    image = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    assert {container["image"] for container in CONTAINERS} == {image}


def test_the_same_executor_and_login_as_with_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-airflow-environment"]
    for section, options in VALUES["config"].items():
        for option, value in options.items():
            assert compose[f"AIRFLOW__{section.upper()}__{option.upper()}"] == value
    assert compose["AIRFLOW__CORE__EXECUTOR"] == VALUES["executor"]


def test_the_job_runs_what_exists() -> None:
    for container in CONTAINERS:
        for word, following in zip(container["command"], [*container["command"][1:], ""], strict=True):
            if word == "-m":
                assert importlib.util.find_spec(following)
            if word.startswith("/opt/etl/"):
                assert (ROOT / word.removeprefix("/opt/etl/")).is_file()


@pytest.mark.parametrize("file", sorted(HELM.glob("*.yaml")), ids=lambda path: path.name)
def test_passwords_are_named_and_not_written(file: Path) -> None:
    text = re.sub(r"#.*", "", file.read_text())
    assert not re.search(r"(?i)(password|secret_?key|token)\s*:\s*\S", text)
    assert "://" not in text
