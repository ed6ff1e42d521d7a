"""Keep a file with a fresh token of Airflow for Prometheus, whose bearer tokens come from a file."""

import os
import sys
import tempfile
import time
from pathlib import Path

import httpx

from include.deployment.environment import required
from include.embedding_etl.errors import EmbeddingEtlError, TransientError

RENEW_S = 6 * 3600  # a quarter of [api_auth] jwt_expiration_time
RETRY_S = 15


def fetch_token(url: str, user: str, password: str) -> str:
    """Log in.

    Raises:
        TransientError: Airflow does not answer, or refuses.
    """
    try:
        answer = httpx.post(
            f"{url}/auth/token", json={"username": user, "password": password}, timeout=30, trust_env=False
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        # Without the request: it holds the password.
        raise TransientError(f"{url}/auth/token: {type(error).__name__}") from None


def write_token(path: Path, token: str) -> None:
    """Replace the file at once. Readable by other users of its volume: Prometheus is another user than Airflow."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def main() -> None:
    """Renew for ever."""
    path, url = Path(required("METRICS_TOKEN_FILE")), required("AIRFLOW_INTERNAL_URL")
    password = required("AIRFLOW_METRICS_PASSWORD")
    while True:
        try:
            write_token(path, fetch_token(url, "metrics", password))
            pause_s = RENEW_S
        except EmbeddingEtlError as error:
            sys.stderr.write(f"{error}; next try in {RETRY_S} s\n")
            pause_s = RETRY_S
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
