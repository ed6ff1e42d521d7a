"""How the commands of `etl` look to people. Keys and texts come from strangers: no markup, no terminal codes.

One function a table, each short: a module for each would only scatter what has to look alike.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from include.embedding_etl.status.advice import advice_for
from include.embedding_etl.types import Hit, JsonValue
from include.embedding_etl.wording import counted

if TYPE_CHECKING:
    from include.embedding_etl.audit import Audit
    from include.embedding_etl.dead_letters import Replay, ReplayOutcome
    from include.embedding_etl.ledger.records import DeadLetter
    from include.embedding_etl.model_list import ListedModel
    from include.embedding_etl.plan import Plan
    from include.embedding_etl.reindex import ReindexResult
    from include.embedding_etl.stages.report import Report
    from include.embedding_etl.status.agreement import Status
    from include.embedding_etl.verification import Verification


def plain(value: object, width: int = 0) -> Text:
    """A cell without markup and control characters."""
    cleaned = "".join(letter if letter.isprintable() else "·" for letter in " ".join(str(value).split(" ")))
    return Text(cleaned if not width or len(cleaned) <= width else cleaned[: width - 1] + "…")


def _table(title: str | Text, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        name, left = column.lstrip("<"), column.startswith("<")
        # Numbers keep their width; words give way and take more lines.
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table


def show_report(console: Console, report: "Report") -> None:
    """The table at the end of a run."""
    table = _table(
        _headline(f"{report.pipeline}: {counted(report.listed, 'object')} in storage", report.prefix),
        "<lane", "objects", "indexed", "rows", "embedded", "chunks", "calls", "reused", "dead", "seconds",
    )  # fmt: skip
    for lane, figures in report.lanes.items():
        run = figures.figures
        table.add_row(
            plain(lane), str(figures.objects), str(figures.indexed), str(figures.rows_milvus),
            str(run.get("embedded", 0)), str(run.get("chunks", 0)), str(run.get("model_calls", 0)),
            str(run.get("reused", 0)), str(figures.dead_letters), f"{figures.seconds:.1f}",
        )  # fmt: skip
    console.print(table)
    show_left_out(console, report.unrouted, report.skipped)
    for lane, figures in report.lanes.items():
        if figures.dismissed:
            console.print(plain(f"{lane}: {figures.dismissed} dismissed dead letters are not counted"))
        show_difference(console, lane, figures.differs)
    if report.green:
        console.print("Green: storage, ledger and Milvus agree.", style="green")
        if report.prefix:
            console.print(plain(f"A partial run: only keys below {report.prefix!r}. It says nothing about others."))
    for problem in report.problems:
        console.print(Text("Red: ", style="red bold") + plain(problem))


def _headline(text: str, prefix: str) -> Text:
    return plain(f"{text}, only keys below {prefix!r}" if prefix else text)


def show_left_out(console: Console, unrouted: dict[str, int], skipped: dict[str, int]) -> None:
    """Objects that no lane processes, with the reason."""
    if unrouted:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(unrouted.items()))
        console.print(plain(f"Accepted by no lane: {kinds}"))
    if skipped:
        console.print(plain("Skipped: " + ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))))


def show_difference(console: Console, lane: str, differs: Sequence[str]) -> None:
    """Configuration that waits for a reindex."""
    if differs:
        console.print(plain(f"{lane}: configuration differs from live ({', '.join(differs)}): reindex to apply"))


def show_plan(console: Console, plan: "Plan") -> None:
    """What a run would do."""
    table = _table(
        _headline(f"{plan.pipeline}: a run would, for {counted(plan.objects, 'object')} in storage", plan.prefix),
        "<lane", "new", "changed", "renamed", "deleted", "reusable", "dead", "deferred", "unchanged",
    )  # fmt: skip
    for lane, figures in plan.lanes.items():
        table.add_row(
            plain(lane), str(figures.new), str(figures.changed), str(figures.renamed), str(figures.deleted),
            str(figures.reusable), str(figures.dead_lettered), str(figures.deferred), str(figures.unchanged),
        )  # fmt: skip
    console.print(table)
    show_left_out(console, {}, plan.skipped)
    for lane, figures in plan.lanes.items():
        show_difference(console, lane, figures.differs)
    console.print("Nothing was changed.")


def show_status(console: Console, status: "Status") -> None:
    """Ledger and Milvus, side by side."""
    table = _table(
        f"{status.pipeline}: ledger and Milvus", "<lane", "objects", "ledger rows", "Milvus rows", "dead",
        "<model",
    )  # fmt: skip
    for lane, figures in status.lanes.items():
        table.add_row(
            plain(lane), str(figures.objects), str(figures.rows_ledger), str(figures.rows_milvus),
            str(sum(figures.dead_letters.values())), plain(figures.model_id),
        )  # fmt: skip
    console.print(table)
    show_left_out(console, {}, status.skipped)
    for lane, figures in status.lanes.items():
        if figures.collection:
            console.print(plain(f"{figures.alias} → {figures.collection}, {figures.dimension} × {figures.index}"))
        show_difference(console, lane, figures.differs)
        if figures.problem:
            console.print(Text(f"{lane}: ", style="red bold") + plain(figures.problem))
    if status.last_run is not None:
        partial = ", of a part of the source" if status.last_run.kind == "backfill" else ""
        console.print(plain(f"Last run: {status.last_run.run_id}, {status.last_run.outcome}{partial}"))


def show_hits(console: Console, lane: str, hits: Sequence[Hit]) -> None:
    """Search results, nearest first."""
    table = _table(f"{counted(len(hits), 'hit')} in lane {lane}", "<object", "score", "place", "<media type", "<text")
    for hit in hits:
        fields = hit.fields
        place = f"{fields['start']}–{fields['end']}" if fields["end"] else ""
        table.add_row(
            plain(fields["object_key"], 36),
            f"{hit.score:.3f}",
            place,
            plain(fields["media_type"]),
            plain(fields["text"], 60),
        )
    console.print(table)


def show_models(console: Console, models: Sequence["ListedModel"]) -> None:
    """Each lane's model."""
    table = _table("Models", "<lane", "<model", "dimension", "<pretrained", "<sha256", "<weights from")
    for model in models:
        here = not model.missing
        table.add_row(
            plain(f"{model.pipeline}.{model.lane}"),
            plain(model.model_id),
            str(model.dimension) if here else "?",
            ("yes" if model.pretrained else "demo") if here else "?",
            plain(model.weights_hash[:12] if here else "not here"),
            plain(model.origin),
        )
    console.print(table)
    for model in models:
        if model.missing:
            console.print(plain(f"{model.pipeline}.{model.lane}: {model.missing}"))


