"""Where ledger, state, Milvus and S3 are, from the environment. Nothing is read at import."""

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class Places(BaseSettings):
    """Where ledger, state, Milvus and S3 are: ETL_* variables, `.local/demo.env` as the fallback."""

    model_config = SettingsConfigDict(
        env_prefix="ETL_",
        env_file=(PROJECT_ROOT / ".local" / "demo.env", ".env"),
        extra="ignore",
        populate_by_name=True,
    )

    ledger_url: SecretStr = SecretStr(f"sqlite:///{PROJECT_ROOT / '.local' / 'ledger.db'}")
    state_uri: str = str(PROJECT_ROOT / ".local" / "state")
    milvus_uri: str = "http://127.0.0.1:19530"
    milvus_token: SecretStr = SecretStr("")
    milvus_database: str = "default"
    pipelines_dir: Path = PROJECT_ROOT / "include" / "pipelines"
    models_dir: Path = PROJECT_ROOT / ".local" / "models"
    lease_ttl_s: Annotated[float, Field(ge=1)] = 300.0  # a run that shows no life for so long may be taken over
    state_is_shared: bool = False  # directories that are named here are mounted on every worker, at the same path
    task_threads: Annotated[int, Field(ge=1)] | None = None  # None = this machine's cores / tasks_per_machine
    tasks_per_machine: Annotated[int, Field(ge=1)] = 1  # how many embed tasks run on one machine at once
    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None  # where browsers find the store; None = at s3_endpoint
    s3_region: str | None = None
    aws_access_key_id: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_ACCESS_KEY_ID", "aws_access_key_id")
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key")
    )
    aws_session_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_SESSION_TOKEN", "aws_session_token")
    )
