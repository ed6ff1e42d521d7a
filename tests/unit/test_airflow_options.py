"""Every AIRFLOW__SECTION__OPTION that a stack, Compose, the image or Helm sets is one of Airflow or a provider."""

import importlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from include.local_stack.airflow import airflow_environment
from include.local_stack.cluster.configuration import CLUSTER_DIR_VARIABLE, configure_cluster
from include.local_stack.configuration import configure
from include.local_stack.paths import LOCAL_DIR_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"AIRFLOW__([A-Z_]+?)__([A-Z0-9_]+)")
# Sections of configuration that come with packages of requirements-cluster.txt.
CLUSTER_SECTIONS = {"celery": "celery", "celery_broker_transport_options": "celery", "fab": "fab"}

Option = tuple[str, str]


def options(variables: Iterable[str]) -> set[Option]:
    """(section, option) of those of the variables that Airflow reads as its configuration."""
    matches = [VARIABLE.fullmatch(variable) for variable in variables]
    return {(match.group(1).lower(), match.group(2).lower()) for match in matches if match}


def of_files(*paths: str) -> set[Option]:
    return options(match.group() for path in paths for match in VARIABLE.finditer((ROOT / path).read_text()))


def of_stacks(directory: Path) -> set[Option]:
    embedded = airflow_environment(configure({LOCAL_DIR_VARIABLE: str(directory)}))
    cluster = airflow_environment(configure_cluster({CLUSTER_DIR_VARIABLE: str(directory)}).stack)
    return options({**embedded, **cluster})


def of_helm() -> set[Option]:
    config = yaml.safe_load((ROOT / "deploy" / "helm" / "values.yaml").read_text())["config"]
    return {(section, option) for section in config for option in config[section]} | of_files(
        "deploy/helm/prepare.yaml"
    )


def everywhere(directory: Path) -> dict[str, set[Option]]:
    found = {
        "the stacks": of_stacks(directory),
        "Docker": of_files("docker-compose.yml", "Dockerfile", "deploy/airflow/init.sh"),
        "Helm": of_helm(),
    }
    assert {name: len(pairs) > 3 for name, pairs in found.items()} == dict.fromkeys(found, True)
    return found


def test_airflow_has_every_option_that_is_set(tmp_path: Path) -> None:
    package = importlib.util.find_spec("airflow")
    assert package is not None
    assert package.origin is not None
    template = yaml.safe_load((Path(package.origin).parent / "config_templates" / "config.yml").read_text())
    known = {(section, option.lower()) for section in template for option in template[section]["options"]}
    for where, found in everywhere(tmp_path).items():
        unknown = {(section, option) for section, option in found - known if section not in CLUSTER_SECTIONS}
        assert unknown == set(), where


@pytest.mark.cluster
def test_the_providers_have_every_option_that_is_set(tmp_path: Path) -> None:
    known = set()
    for provider in set(CLUSTER_SECTIONS.values()):
        info = importlib.import_module(f"airflow.providers.{provider}.get_provider_info").get_provider_info()
        known |= {(name, option.lower()) for name, section in info["config"].items() for option in section["options"]}
    for where, found in everywhere(tmp_path).items():
        of_providers = {pair for pair in found if pair[0] in CLUSTER_SECTIONS}
        assert of_providers, where
        assert of_providers - known == set(), where
