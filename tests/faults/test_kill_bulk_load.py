"""kill -9 around every durable write of a bulk load, on a server that has bulk imports. No row is lost or doubled."""

import signal
from pathlib import Path

import pytest

from tests.embedding_endpoint import EmbeddingEndpoint
from tests.faults.reached_by import BULK_LOAD_ONLY
from tests.fixtures_pipeline import Project
from tests.integration.test_bulk_load import OBJECTS, configure, count, leftovers

pytestmark = pytest.mark.milvus_server
CASES = [(name, mode) for name in BULK_LOAD_ONLY for mode in ("before", "after", "lost")]
CASES += [("intend", "after"), ("entry_commit", "after")]  # upserts reach them too; here they stand around a job


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_bulk_load_that_dies_here_is_healed_by_the_next_run(
    tmp_path: Path, milvus_server_uri: str, endpoint: EmbeddingEndpoint, name: str, mode: str
) -> None:
    from tests.milvus_server import TOKEN

    project = Project(tmp_path, milvus_server_uri, endpoint, milvus_token=TOKEN)
    configure(project)
    project.put_many(OBJECTS)
    done = project.run_process(f"{name}:{mode}")
    if mode == "lost":
        assert done.returncode == 1, done.stderr
        assert "the reply was lost" in done.stdout
    else:
        assert done.returncode == -signal.SIGKILL, done.stderr + done.stdout
    report = project.run()
    assert report.problems == []
    assert count(project) == OBJECTS
    assert project.rows() == project.expected_rows()
    assert leftovers(project) == []
    assert project.run().lanes["text"].figures["rows"] == 0
    assert len(endpoint.texts) == OBJECTS
