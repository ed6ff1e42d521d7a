"""The reindex again, on a real Milvus server (make test-milvus-server): its aliases and indexes are not Lite's."""

from pathlib import Path

import pytest

from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.integration import test_reindex as scenarios
from tests.milvus_server import TOKEN

pytestmark = pytest.mark.milvus_server


@pytest.fixture
def project(tmp_path: Path, milvus_server_uri: str, endpoint: EmbeddingEndpoint) -> Project:
    """A pipeline on the server."""
    return Project(tmp_path, milvus_server_uri, endpoint, milvus_token=TOKEN)


def test_another_model_and_back_while_a_reader_searches(project: Project) -> None:
    scenarios.test_pain_29_readers_never_meet_an_empty_or_missing_index(project)


def test_what_is_ingested_during_a_reindex_is_right_after_the_cutover(project: Project) -> None:
    scenarios.test_what_is_ingested_during_a_reindex_is_right_after_the_cutover(project)


def test_an_index_that_finds_too_little_is_refused(project: Project) -> None:
    scenarios.put_five_thousand(project)  # this server builds no index for segments of less than 1,024 rows
    assert project.run().green
    seen = len(project.endpoint.texts)
    coarse = {"type": "IVF_FLAT", "params": {"nlist": 1024}, "search": {"nprobe": 1}}
    result = scenarios.run_reindex(project, rebuild="index", index=coarse)
    assert not result.cut_over
    assert "recall@10 of its index is 0." in result.problem
    fine = {"type": "IVF_FLAT", "params": {"nlist": 64}, "search": {"nprobe": 64}}
    result = scenarios.run_reindex(project, "reindex-2", rebuild="index", index=fine)
    assert result.cut_over, result.problem
    assert len(project.endpoint.texts) == seen


def test_a_collection_dropped_by_hand_is_rebuilt_without_model_calls(project: Project) -> None:
    scenarios.test_a_collection_dropped_by_hand_is_rebuilt_without_model_calls(project)
