"""The table at the end of the demo, read from ledger and Milvus after the run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from include.embedding_etl.cli.tables import show_left_out
from include.embedding_etl.routing import lanes_for
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.agreement import Status, status


@dataclass(slots=True)
class LaneFigures:
    """One lane: what it holds now, and what this run did."""

    objects: int  # routed to the lane: searchable ones and dead letters
    vectors: int  # rows in Milvus
    dead_letters: int
    chunks: int = 0  # embedded by this run
    reused: int = 0
    model_calls: int = 0
    seconds: float = 0.0  # of all its tasks, added up


@dataclass(slots=True)
class DemoFigures:
    """The run in numbers."""

    lanes: dict[str, LaneFigures] = field(default_factory=dict)
    unrouted: dict[str, int] = field(default_factory=dict)  # media type -> objects that no lane accepts
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> objects
    problems: list[str] = field(default_factory=list)

    @property
    def model_calls(self) -> int:
        """Of all lanes."""
        return sum(lane.model_calls for lane in self.lanes.values())


def read_figures(runtime: Runtime, run_ids: Sequence[str]) -> DemoFigures:
    """Ask ledger and Milvus what there is, and the ledger what the runs did.

    Args:
        runtime: The demo pipeline's.
        run_ids: As the ledger spells them; the last one is that which has to be green.
    """
    now = status(runtime)
    unrouted = {kind: n for kind, n in now.media_types.items() if not lanes_for(kind, runtime.pipeline.lanes)}
    figures = DemoFigures(unrouted=unrouted, skipped=now.skipped, problems=_problems(now))
    for name, lane in now.lanes.items():
        dead = sum(lane.dead_letters.values())
        figures.lanes[name] = LaneFigures(lane.objects + dead, lane.rows_milvus or 0, dead)
    runs = [runtime.ledger.runs.get(run_id) for run_id in run_ids]
    if runs[-1] is None or runs[-1].state != "succeeded":
        figures.problems.append(f"the ledger does not know {run_ids[-1]} as a run that succeeded")
    for totals in (totals for run in runs if run is not None for totals in run.totals()):
        if totals.lane in figures.lanes:
            lane_figures = figures.lanes[totals.lane]
            lane_figures.chunks += totals.counts.get("chunks", 0)
            lane_figures.reused += totals.counts.get("reused", 0)
            lane_figures.model_calls += totals.counts.get("model_calls", 0)
            lane_figures.seconds += totals.duration_s
    return figures


def show_figures(figures: DemoFigures, console: Console) -> None:
    """The table, and what no lane took."""
    title = "Objects, vectors, dead letters: there are; the other figures: of this run"
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("lane", no_wrap=True)
    for column in ("objects", "chunks", "vectors", "reused", "dead\nletters", "model\ncalls", "seconds"):
        table.add_column(column, justify="right")
    for name, lane in figures.lanes.items():
        counts = (lane.objects, lane.chunks, lane.vectors, lane.reused, lane.dead_letters, lane.model_calls)
        table.add_row(name, *map(str, counts), f"{lane.seconds:.1f}")
    console.print(table)
    show_left_out(console, figures.unrouted, figures.skipped)


def _problems(now: Status) -> list[str]:
    return [f"lane {name}: {lane.problem}" for name, lane in now.lanes.items() if lane.problem]
