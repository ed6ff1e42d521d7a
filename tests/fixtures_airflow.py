"""Tests that import Airflow leave nothing in the home of whoever runs them."""

import os
from tempfile import TemporaryDirectory

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Airflow makes directories under AIRFLOW_HOME when it is imported."""
    if "AIRFLOW_HOME" not in os.environ:
        home = TemporaryDirectory(prefix="airflow-home-")
        os.environ["AIRFLOW_HOME"] = home.name
        config.add_cleanup(home.cleanup)
        config.add_cleanup(lambda: os.environ.pop("AIRFLOW_HOME", None))
