"""`python -m include.local_stack`: up, down, status, demo, env. The Makefile calls it."""

import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from include.embedding_etl.errors import EmbeddingEtlError
from include.local_stack.configuration import configure
from include.local_stack.stack import left_running, stack_status, start_stack, stop_stack, wait_until_healthy

app = typer.Typer(help="The embedded stack: S3, Milvus and Airflow on this machine.", no_args_is_help=True)
console = Console()


@app.command()
def up() -> None:
    """Start what is not running, and wait until all of it answers."""
    configuration = configure()
    started = start_stack(configuration, console.print)
    wait_until_healthy(configuration, console.print)
    console.print(f"started: {', '.join(started)}" if started else "everything was running already")


@app.command()
def down() -> None:
    """Stop everything. Data, logs and passwords are kept."""
    configuration = configure()
    ended = stop_stack(configuration)
    still_there = left_running(configuration)
    if still_there:
        console.print(f"still running: {still_there}", style="red")
        raise typer.Exit(1)
    console.print(f"stopped {len(ended)} processes" if ended else "nothing was running")


@app.command()
def status() -> None:
    """Say what runs, where, and where its log is. Exit code 1 if something does not run."""
    entries = stack_status(configure())
    table = Table("component", "pid", "port", "health", "log", box=None)
    for entry in entries:
        health = "healthy" if entry.healthy else "starting or ill" if entry.pid else "stopped"
        # Of SeaweedFS's eight ports only the first is for users.
        port = str(entry.ports[0]) if entry.ports else "-"
        log = entry.log.relative_to(Path.cwd()) if entry.log.is_relative_to(Path.cwd()) else entry.log
        table.add_row(entry.name, str(entry.pid or "-"), port, health, str(log))
    console.print(table)
    if not all(entry.healthy for entry in entries):
        raise typer.Exit(1)


@app.command()
def demo() -> None:
    """Ingest the sample corpus through Airflow and show what came of it. Exit code 0 only if all of it agrees."""
    from include.local_stack.demo import run_demo

    if not run_demo(configure(), console):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print the lines of demo.env as shell exports: eval "$(python -m include.local_stack env)"."""
    for key, value in configure().demo.items():
        sys.stdout.write(f"export {key}='{value}'\n")


def main() -> None:
    """Run a command; an error that we raise on purpose is one message, not a traceback."""
    try:
        app()
    except EmbeddingEtlError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
