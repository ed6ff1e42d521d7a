"""`etl`: the same stages and questions as in Airflow, from a terminal."""

from include.embedding_etl.cli.app import app

__all__ = ["app"]