def show_verification(console: Console, verification: "Verification") -> None:
    """What readers find now, and what they would find."""
    overlap = "nothing to compare with" if verification.overlap is None else f"{verification.overlap:.0%} the same"
    console.print(
        f"{counted(verification.rows, 'row')}, recall@10 {verification.recall:.3f} over "
        f"{counted(verification.queries, 'query', 'queries')}, "
        f"{counted(verification.dead_letters, 'dead letter')}; neighbours: {overlap}"
    )
    table = _table("Sample searches", "<near", "<before", "<after")
    for sample in verification.samples:
        table.add_row(plain(sample.object_key, 40), _lines(sample.before[:5]), _lines(sample.after[:5]))
    console.print(table)
    for question in verification.questions:
        console.print(Text("Mind: ", style="yellow bold") + plain(question))


def show_reindex(console: Console, result: "ReindexResult") -> None:
    """What came of a reindex."""
    if result.cut_over:
        console.print(plain(f"Readers of {result.pipeline}_{result.lane} see {result.candidate} now."), style="green")
        console.print(plain(f"{result.replaces} stays for a while: `etl rollback {result.pipeline} {result.lane}`"))
        return
    console.print(Text("Not cut over: ", style="red bold") + plain(result.problem))
    console.print(plain(f"Readers of {result.pipeline}_{result.lane} still see {result.replaces}."))


def show_collections(console: Console, collections: Sequence[Mapping[str, JsonValue]]) -> None:
    """Physical collections of a pipeline."""
    table = _table("Collections", "<name", "<lane", "<state", "rows", "<created", "<dropped after")
    for each in collections:
        table.add_row(
            plain(each["name"]),
            plain(each["lane"]),
            plain(each["state"]),
            str(each["rows"]),
            plain(_moment(each["created_at_ms"])),
            plain(_moment(each["drop_after_ms"])),
        )
    console.print(table)


