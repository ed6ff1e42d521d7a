"""The DAG `replay_dead_letters`: what could not be processed is tried again, as its form says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.steps.task_context import Summary, open_runtime, param, run_id, task_context
from include.embedding_etl.wording import counted

if TYPE_CHECKING:
    from include.embedding_etl.dead_letters import ReplayOutcome
    from include.embedding_etl.runtime import Runtime

ALL_LANES = "all lanes"


def choose(pipeline: str) -> Summary:
    """Short circuit: make the chosen letters due. Where there are none, the run ends here.

    Raises:
        ConfigError: the pipeline has no such lane, or `since` is no time.
    """
    from include.embedding_etl.dead_letters import LetterChoice, parse_since, replay

    lane = param("lane")
    choice = LetterChoice(
        lane="" if lane == ALL_LANES else lane,
        error_class=param("error_class") or "",
        key_glob=param("key_glob") or "",
        since_ms=parse_since(param("since") or ""),
        ids=tuple(param("ids") or ()),
    )
    with open_runtime(pipeline) as runtime:
        chosen = replay(runtime, run_id(), choice)
        if not chosen.due:
            _tell(f"Nothing to replay: no open dead letter is like that. There are: {_open_letters(runtime)}")
            return {}
    due = counted(chosen.due, "dead letter is due", "dead letters are due")
    _tell(f"{due}. The next task starts ingest__{pipeline}, which tries what is due.")
    return {"letters": chosen.due, "file": chosen.path}


def report(pipeline: str) -> Summary:
    """Say what became of the chosen letters.

    A letter that failed again does not make the run red: that it still cannot be processed is the answer to the
    question, and whether there are too many of them the ingestion has judged.

    Raises:
        IntegrityError: the ingestion is red, or has not tried all of them. They stay due.
    """
    from include.embedding_etl.dead_letters import replay_outcome

    ti = task_context()["ti"]
    chosen, ingestion = ti.xcom_pull(task_ids="choose"), ti.xcom_pull(task_ids="ingest", key="trigger_run_id")
    if not chosen:
        raise IntegrityError("No letters were chosen: the log of `choose` says why")
    with open_runtime(pipeline) as runtime:
        outcome = replay_outcome(runtime, chosen["file"])
    _tell(_describe(outcome, chosen["letters"]))
    dag_id = f"ingest__{pipeline}"
    if not ingestion:
        raise IntegrityError(f"{dag_id} was not started: is it paused? The letters stay due; its next run tries them.")
    if ti.get_dagrun_state(dag_id, ingestion) != "success" or outcome.waiting:
        raise IntegrityError(
            f"The ingestion is red or not done: {dag_id}, run {ingestion}. {outcome.waiting} of {chosen['letters']} "
            f"letters were not tried; they stay due, and the next run of {dag_id} tries them."
        )
    return {"healed": outcome.healed, "failed_again": outcome.failed_again, "ingestion": ingestion}


def _describe(outcome: ReplayOutcome, letters: int) -> str:
    lines = [
        f"Of {letters} dead letters {outcome.healed} are healed, {outcome.failed_again} failed again, "
        f"{outcome.waiting} were not tried."
    ]
    lines += [f"  {one.id} {one.lane} {one.key!r}: {one.error_class}: {one.message}" for one in outcome.examples]
    if outcome.failed_again > len(outcome.examples):
        lines.append(f"  … and {outcome.failed_again - len(outcome.examples)} more")
    return "\n".join(lines)


def _open_letters(runtime: Runtime) -> str:
    from include.embedding_etl.lane_collection import live_fingerprints

    counts = runtime.ledger.dead_letters.counts(runtime.pipeline.name, live_fingerprints(runtime))
    classes = (
        f"{lane}: {count} {error_class}" for lane, found in counts.items() for error_class, count in found.items()
    )
    return ", ".join(classes) or "none"


def _tell(line: str) -> None:
    print(line)  # noqa: T201 - the task's log is where people look
