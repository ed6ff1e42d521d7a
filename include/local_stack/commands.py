"""The commands of a stack: up, down, status, demo, env. The Makefile calls them."""

import sys
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.wording import counted
from include.local_stack.stack import Stack, left_running, stack_status, start_stack, stop_stack, wait_until_healthy


def run_command(title: str, make_stack: Callable[[], Stack]) -> None:
    """Run the command that the arguments name; an error that we raise on purpose is one message, not a traceback."""
    try:
        _commands(title, make_stack)()
    except EmbeddingEtlError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _commands(title: str, make_stack: Callable[[], Stack]) -> typer.Typer:
    app = typer.Typer(help=title, no_args_is_help=True)
    console = Console()

    @app.command()
    def up() -> None:
        """Start what is not running, and wait until all of it answers."""
        stack = make_stack()
        started = start_stack(stack, console.print)
        wait_until_healthy(stack, console.print)
        console.print(f"started: {', '.join(started)}" if started else "everything was running already")

    @app.command()
    def down() -> None:
        """Stop everything. Data, logs and passwords are kept."""
        stack = make_stack()
        ended = stop_stack(stack)
        still_there = left_running(stack)
        if still_there:
            console.print(f"still running: {still_there}", style="red")
            raise typer.Exit(1)
        console.print(f"stopped {counted(len(ended), 'process', 'processes')}" if ended else "nothing was running")

    @app.command()
    def status() -> None:
        """Say what runs, where, and where its log is. Exit code 1 if something does not run."""
        entries = stack_status(make_stack())
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

        if not run_demo(make_stack(), console):
            raise typer.Exit(1)

    @app.command()
    def env() -> None:
        """Print addresses and keys as shell exports: eval "$(python -m include.local_stack env)"."""
        for key, value in make_stack().configuration.demo.items():
            sys.stdout.write(f"export {key}='{value}'\n")

    return app