def _moment(epoch_ms: JsonValue) -> str:
    if not isinstance(epoch_ms, int):
        return "stays"
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _lines(keys: Sequence[str]) -> Text:
    return Text("\n").join(plain(key, 40) for key in keys or ["nothing"])


def show_letters(console: Console, pipeline: str, letters: Sequence["DeadLetter"], limit: int) -> None:
    """Dead letters, the newest first."""
    table = _table(f"{pipeline}: dead letters", "id", "<lane", "<class", "<object", "tries", "<last time", "<message")
    for letter in letters[:limit]:
        table.add_row(
            str(letter.id),
            plain(letter.lane),
            plain(letter.error_class),
            plain(letter.key, 48),
            str(letter.attempts),
            plain(_moment(letter.last_at_ms)),
            plain(letter.message, 80),
        )
    console.print(table)
    if not letters:
        console.print("There are none.")
    if len(letters) > limit:
        console.print(f"There are more than these {limit}: --limit shows them.", highlight=False)


def show_letter(console: Console, letter: "DeadLetter") -> None:
    """One dead letter, a line for each fact."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts = [
        ("object", letter.key),
        ("version", letter.version),
        ("lane", letter.lane),
        ("state", letter.state if letter.attempts else f"{letter.state}, due"),
        ("stage", letter.stage),
        ("class", letter.error_class),
        ("message", letter.message),
        ("what to do", advice_for(letter.error_class).what_to_do),
        ("tries", letter.attempts),
        ("first time", _moment(letter.first_at_ms)),
        ("last time", _moment(letter.last_at_ms)),
        ("run", letter.run_id),
        ("task", letter.task),
        ("fingerprint", letter.fingerprint),
    ]
    if letter.state == "dismissed":
        facts += [("dismissed by", letter.dismissed_by or ""), ("because", letter.dismiss_reason or "")]
    for name, fact in facts:
        table.add_row(Text(name, style="bold"), plain(fact))
    console.print(table)


def show_replay(console: Console, chosen: "Replay", report: "Report | None", outcome: "ReplayOutcome | None") -> None:
    """What replayed letters came to."""
    if not chosen.due:
        console.print("Nothing to replay: no open dead letter is like that.")
    elif report is None or outcome is None:
        due = counted(chosen.due, "dead letter is due", "dead letters are due")
        console.print(f"{due}: the next run tries them.", highlight=False)
    else:
        show_report(console, report)
        console.print(
            f"Of {chosen.due} dead letters {outcome.healed} are healed, {outcome.failed_again} failed again, "
            f"{outcome.waiting} were not tried.",
            highlight=False,
        )
        for letter in outcome.examples:
            console.print(plain(f"{letter.id} {letter.lane} {letter.key}: {letter.error_class}: {letter.message}"))


def show_audit(console: Console, audit: "Audit", lists: Mapping[str, Sequence[str]] | None = None) -> None:
    """What differs, and what `--repair` would do about it.

    Args:
        lists: What was done, and what is due, as lines under a heading.
    """
    for heading, lines in (lists or {}).items():
        for line in lines:
            console.print(Text(f"{heading}: ", style="bold") + plain(line))
    compared = ", ".join(f"{count} {what}" for what, count in audit.compared.items())
    console.print(plain(f"{audit.pipeline}: compared {compared}"))
    if audit.clean:
        console.print("Clean: storage, ledger and Milvus agree.", style="green")
        return
    table = _table("What differs", "<lane", "<kind", "count", "<for example", "<--repair")
    for finding in audit.findings:
        examples = Text("\n").join(plain(sample, 60) for sample in finding.samples)
        table.add_row(
            plain(finding.lane or "all"), plain(finding.kind), str(finding.count), examples, plain(finding.mending)
        )
    console.print(table)
    faults = counted(audit.faults, "fault")
    console.print(Text(f"{faults}, {audit.pending} pending", style="red" if audit.faults else "yellow"))
