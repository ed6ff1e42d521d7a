"""What one embedded stack is made of: paths, ports, and the secrets that were generated for it."""

import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from include.local_stack.env_file import keep_secrets
from include.local_stack.paths import StackPaths, stack_paths
from include.local_stack.ports import EMBEDDED_PORTS, HOST, Port, read_ports

BUCKET = "demo"
PIPELINE = "demo"
DEMO_KEYS = (
    "ETL_S3_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "ETL_BUCKET",
    "ETL_MILVUS_URI",
    "ETL_AIRFLOW_URL",
    "ETL_AIRFLOW_USER",
    "ETL_AIRFLOW_PASSWORD",
    "ETL_STATE_URI",
    "ETL_LEDGER_URL",
)

GENERATED: Mapping[str, Callable[[], str]] = {
    "AWS_ACCESS_KEY_ID": lambda: f"AK{secrets.token_hex(9).upper()}",
    "AWS_SECRET_ACCESS_KEY": lambda: secrets.token_urlsafe(30),
    "ETL_AIRFLOW_PASSWORD": lambda: secrets.token_urlsafe(12),
}
GENERATED_FOR_AIRFLOW: Mapping[str, Callable[[], str]] = {
    "AIRFLOW__CORE__FERNET_KEY": lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_urlsafe(32),
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_urlsafe(48),
}


@dataclass(frozen=True, slots=True)
class StackConfiguration:
    """Everything the components are started with."""

    paths: StackPaths
    ports: Mapping[str, Port]
    demo: Mapping[str, str]  # the content of demo.env
    airflow_keys: Mapping[str, str]
    airflow_settings: Mapping[str, str] = field(default_factory=dict)  # where they differ from the embedded stack's


def configure(environment: Mapping[str, str] | None = None) -> StackConfiguration:
    """Read ports and paths from the environment; generate the secrets the first time, keep them ever after.

    Raises:
        ConfigError: a port variable is wrong, or a file of secrets was damaged.
    """
    environment = os.environ if environment is None else environment
    paths = stack_paths(environment)
    ports = read_ports(environment, EMBEDDED_PORTS)
    demo = keep_secrets(
        paths.env_file,
        "Addresses and generated secrets of the embedded stack. `make demo` keeps this file; so does `make down`.",
        generated=GENERATED,
        settled={
            **addresses(ports),
            "ETL_STATE_URI": str(paths.state),
            "ETL_LEDGER_URL": f"sqlite:///{paths.ledger}",
        },
    )
    airflow_keys = keep_secrets(
        paths.airflow_keys_file,
        "Keys that Airflow's components share. Generated once.",
        generated=GENERATED_FOR_AIRFLOW,
        settled={},
    )
    return StackConfiguration(paths, ports, demo, airflow_keys)


def addresses(ports: Mapping[str, Port]) -> dict[str, str]:
    """What of demo.env follows from the ports."""
    return {
        "ETL_S3_ENDPOINT": f"http://{HOST}:{ports['s3'].number}",
        "ETL_BUCKET": BUCKET,
        "ETL_MILVUS_URI": f"http://{HOST}:{ports['milvus'].number}",
        "ETL_AIRFLOW_URL": f"http://{HOST}:{ports['airflow'].number}",
        "ETL_AIRFLOW_USER": "demo",
    }
