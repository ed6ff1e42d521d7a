"""Where a stack keeps everything: one directory, git-ignored, `.local/` in the project."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.places import PROJECT_ROOT

LOCAL_DIR_VARIABLE = "ETL_LOCAL_DIR"
DAGS_DIR_VARIABLE = "ETL_DAGS_DIR"


@dataclass(frozen=True, slots=True)
class StackPaths:
    """The directories and files of one stack. Two stacks with two local directories do not touch each other."""

    local: Path
    dags: Path
    env_name: str = "demo.env"

    @property
    def env_file(self) -> Path:
        """What users and the `etl` command read: addresses, user, password, keys."""
        return self.local / self.env_name

    @property
    def airflow_keys_file(self) -> Path:
        """Keys that only Airflow's own components share."""
        return self.local / "airflow.env"

    @property
    def run(self) -> Path:
        """One JSON file a running component: its pid and what it was started with."""
        return self.local / "run"

    @property
    def logs(self) -> Path:
        """One log file a component."""
        return self.local / "logs"

    @property
    def seaweed(self) -> Path:
        """SeaweedFS: volumes, filer and its keys."""
        return self.local / "seaweed"

    @property
    def milvus(self) -> Path:
        """Milvus Lite: its data directory."""
        return self.local / "milvus"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.local / "airflow"

    @property
    def corpus(self) -> Path:
        """The sample corpus, as files."""
        return self.local / "corpus"

    @property
    def state(self) -> Path:
        """Snapshots, shard files, the embedding store."""
        return self.local / "state"

    @property
    def ledger(self) -> Path:
        """The ledger's SQLite file."""
        return self.local / "ledger.db"


def stack_paths(environment: Mapping[str, str] | None = None) -> StackPaths:
    """The stack's paths; ETL_LOCAL_DIR and ETL_DAGS_DIR choose others than the project's `.local/` and `dags/`."""
    environment = os.environ if environment is None else environment
    return StackPaths(
        local=Path(environment.get(LOCAL_DIR_VARIABLE) or PROJECT_ROOT / ".local").resolve(),
        dags=Path(environment.get(DAGS_DIR_VARIABLE) or PROJECT_ROOT / "dags").resolve(),
    )
