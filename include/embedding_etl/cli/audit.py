"""`etl audit`."""


import typer

from include.embedding_etl.cli import tables
from include.embedding_etl.cli.session import Json, Pipeline, console, new_run_id, opened, progress, show


def audit(pipeline: Pipeline, as_json: Json = False) -> None:
    """Compare storage, ledger and Milvus, row by row. Exit code 1 where anything differs."""
    from include.embedding_etl.audit import audit as make_audit

    with opened(pipeline) as runtime, progress() as tell:
        result = make_audit(runtime, new_run_id(), tell)
    show(result.to_json(), as_json, lambda: tables.show_audit(console, result))
    raise typer.Exit(0 if result.clean else 1)
