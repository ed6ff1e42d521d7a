"""`etl audit`."""

from typing import Annotated

import typer

from include.embedding_etl.cli import tables
from include.embedding_etl.cli.session import Json, Pipeline, console, errors, new_run_id, opened, progress, show


def audit(
    pipeline: Pipeline,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend it, clear up what is due, and look once more: that counts")
    ] = False,
    approve_deletes: Annotated[
        int, typer.Option(min=0, help="With --repair: up to how many objects, or rows not ours, may go at once")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compare storage, ledger and Milvus, row by row. Exit code 1 where anything differs."""
    from include.embedding_etl.audit import audit as make_audit
    from include.embedding_etl.repair import repair as run_repair
    from include.embedding_etl.retention import clear_up, due

    lists: dict[str, list[str]] = {}
    with opened(pipeline) as runtime, progress() as tell:
        if repair:
            run_id = new_run_id()
            mended = run_repair(runtime, run_id, approve_deletes, tell)
            tables.show_audit(errors, mended.before)
            lists = {"repaired": [*mended.done], "problems": [*mended.problems], "cleared": clear_up(runtime, run_id)}
        result = make_audit(runtime, new_run_id(), tell)
        lists["due"] = [item.what for item in due(runtime)]
    show({**result.to_json(), **lists}, as_json, lambda: tables.show_audit(console, result, lists))
    raise typer.Exit(0 if result.clean else 1)
