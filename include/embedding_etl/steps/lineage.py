"""Tells Airflow's hook lineage what a sync task read and wrote: the source's prefix, the collection in Milvus.

The providers turn these assets into OpenLineage datasets (amazon: s3://bucket and prefix; ours: milvus://host:port and
database.collection). Airflow collects nothing unless a reader such as the openlineage provider is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from include.embedding_etl.runtime import Runtime


def tell_lineage(runtime: Runtime, shard: str) -> None:
    """Called by sync, once a shard: all shards of a lane name the same two."""
    from airflow.sdk.lineage import get_hook_lineage_collector

    from include.embedding_etl.run_files import RunFiles
    from include.embedding_etl.shard_files import read_lease
    from include.embedding_etl.steps.task_context import run_id, task_context

    collector, context = get_hook_lineage_collector(), task_context()["ti"]
    lease = read_lease(runtime.state, RunFiles(runtime.pipeline.name, run_id()).shard(shard))
    collector.add_input_asset(context, uri=source_uri(runtime.pipeline.source.uri))
    collector.add_output_asset(context, uri=target_uri(runtime, lease.collection))


def source_uri(uri: str) -> str:
    """The source as an asset: s3://bucket/prefix, or file:///directory."""
    if uri.startswith("s3://"):
        return uri
    return Path(uri.removeprefix("file://")).resolve().as_uri()


def target_uri(runtime: Runtime, collection: str) -> str:
    """The collection as an asset, by its real name: the alias moves, the data does not."""
    from include.milvus_provider.assets import collection_uri
    from include.milvus_provider.connection import DEFAULT_PORT

    parts = urlsplit(runtime.milvus.uri)
    return collection_uri(
        parts.hostname or "localhost", parts.port or DEFAULT_PORT, runtime.milvus.database, collection
    )
