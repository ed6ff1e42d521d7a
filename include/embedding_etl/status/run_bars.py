"""The last runs as small bars: where each one stands in an SVG picture. Numbers only, so that no style is inline."""

from collections.abc import Sequence
from dataclasses import dataclass

from include.embedding_etl.status.overview_queries import RunView
from include.embedding_etl.status.site import duration, moment

PITCH, WIDTH = 14, 10  # px from one run to the next, and of a bar
DURATION_HEIGHT, COUNTS_HEIGHT, GAP = 44, 34, 8
HEIGHT = DURATION_HEIGHT + GAP + COUNTS_HEIGHT
LEAST = 2  # a run of no length is still there


@dataclass(frozen=True, slots=True)
class Piece:
    """One rectangle."""

    kind: str  # of stylesheet and legend
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class RunBar:
    """One run: above how long it took, below how many objects it embedded, reused and could not process."""

    run: RunView
    x: int
    pieces: tuple[Piece, ...]
    words: str  # the same, for those who hear it


def draw_runs(runs: Sequence[RunView]) -> list[RunBar]:
    """Bars from left to right, each scaled by the greatest of its kind."""
    longest = max((run.seconds for run in runs), default=0) or 1
    most = max((run.embedded + run.reused + run.failed for run in runs), default=0) or 1
    return [_bar(run, place * PITCH, longest, most) for place, run in enumerate(runs)]


def _bar(run: RunView, x: int, longest: float, most: int) -> RunBar:
    height = max(LEAST, round(run.seconds / longest * DURATION_HEIGHT, 1))
    pieces = [Piece(run.state, DURATION_HEIGHT - height, height)]
    bottom: float = HEIGHT
    for kind, count in (("embedded", run.embedded), ("reused", run.reused), ("dead", run.failed)):
        if count:
            height = max(LEAST, round(count / most * COUNTS_HEIGHT, 1))
            bottom -= height
            pieces.append(Piece(kind, max(0.0, bottom), height))
    words = (
        f"{run.kind} {run.run_id}, {moment(run.started_at_ms)}: {run.outcome}, {duration(run.seconds)}, "
        f"{run.embedded:,} embedded, {run.reused:,} reused, {run.failed:,} failed"
    )
    return RunBar(run, x, tuple(pieces), words)
