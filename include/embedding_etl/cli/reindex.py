"""`etl reindex`, `etl rollback`, `etl collections`."""

import json
import sys
from typing import Annotated, Any

import typer

from include.embedding_etl.cli import tables
from include.embedding_etl.cli.session import Json, Pipeline, console, errors, new_run_id, opened, progress, show
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.verification import Verification

collections_app = typer.Typer(no_args_is_help=True, help="Physical collections: what there is, and dropping it.")
Lane = Annotated[str, typer.Argument(help="A lane of that pipeline")]
Grace = Annotated[float, typer.Option(min=0, help="Hours that the collection nobody uses any more stays")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Switch without asking, if the candidate is verified")]


def reindex(
    pipeline: Pipeline,
    lane: Lane,
    rebuild: Annotated[str, typer.Option(help="vectors: settings of the YAML; index: same vectors")] = "vectors",
    index: Annotated[str, typer.Option(help='JSON, such as {"type": "FLAT"}; left out: that of the YAML')] = "",
    min_recall: Annotated[float, typer.Option(min=0, max=1, help="Least recall@10 of the new index")] = 0.95,
    sample: Annotated[int, typer.Option(min=1, help="Queries that the recall is measured with")] = 200,
    grace_hours: Grace = 24,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Another model, chunker or index for a lane, without downtime. Exit code 1 if it was not cut over."""
    values = {
        "lane": lane,
        "rebuild": rebuild,
        "index": _parse_index(index),
        "min_recall": min_recall,
        "sample": sample,
        "grace_hours": grace_hours,
        "approval": not yes,
    }
    _run(pipeline, values, as_json)


def rollback(
    pipeline: Pipeline,
    lane: Lane,
    to: Annotated[str, typer.Option(help="Real name of the earlier collection; left out: the one before")] = "",
    grace_hours: Grace = 24,
    as_json: Json = False,
) -> None:
    """Back to an earlier collection: brought up to date with its own model, then the alias is switched."""
    from include.embedding_etl.reindex_request import PREVIOUS

    values = {"lane": lane, "earlier": to or PREVIOUS, "approval": False, "min_recall": 0, "grace_hours": grace_hours}
    _run(pipeline, values, as_json)


@collections_app.command("list")
def list_collections(pipeline: Pipeline, as_json: Json = False) -> None:
    """Live, candidate and retired collections, with what the ledger verified in them."""
    with opened(pipeline) as runtime:
        ledger = runtime.ledger
        listed = [
            {
                "name": record.name,
                "lane": record.lane,
                "state": record.state,
                "fingerprint": record.fingerprint,
                "rows": ledger.entries.totals(record.name).rows,
                "created_at_ms": record.created_at_ms,
                "drop_after_ms": record.drop_after_ms,
            }
            for record in ledger.collections.of_pipeline(pipeline)
        ]
    show({"collections": listed}, as_json, lambda: tables.show_collections(console, listed))


@collections_app.command("drop")
def drop(pipeline: Pipeline, name: Annotated[str, typer.Argument(help="Its real name, never an alias")]) -> None:
    """Drop a candidate or a retired collection. A live one is refused."""
    from include.embedding_etl.drop_collection import drop_collection

    with opened(pipeline) as runtime:
        drop_collection(runtime, name, new_run_id())
    console.print(f"{name} is dropped.", markup=False, highlight=False)


def _run(pipeline: str, values: dict[str, Any], as_json: bool) -> None:
    from include.embedding_etl.reindex import reindex as run_reindex
    from include.embedding_etl.reindex_plan import plan_reindex
    from include.embedding_etl.reindex_request import ReindexRequest

    with opened(pipeline) as runtime:
        request = ReindexRequest.parse(runtime.pipeline, values)
        for line in plan_reindex(runtime, request)[0]:
            errors.print(line, markup=False, highlight=False)
        with progress() as tell:
            result = run_reindex(runtime, new_run_id(), request, _approve, tell)
    show(result.to_json(), as_json, lambda: tables.show_reindex(console, result))
    raise typer.Exit(0 if result.cut_over else 1)


def _approve(verification: Verification) -> bool:
    """Ask at the terminal; where there is nobody to ask, nothing is switched."""
    tables.show_verification(errors, verification)
    if not sys.stdin.isatty():
        errors.print("Nobody is here to approve it: run it on a terminal, or with --yes.")
        return False
    return typer.confirm("Let readers see the new collection?", err=True)


def _parse_index(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError as error:
        raise ConfigError(f"--index: not JSON: {error}") from error
