"""What people are told: of a run that failed, of a freshness that misses its target, and once a day of everything."""

import html
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from include.embedding_etl.lane_collection import live_fingerprints
from include.embedding_etl.ledger.records import RunRecord
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.measurements import states
from include.embedding_etl.status.overview_queries import LaneView, read_agreement, read_lanes, read_pipeline
from include.embedding_etl.status.site import duration, moment
from include.embedding_etl.wording import counted

DAY_MS = 86_400_000
COUNTED = ("embedded", "reused", "dead_letters", "deferred")
CHANGES = ("new", "changed", "vanished")


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, as plain text; mail gets it as HTML."""

    subject: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """For chats and webhooks."""
        return "\n".join(self.lines)

    @property
    def html(self) -> str:
        """For mail; everything is escaped."""
        return f"<pre>{html.escape(self.text)}</pre>"


def failure_notice(runtime: Runtime, dag_id: str, run_id: str, links: Sequence[str]) -> Notice:
    """One run has failed: what it did, and what cannot be processed, by class.

    Args:
        run_id: As the ledger knows it.
        links: One line each, for going there.
    """
    name = runtime.pipeline.name
    run = runtime.ledger.runs.get(run_id)
    lines = [f"{dag_id} has failed: pipeline {name}, run {run_id}."]
    if run is not None:
        did = _added([run], COUNTED)
        lines.append(
            f"It embedded {did['embedded']} objects, reused the vectors of {did['reused']}, could not process "
            f"{did['dead_letters']}, and left {did['deferred']} to the next run."
        )
    else:
        lines.append("It failed before it began to work.")
    return Notice(f"{name}: {dag_id} has failed", (*lines, *_letters(runtime), *links))


def freshness_problem(runtime: Runtime) -> str:
    """Why the pipeline misses its freshness target; "" = it does not, or has none.

    A run that cannot list its source learns of no new object: so a last green run that is too old is a miss too.
    """
    target_h = runtime.pipeline.freshness_target_h
    if target_h is None:
        return ""
    late = [view for view in read_lanes(runtime) if (view.waiting_s or 0.0) > target_h * 3600]
    if late:
        return "; ".join(
            f"lane {view.lane}: an object has been waiting for {duration(view.waiting_s)}" for view in late
        )
    ended_at_ms = runtime.ledger.runs.last_success_ms(runtime.pipeline.name)
    if ended_at_ms is None:
        return "no ingestion has been green yet"
    age_s = time.time() - ended_at_ms / 1000
    return f"the last green ingestion ended {duration(age_s)} ago" if age_s > target_h * 3600 else ""


def freshness_notice(runtime: Runtime, problem: str, links: Sequence[str]) -> Notice:
    """The pipeline misses its target."""
    name, target_h = runtime.pipeline.name, runtime.pipeline.freshness_target_h
    lines = (f"Pipeline {name} misses its freshness target of {target_h:g} h: {problem}.", *_letters(runtime), *links)
    return Notice(f"{name}: freshness target missed", lines)


def digest_notice(runtime: Runtime, links: Sequence[str]) -> Notice:
    """The last 24 hours of one pipeline, and how it stands."""
    name = runtime.pipeline.name
    overview, runs = read_pipeline(runtime), runtime.ledger.runs.since(name, int(time.time() * 1000) - DAY_MS)
    did, ended = _added(runs, (*CHANGES, *COUNTED)), Counter(run.state for run in runs)
    partial = sum(run.kind == "backfill" for run in runs)
    lines = [
        f"Pipeline {name}: {counted(overview.objects, 'object')} in {runtime.pipeline.source.uri}, "
        f"{overview.unrouted_objects:,} of them accepted by no lane.",
        f"Last 24 hours: runs: {ended['succeeded']} green, {ended['failed']} red"
        + (f", {partial} of them of a part of the source" if partial else "")
        + f"; objects: {did['new']:,} new, "
        f"{did['changed']:,} changed, {did['vanished']:,} gone, {did['dead_letters']:,} failed; "
        f"{did['embedded']:,} embedded, {did['reused']:,} reused.",
    ]
    lines += [_lane(view) for view in read_lanes(runtime)]
    agreements = read_agreement(runtime)
    lines += [
        f"Lane {one.lane}: storage, ledger and Milvus: {one.sign}" + (f": {one.reason}" if one.reason else ".")
        for one in agreements
    ]
    audits = runtime.ledger.audits.last(name, 1)
    lines += [f"Last audit: {moment(one.at_ms)}, {counted(one.faults, 'fault')}." for one in audits]
    lines += [] if audits else ["No audit yet."]
    problem = freshness_problem(runtime)
    if runtime.pipeline.freshness_target_h is not None:
        target = f"Freshness target {runtime.pipeline.freshness_target_h:g} h: "
        lines.append(target + (f"missed: {problem}." if problem else "met."))
    wrong = [
        *(["freshness target missed"] if problem else []),
        *(["does not agree"] if any(one.sign == "does not agree" for one in agreements) else []),
        *([counted(ended["failed"], "red run")] if ended["failed"] else []),
    ]
    subject = f"{name}: daily digest: {', '.join(wrong) or 'all is well'}"
    return Notice(subject, (*lines, *_letters(runtime), *links))


def _lane(view: LaneView) -> str:
    if view.figures is None:
        return f"Lane {view.lane}: {counted(view.routed, 'object')}, nothing indexed yet."
    by_state = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in states(view.figures).items())
    waiting = f"; the oldest has been waiting for {duration(view.waiting_s)}" if view.waiting_s else ""
    return f"Lane {view.lane}: {by_state}; {counted(view.figures.rows, 'row')}{waiting}."


def _letters(runtime: Runtime) -> list[str]:
    counts = runtime.ledger.dead_letters.counts(runtime.pipeline.name, live_fingerprints(runtime))
    return [
        f"Dead letters of lane {lane}: " + ", ".join(f"{count:,} {name}" for name, count in classes.items())
        for lane, classes in counts.items()
    ] or ["Dead letters: none."]


def _added(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, int]:
    stages = [each.counts for run in runs for each in run.stages]
    return {name: sum(counts.get(name, 0) for counts in stages) for name in names}
