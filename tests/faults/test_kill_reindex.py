"""kill -9 around every durable write of a reindex, a rollback and a drop. Triggered again, it finishes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.embedding_etl.reindex import ReindexResult, reindex
from include.embedding_etl.reindex_request import ReindexRequest
from tests.faults.reached_by import DROP_ONLY, REINDEX
from tests.fixtures_pipeline import Project

LONG = " ".join(f"sentence {number} speaks of things that matter." for number in range(60))
MODES = ["before", "after", "lost"]


def etl(project: Project, failpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which dies at the failpoint."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("etl")), *arguments],
        env={**os.environ, **project.environment, "ETL_FAILPOINT": failpoint},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def change_model(project: Project) -> None:
    document = yaml.safe_load((project.root / "pipelines" / f"{project.name}.yaml").read_text())
    document["lanes"]["text"]["model"]["id"] = "word-hash-2"
    project.configure(lanes=document["lanes"])


def run_again(project: Project, **values: object) -> ReindexResult:
    with project.open() as runtime:
        request = ReindexRequest.parse(runtime.pipeline, {"lane": "text", "approval": False, **values})
        return reindex(runtime, "again", request, lambda _: False)


def expected(project: Project) -> dict[str, tuple[str, str]]:
    return {key: value for key, value in project.expected_rows().items() if value[0] != "blank.txt"}


def died(done: subprocess.CompletedProcess[str], mode: str) -> bool:
    if mode == "lost":
        return done.returncode in (1, 2) and "the reply was lost" in done.stdout + done.stderr
    return done.returncode == -signal.SIGKILL


@pytest.fixture
def indexed(project: Project) -> Project:
    """A pipeline with a retired collection, which a rollback can be made to; its live one lacks some changes."""
    project.thresholds = {"max_failed_fraction": 0.5}
    project.configure()
    project.put_many(4)
    project.put("long.txt", LONG)
    project.put("blank.txt", "  \n ")
    assert project.run().green
    change_model(project)
    assert run_again(project).cut_over
    project.put("new.txt", "something new")
    project.put("long.txt", "it became short")
    project.remove("doc-002.txt")
    return project


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REINDEX)
def test_a_reindex_that_dies_here_finishes_when_it_is_triggered_again(indexed: Project, name: str, mode: str) -> None:
    """Deletions and shrinking objects need a collection that has rows already: there, it is a rollback that dies."""
    going_back = name in ("candidate_state", "stale_delete", "purge_delete", "purge_commit")
    if going_back:
        arguments, again = ("rollback", indexed.name, "text"), {"earlier": "previous", "min_recall": 0.0}
    else:
        arguments, again = ("reindex", indexed.name, "text", "--yes", "--rebuild", "vectors"), {}
        document = yaml.safe_load((indexed.root / "pipelines" / f"{indexed.name}.yaml").read_text())
        document["lanes"]["text"]["model"]["id"] = "word-hash-3"
        indexed.configure(lanes=document["lanes"])
    done = etl(indexed, f"{name}:{mode}", *arguments)
    assert died(done, mode), done.stdout + done.stderr
    result = run_again(indexed, **again)
    assert result.cut_over, result.problem
    assert indexed.rows() == expected(indexed)
    with indexed.open() as runtime:
        assert runtime.store.alias_target(indexed.alias) == result.candidate
    report = indexed.run()
    assert report.problems == []
    assert indexed.rows() == expected(indexed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", DROP_ONLY)
def test_a_drop_that_dies_here_is_finished_by_dropping_again(indexed: Project, name: str, mode: str) -> None:
    with indexed.open() as runtime:
        retired = next(
            each.name for each in runtime.ledger.collections.of_pipeline(indexed.name) if each.state == "retired"
        )
    done = etl(indexed, f"{name}:{mode}", "collections", "drop", indexed.name, retired)
    assert died(done, mode), done.stdout + done.stderr
    done = etl(indexed, "", "collections", "drop", indexed.name, retired)
    committed = name == "drop_commit" and mode != "before"
    assert done.returncode == (2 if committed else 0), done.stderr  # nothing is left to drop
    with indexed.open() as runtime:
        assert not runtime.store.has_collection(retired)
        record = runtime.ledger.collections.get(retired)
        assert record is not None
        assert record.dropped_at_ms is not None
    assert indexed.run().green
