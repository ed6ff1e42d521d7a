"""Variables that docker-compose.yml or a chart sets for the steps of this package."""

import os

from include.embedding_etl.errors import ConfigError


def required(name: str) -> str:
    """The value of a variable.

    Raises:
        ConfigError: it is missing or empty; the message names it.
    """
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(f"{name} is not set; run `make env`, and start this with docker compose")
    return value
