"""`etl dead-letters`: objects that could not be processed."""

import getpass
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from include.embedding_etl.cli import tables
from include.embedding_etl.cli.session import Json, Pipeline, console, new_run_id, opened, progress, show
from include.embedding_etl.dead_letters import LetterChoice, get_letter, list_letters, parse_since, replay_outcome
from include.embedding_etl.dead_letters import dismiss as dismiss_letters
from include.embedding_etl.dead_letters import replay as replay_letters
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.wording import counted

dead_letters_app = typer.Typer(no_args_is_help=True, help="Objects that could not be processed: list, retry, dismiss.")
Lane = Annotated[str, typer.Option(help="Only this lane")]
ErrorClass = Annotated[str, typer.Option(help="Only this class, such as EncryptedPdf")]
KeyGlob = Annotated[str, typer.Option("--key", help="Only keys that match: 'scans/**', '*.pdf'; quote it")]
Since = Annotated[str, typer.Option(help="Only those that failed then or later: 2026-11-22, 2026-11-22T08:30+01:00")]
Ids = Annotated[list[int] | None, typer.Option("--id", help="Only this letter; repeatable")]


@dead_letters_app.command("list")
def list_(
    pipeline: Pipeline,
    lane: Lane = "",
    error_class: ErrorClass = "",
    key: KeyGlob = "",
    since: Since = "",
    state: Annotated[
        Literal["open", "dismissed", "resolved", "all"], typer.Option(help="resolved and all: history too")
    ] = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first")] = 100,
    as_json: Json = False,
) -> None:
    """What could not be processed, and why."""
    with opened(pipeline) as runtime:
        choice = LetterChoice(lane, error_class, key, parse_since(since), state=state)
        letters = list_letters(runtime, choice, limit + 1)
    document = {"letters": [_document(letter) for letter in letters[:limit]], "more": len(letters) > limit}
    show(document, as_json, lambda: tables.show_letters(console, pipeline, letters, limit))


@dead_letters_app.command("show")
def show_letter(
    pipeline: Pipeline,
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="From `etl dead-letters list`")],
    as_json: Json = False,
) -> None:
    """All that is known about one letter."""
    with opened(pipeline) as runtime:
        letter = get_letter(runtime, letter_id)
    show(_document(letter), as_json, lambda: tables.show_letter(console, letter))


@dead_letters_app.command()
def replay(
    pipeline: Pipeline,
    lane: Lane = "",
    error_class: ErrorClass = "",
    key: KeyGlob = "",
    since: Since = "",
    ids: Ids = None,
    state: Annotated[Literal["open", "dismissed"], typer.Option(help="Or those that were dismissed")] = "open",
    run: Annotated[bool, typer.Option("--run/--no-run", help="Ingest at once, or leave it to the next run")] = True,
    as_json: Json = False,
) -> None:
    """Try them again, here and now, as `etl run` does. Exit code 1 if that run is red."""
    from include.embedding_etl.converge import converge

    report, outcome, run_id = None, None, new_run_id()
    with opened(pipeline) as runtime:
        choice = LetterChoice(lane, error_class, key, parse_since(since), tuple(ids or ()), state)
        chosen = replay_letters(runtime, run_id, choice)
        if chosen.due and run:
            with progress() as tell:
                report = converge(runtime, run_id, tell=tell)
            outcome = replay_outcome(runtime, chosen.path)
    document: dict[str, Any] = {"due": chosen.due, "outcome": None, "report": None}
    if report is not None and outcome is not None:
        document |= {"outcome": asdict(outcome), "report": report.to_json()}
    show(document, as_json, lambda: tables.show_replay(console, chosen, report, outcome))
    raise typer.Exit(0 if report is None or report.green else 1)


@dead_letters_app.command()
def dismiss(
    pipeline: Pipeline,
    lane: Lane = "",
    error_class: ErrorClass = "",
    key: KeyGlob = "",
    since: Since = "",
    ids: Ids = None,
    reason: Annotated[str, typer.Option(help="Why nobody needs them; kept with the letters")] = "",
    as_json: Json = False,
) -> None:
    """Do without these versions of the objects: not tried and not counted as failures, until they change."""
    with opened(pipeline) as runtime:
        choice = LetterChoice(lane, error_class, key, parse_since(since), tuple(ids or ()))
        dismissed = dismiss_letters(runtime, choice, reason, _user())
    show(
        {"dismissed": dismissed},
        as_json,
        lambda: console.print(
            counted(dismissed, "dead letter is dismissed", "dead letters are dismissed")
            + ". `etl dead-letters replay --state dismissed` takes it back.",
            markup=False,
            highlight=False,
        ),
    )


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {**asdict(letter), "state": letter.state}


def _user() -> str:
    """Who is at the terminal; a container's user need not have a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
