"""`make env`: the `.env` of docker-compose.yml, with secrets that were generated for this installation.

Imports the standard library only, so that it runs where nothing is installed.
"""

import secrets
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

from include.local_stack.env_file import read_env_file, write_private

HEADING = """\
# Secrets and choices of docker-compose.yml. `make env` adds what is missing and changes nothing that is here.
# Keep a copy in a safe place: without AIRFLOW_FERNET_KEY Airflow's stored connections cannot be read any more.
"""


def _password() -> str:
    # Letters, digits, - and _ only: it goes into URLs, JSON and configuration files as it is.
    return secrets.token_urlsafe(24)


SECRETS: Mapping[str, Callable[[], str]] = {
    "AIRFLOW_FERNET_KEY": lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_API_SECRET_KEY": _password,
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "AIRFLOW_ADMIN_PASSWORD": _password,
    "AIRFLOW_METRICS_PASSWORD": _password,
    "POSTGRES_PASSWORD": _password,
    "AIRFLOW_DB_PASSWORD": _password,
    "LEDGER_DB_PASSWORD": _password,
    "REDIS_PASSWORD": _password,
    "MILVUS_ROOT_PASSWORD": _password,
    "MILVUS_PASSWORD": _password,
    "MILVUS_S3_ACCESS_KEY": lambda: f"AK{secrets.token_hex(9).upper()}",
    "MILVUS_S3_SECRET_KEY": lambda: secrets.token_urlsafe(30),
    "S3_ACCESS_KEY": lambda: f"AK{secrets.token_hex(9).upper()}",
    "S3_SECRET_KEY": lambda: secrets.token_urlsafe(30),
    "GRAFANA_PASSWORD": _password,
}
# Not secret, but written down so that people find them. An empty value is a choice and stays.
CHOICES: Mapping[str, str] = {
    "COMPOSE_PROFILES": "milvus,s3",  # further: gpu, monitoring. Without milvus or s3: servers of your own
    "MILVUS_USER": "etl",  # empty: MILVUS_PASSWORD is an API key
}


def complete_env_file(path: Path) -> list[str]:
    """Create the file, or add the keys that it lacks; comments, order and values stay.

    Args:
        path: The file; only its owner may read it.
    Returns:
        The names of the keys that were added.
    Raises:
        ConfigError: a line is neither empty, nor a comment, nor KEY=VALUE.
    """
    found = read_env_file(path)
    added = {key: make() for key, make in SECRETS.items() if not found.get(key)}
    added |= {key: value for key, value in CHOICES.items() if key not in found}
    text = path.read_text(encoding="utf-8") if path.exists() else HEADING
    if text and not text.endswith("\n"):
        text += "\n"
    write_private(path, text + "".join(f"{key}={value}\n" for key, value in added.items()))
    return list(added)


def main() -> None:
    """Write `.env` in this directory, and say which keys are new; never a value."""
    path = Path(".env")
    added = complete_env_file(path)
    sys.stdout.write(f"{path}: added {', '.join(added)}\n" if added else f"{path}: nothing was missing\n")


if __name__ == "__main__":
    main()
