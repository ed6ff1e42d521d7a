"""The stages as Airflow tasks: JSON in, JSON out, a few hundred bytes each. The only module here that knows Airflow.

Heavy imports are inside the functions, so that parsing a DAG costs none of them. Errors keep their class: the retry
policy of the DAG retries TransientError and nothing that a person has to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.embedding_etl.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.embedding_etl.runtime import MilvusAddress, Runtime
    from include.embedding_etl.s3_credentials import S3Credentials

Summary = dict[str, Any]


def scan(pipeline: str) -> Summary:
    """List the source completely."""
    from include.embedding_etl.stages.scan import scan as run_scan

    with _open(pipeline) as runtime:
        snapshot = run_scan(runtime, _run_id())
    return {"objects": snapshot.objects, "bytes": snapshot.bytes, "snapshot": snapshot.path}


def identify(pipeline: str) -> Summary:
    """Look at what is new or changed."""
    from include.embedding_etl.stages.identify import identify as run_identify

    with _open(pipeline) as runtime:
        return dict(run_identify(runtime, _run_id()))


def route(pipeline: str, lane: str) -> list[str]:
    """Compare one lane with its collection, and cut the work into shards."""
    from include.embedding_etl.stages.route import route as run_route

    with _open(pipeline) as runtime:
        return run_route(runtime, _run_id(), lane, frozenset(_context()["params"].get("rewrite") or ()))


def embed(pipeline: str, shard: str) -> Summary:
    """Make the vectors of one shard."""
    from include.embedding_etl.stages.embed import embed as run_embed

    context = _context()
    context["shard"] = shard  # map_index_template shows it
    last_try = context["ti"].try_number > context["ti"].max_tries
    with _open(pipeline) as runtime:
        return {"shard": shard, **run_embed(runtime, _run_id(), shard, last_try)}


def sync(pipeline: str, embedded: Mapping[str, Any]) -> Summary:
    """Bring one shard's vectors into Milvus."""
    from include.embedding_etl.stages.sync import sync as run_sync

    shard = str(embedded["shard"])
    _context()["shard"] = shard
    with _open(pipeline) as runtime:
        return {"shard": shard, **run_sync(runtime, _run_id(), shard)}


def purge(pipeline: str) -> Summary:
    """Delete the rows of objects that are gone."""
    from include.embedding_etl.stages.purge import purge as run_purge

    with _open(pipeline) as runtime:
        return dict(run_purge(runtime, _run_id(), int(_context()["params"].get("approve_deletes") or 0)))


def report(pipeline: str) -> Summary:
    """Count storage, ledger and Milvus again.

    Raises:
        IntegrityError: they do not agree, or too many objects failed. The run is red.
    """
    from include.embedding_etl.stages.report import report as run_report

    with _open(pipeline) as runtime:
        result = run_report(runtime, _run_id())
    if not result.green:
        raise IntegrityError("This run is not done:\n" + "\n".join(f"- {problem}" for problem in result.problems))
    lanes = {
        lane: {
            "objects": figures.objects,
            "rows": figures.rows_milvus,
            "rows_upserted": figures.figures["rows"],
            "rows_deleted": figures.figures["rows_deleted"] + figures.figures["stale_deleted"],
            "dead_letters": figures.dead_letters,
        }
        for lane, figures in result.lanes.items()
    }
    for asset, event in _outlet_events():
        event.extra = lanes[asset]
    return {"objects": result.listed, "lanes": {lane: figures["rows"] for lane, figures in lanes.items()}}


def _outlet_events() -> list[tuple[str, Any]]:
    """(lane, event) of every asset that the running task produces."""
    context = _context()
    return [(str(asset.extra["lane"]), context["outlet_events"][asset]) for asset in context["task"].outlets]


def _context() -> Any:
    from airflow.sdk import get_current_context

    return get_current_context()


def _run_id() -> str:
    """Unique over all DAGs: scheduled runs of two pipelines have the same run id."""
    context = _context()
    return f"{context['dag'].dag_id}/{context['run_id']}"


def _open(name: str) -> Runtime:
    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.settings import Places, find_pipeline

    places = Places()
    pipeline = find_pipeline(places.pipelines_dir, name)
    return Runtime(
        pipeline,
        places,
        credentials=_s3_credentials(pipeline.source.connection_id) if pipeline.source.connection_id else None,
        milvus=_milvus_address(pipeline.milvus.connection_id) if pipeline.milvus.connection_id else None,
    )


def _s3_credentials(connection_id: str) -> S3Credentials:
    from include.embedding_etl.s3_credentials import S3Credentials

    connection = _connection(connection_id)
    extra = connection.extra_dejson
    return S3Credentials(
        access_key=connection.login or extra.get("aws_access_key_id"),
        secret_key=connection.password or extra.get("aws_secret_access_key"),
        token=extra.get("aws_session_token"),
        endpoint=extra.get("endpoint_url"),
        region=extra.get("region_name"),
    )


def _milvus_address(connection_id: str) -> MilvusAddress:
    from pydantic import SecretStr

    from include.embedding_etl.runtime import MilvusAddress

    connection = _connection(connection_id)
    extra = connection.extra_dejson
    host = connection.host or ""
    if not host:
        raise ConfigError(f"connection {connection_id}: host is empty; write the URI, such as http://milvus:19530")
    uri = host if "://" in host else f"{'https' if extra.get('secure') else 'http'}://{host}:{connection.port or 19530}"
    token = extra.get("token") or (f"{connection.login}:{connection.password}" if connection.login else "")
    return MilvusAddress(uri, SecretStr(token), connection.schema or "default")


def _connection(connection_id: str) -> Any:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(connection_id)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"there is no Airflow connection {connection_id!r}; create it under Admin, Connections"
        ) from error
