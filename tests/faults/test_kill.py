"""kill -9 around every durable write. The next run converges: the rows in Milvus are exactly those of the source.

One test per name and mode in failpoints.DURABLE_WRITES (reached_by.py says which command reaches which): a new durable
write is in this suite as soon as it has a name, and fails it if the situation below does not reach it.
"""

import random
import signal

import pytest

from tests.faults.reached_by import RUN
from tests.fixtures_pipeline import Project

LONG = " ".join(f"sentence {number} speaks of things that matter." for number in range(60))
FIRST_RUN_ONLY = {"collection_create", "collection_commit", "alias"}


def make_work(project: Project) -> None:
    """New, changed, shrunk, renamed, vanished and hopeless objects: together they reach every durable write."""
    project.put("new-1.txt", "something new")
    project.put("new-2.txt", "something else that is new")
    project.put("doc-001.txt", "changed words")
    project.put("long.txt", "it became short")
    project.remove("doc-002.txt")
    (project.root / "source" / "doc-003.txt").rename(project.root / "source" / "renamed.txt")
    project.put("blank.txt", "  \n ")


def expected(project: Project) -> dict[str, tuple[str, str]]:
    return {key: value for key, value in project.expected_rows().items() if value[0] != "blank.txt"}


@pytest.fixture
def work(project: Project) -> Project:
    project.thresholds = {"max_failed_fraction": 0.5}
    project.configure()
    project.put_many(5)
    project.put("long.txt", LONG)
    return project


@pytest.mark.parametrize("mode", ["before", "after", "lost"])
@pytest.mark.parametrize("name", RUN)
def test_a_run_that_dies_here_is_healed_by_the_next(work: Project, name: str, mode: str) -> None:
    if name not in FIRST_RUN_ONLY:
        assert work.run().green
    make_work(work)
    done = work.run_process(f"{name}:{mode}")
    if mode == "lost":
        assert done.returncode == 1, done.stderr  # red, and said so
        assert "the reply was lost" in done.stdout
    else:
        assert done.returncode == -signal.SIGKILL, done.stderr + done.stdout
    report = work.run()
    assert report.problems == []
    assert work.rows() == expected(work)
    asked = len(work.endpoint.texts)
    again = work.run()
    assert again.green
    assert again.lanes["text"].figures["rows"] == 0
    assert len(work.endpoint.texts) == asked


def test_vectors_that_were_stored_before_the_crash_are_not_made_again(work: Project) -> None:
    make_work(work)
    assert work.run_process("embedded_file:after").returncode == -signal.SIGKILL
    asked = len(work.endpoint.texts)
    assert work.run().green
    assert len(work.endpoint.texts) == asked


def test_a_pipeline_that_is_killed_again_and_again_converges(work: Project) -> None:
    rng = random.Random(7)
    for turn in range(6):
        key = f"doc-00{rng.randrange(2)}.txt"
        work.put(key, LONG if rng.random() < 0.5 else f"version {turn} of {key}")
        work.put(f"turn-{turn}.txt", f"added in turn {turn}")
        work.run_process(f"{rng.choice(RUN)}:{rng.choice(['before', 'after'])}")
    assert work.run().green
    chunks = {key: count for key, count in _chunk_counts(work).items() if count > 1}
    assert work.rows() == work.expected_rows(chunks)


def _chunk_counts(project: Project) -> dict[str, int]:
    """How many chunks each object has, from a collection that was never disturbed."""
    witness = Project(project.root / "witness", project.milvus_uri, project.endpoint)
    for path in (project.root / "source").iterdir():
        witness.put(path.name, path.read_bytes())
    assert witness.run().green
    counts: dict[str, int] = {}
    for key, _ in witness.rows().values():
        counts[key] = counts.get(key, 0) + 1
    return counts
