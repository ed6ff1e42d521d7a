"""Where tasks run on more than one machine, what they share must be where all of them see it.

A state directory or a SQLite ledger on one worker's disk is another, empty one on the next worker: its shards would not
be found, and its objects embedded again and again.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from include.embedding_etl.errors import ConfigError

if TYPE_CHECKING:
    from include.embedding_etl.places import Places
    from include.embedding_etl.settings import PipelineSettings

_ONE_MACHINE = frozenset({"LocalExecutor"})
_SHARED = "or, where every worker has this directory mounted at this path, set ETL_STATE_IS_SHARED=true"


def require_shared_places(pipeline: PipelineSettings, places: Places) -> None:
    """Refuse places that only this machine sees, where tasks may run on another one.

    Raises:
        ConfigError: naming the variable, or the file and its key, and what is allowed.
    """
    distributed = [name for name in executors() if name not in _ONE_MACHINE]
    if not distributed:
        return
    problems = []
    if "://" not in places.state_uri.removeprefix("file://") and not places.state_is_shared:
        problems.append(f"ETL_STATE_URI is {places.state_uri}, a directory: use s3://bucket/prefix, {_SHARED}")
    if places.ledger_url.get_secret_value().startswith("sqlite"):
        problems.append(
            "ETL_LEDGER_URL is a SQLite file, which no network file system keeps whole: "
            "use postgresql+psycopg://user:password@host/database"
        )
    if not pipeline.source.uri.startswith("s3://") and not places.state_is_shared:
        file = places.pipelines_dir / f"{pipeline.name}.yaml"
        problems.append(f"{file}: source.uri is {pipeline.source.uri}, a directory: use s3://bucket/prefix, {_SHARED}")
    if problems:
        raise ConfigError(
            f"Tasks of {distributed[0]} run on more than one machine, and only one would see this:\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def executors() -> list[str]:
    """The class names of Airflow's executors: a list with aliases, and teams, is allowed in its configuration."""
    from airflow.sdk.configuration import conf

    if os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD"):
        return ["KubernetesExecutor"]  # the pod's own configuration says LocalExecutor
    names = re.split(r"[,;]", str(conf.get("core", "executor")))
    return [part for name in names for part in [_class_name(name)] if part]


def _class_name(configured: str) -> str:
    """`CeleryExecutor` of `CeleryExecutor`, `team=CeleryExecutor`, `fast:airflow.….CeleryExecutor` and the like."""
    return re.split(r"[=:.]", configured.strip())[-1]
