"""What every command of `etl` shares: consoles, the pipeline's parts, one way to show an answer."""

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.threads import limit_threads

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

Pipeline = Annotated[str, typer.Argument(help="Name of a file in include/pipelines, without .yaml")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors become one plain line and exit code 2."""
    try:
        yield
    except EmbeddingEtlError as error:
        errors.print(f"etl: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from error


@contextmanager
def opened(pipeline: str, places: Places | None = None) -> Iterator[Runtime]:
    """The pipeline's parts, with plain errors."""
    with plain_errors():
        places = places or Places()
        limit_threads(places)
        with Runtime(find_pipeline(places.pipelines_dir, pipeline), places, one_process=True) as runtime:
            yield runtime


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Say what is being done, on stderr: one changing line on a terminal, elsewhere a line each."""
    with errors.status("starting") as status:

        def tell(line: str) -> None:
            status.update(line)
            if not errors.is_terminal:
                errors.print(line, markup=False, highlight=False)

        yield tell


def show(document: object, as_json: bool, show_tables: Callable[[], None]) -> None:
    """One answer, for programs or for people."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")
    else:
        show_tables()


def new_run_id() -> str:
    """Of a run that Airflow knows nothing of."""
    return f"cli__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
