"""Where Airflow shows the tasks behind a row or a letter. The ledger knows their run, lane and shard."""

import re
from collections.abc import Mapping
from typing import TypeAlias

from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.status.access import Host

Lanes: TypeAlias = Mapping[str, LaneSettings]

_INGEST, _REINDEXES = "ingest__", ("reindex", "rollback")
# A reindex numbers the shards of its catch-ups from these on: no mapped tasks, but one task for all of them.
_CATCH_UPS = ((2_000, "cut_over"), (1_000, "catch_up"))


def letter_log(host: Host, letter: DeadLetter, lanes: Lanes) -> str:
    """The log of the task that saw a letter last; where that is not known, its run; "" where there is no Airflow."""
    run = host.run_link(letter.run_id)
    seen_by = re.fullmatch(r"embed [a-z0-9_]+/(\d{1,4})", letter.task)
    dag_id = letter.run_id.partition("/")[0]
    if not run or seen_by is None:
        return run
    number = int(seen_by.group(1))
    if dag_id.startswith(_INGEST):
        return f"{run}/tasks/{letter.lane}.shard.embed/mapped/{number}"
    if dag_id not in _REINDEXES:
        return run
    place = _place(lanes, letter.lane)
    for first, task_id in _CATCH_UPS:
        if number >= first:
            return f"{run}/tasks/{task_id}{place}"
    return f"{run}/tasks/build{place}.embed/mapped/{number}"


def lane_tasks(host: Host, run_id: str, lane: str, lanes: Lanes) -> str:
    """All tasks of a lane's shards in a run: the ledger does not say which one it was. "" where they are not known."""
    run, dag_id = host.run_link(run_id), run_id.partition("/")[0]
    if run and dag_id.startswith(_INGEST):
        return f"{run}/tasks/group/{lane}.shard"
    return f"{run}/tasks/group/build{_place(lanes, lane)}" if run and dag_id in _REINDEXES else ""


def _place(lanes: Lanes, lane: str) -> str:
    """What the ids of its tasks end with: a reindex has some once for every place where models run."""
    return lanes[lane].place if lane in lanes else ""
