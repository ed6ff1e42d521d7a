"""The commands of `etl`. Each prints a table for people, or one JSON document with --json. Exit code 1: not done."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from include.embedding_etl.cli import audit as audit_command
from include.embedding_etl.cli import reindex as reindex_commands
from include.embedding_etl.cli import tables
from include.embedding_etl.cli.dead_letters import dead_letters_app
from include.embedding_etl.cli.session import Json, Pipeline, console, new_run_id, opened, plain_errors, progress, show
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.places import Places

Prefix = Annotated[str, typer.Option(help="Only objects whose keys begin so, as the pages show keys: docs/2024/")]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
models_app = typer.Typer(no_args_is_help=False, help="List each lane's model, or fetch full-size ones from the hub.")
ledger_app = typer.Typer(no_args_is_help=True, help="The ledger's schema.")
app.add_typer(models_app, name="models")
app.add_typer(ledger_app, name="ledger")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(reindex_commands.collections_app, name="collections")
app.command()(reindex_commands.reindex)
app.command()(reindex_commands.rollback)
app.command()(audit_command.audit)


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each stage to stderr")] = False) -> None:
    """The same stages and questions as in Airflow, from a terminal."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # stdout is for the answer
    )


@app.command()
def run(
    pipeline: Pipeline,
    rewrite: Annotated[
        list[str] | None, typer.Option(help="Lane whose rows are all written again, from stored vectors; repeatable")
    ] = None,
    approve_deletes: Annotated[int, typer.Option(min=0, help="Up to how many objects may vanish at once")] = 0,
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Converge the pipeline here and now, without Airflow. Exit code 1 if the run is red."""
    from include.embedding_etl.converge import Request, converge

    with opened(pipeline) as runtime:
        unknown = sorted(set(rewrite or ()) - set(runtime.pipeline.lanes))
        if unknown:
            known = ", ".join(runtime.pipeline.lanes)
            raise ConfigError(f"--rewrite: {pipeline} has no lane {unknown[0]!r}; it has: {known}")
        with progress() as tell:
            request = Request(frozenset(rewrite or ()), approve_deletes, prefix)
            result = converge(runtime, new_run_id(), request, tell)
    show(result.to_json(), as_json, lambda: tables.show_report(console, result))
    raise typer.Exit(0 if result.green else 1)


@app.command()
def plan(pipeline: Pipeline, prefix: Prefix = "", as_json: Json = False) -> None:
    """What a run would do. Lists the source and looks at what is new; writes nothing anywhere."""
    from include.embedding_etl.plan import plan as make_plan
    from include.embedding_etl.plan import without_new_ledger

    with without_new_ledger(Places()) as places, opened(pipeline, places) as runtime:
        result = make_plan(runtime, prefix)
    show(result.to_json(), as_json, lambda: tables.show_plan(console, result))


@app.command()
def status(pipeline: Pipeline, as_json: Json = False) -> None:
    """Whether ledger and Milvus agree now, and how the last run ended. Exit code 1 if they do not."""
    from include.embedding_etl.status.agreement import status as make_status

    with opened(pipeline) as runtime:
        result = make_status(runtime)
    show(result.to_json(), as_json, lambda: tables.show_status(console, result))
    raise typer.Exit(0 if result.agrees else 1)


@app.command()
def ui(port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 = any free one")] = 8790) -> None:
    """Serve the pages without Airflow, to this machine only. Prints the link."""
    from include.embedding_etl.status.alone import serve

    with plain_errors():
        serve(Places(), port, lambda link: console.print(link, markup=False, highlight=False))


@app.command()
def search(
    pipeline: Pipeline,
    text: Annotated[str, typer.Option(help="A sentence")] = "",
    image: Annotated[Path | None, typer.Option(help="A picture on this machine")] = None,
    audio: Annotated[Path | None, typer.Option(help="A sound on this machine")] = None,
    video: Annotated[Path | None, typer.Option(help="A film on this machine")] = None,
    lane: Annotated[str, typer.Option(help="Lane to search; left out: the first that reads this kind of query")] = "",
    where: Annotated[str, typer.Option("--filter", help="Such as: media_type=image/png, meta.author=Ann")] = "",
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many hits")] = 10,
    as_json: Json = False,
) -> None:
    """Search a lane by a sentence, a picture, a sound or a film."""
    from include.embedding_etl.search import Query, lanes_that_read, query_modality
    from include.embedding_etl.search import search as find
    from include.embedding_etl.vectorstore.filters import parse_filter

    with opened(pipeline) as runtime:
        given = [file for file in (image, audio, video) if file is not None]
        if len(given) + bool(text) != 1:
            raise ConfigError("search: give exactly one of --text, --image, --audio, --video")
        lanes = [lane] if lane else lanes_that_read(runtime, query_modality(given[0]) if given else "text")
        if not lanes:
            raise ConfigError(
                f"no lane that reads this kind of query has anything indexed; run `etl run {pipeline}` first"
            )
        query = Query(text, given[0] if given else None, parse_filter(where) if where else "", top)
        hits = find(runtime, lanes[0], query)
    document = {
        "pipeline": pipeline,
        "lane": lanes[0],
        "hits": [{"score": hit.score, "id": hit.id, **hit.fields} for hit in hits],
    }
    show(document, as_json, lambda: tables.show_hits(console, lanes[0], hits))


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    pipeline: Annotated[str, typer.Option(help="Only this pipeline")] = "",
    as_json: Json = False,
) -> None:
    """Each lane's model: where its weights come from, hash, dimension, whether pretrained."""
    if context.invoked_subcommand is not None:
        return
    from include.embedding_etl.model_list import list_models

    with plain_errors():
        listed = list_models(Places(), pipeline)
    show({"models": [item.to_json() for item in listed]}, as_json, lambda: tables.show_models(console, listed))


@models_app.command()
def pull(pipeline: Pipeline) -> None:
    """Fetch the pipeline's full-size models from the hub, by pinned revision."""
    from include.embedding_etl.embed.models import pull_model

    with opened(pipeline) as runtime:
        for lane, settings in runtime.pipeline.lanes.items():
            if settings.model.weights == "hub":
                path = pull_model(settings.model, runtime.places.models_dir)
                console.print(f"{lane}: {settings.model.id} is in {path}", markup=False)
            else:
                console.print(f"{lane}: {settings.model.id} comes from {settings.model.weights}", markup=False)


@ledger_app.command()
def upgrade() -> None:
    """Create the ledger, or bring its schema up to date."""
    from include.embedding_etl.ledger import migrate

    with plain_errors():
        migrate(Places().ledger_url.get_secret_value())
    console.print("The ledger is up to date.")
