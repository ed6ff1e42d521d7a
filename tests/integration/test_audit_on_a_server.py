"""What Milvus Lite does not do: a server keeps two rows with the same id, shows one, and counts both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures_audit import (
    LONG,
    Scene,
    add_rows_that_are_not_ours,
    bring_an_old_version_back,
    delete_rows,
    drop_the_alias,
    found,
    give_the_collection_another_index,
    keep_a_row_twice,
    replace_a_vector_by_that_of_another_model,
)
from tests.fixtures_milvus import plain_client
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.milvus_server import TOKEN

pytestmark = pytest.mark.milvus_server


@pytest.fixture
def scene(tmp_path: Path, milvus_server_uri: str, endpoint: EmbeddingEndpoint) -> Iterator[Scene]:
    project = Project(tmp_path, milvus_server_uri, endpoint, milvus_token=TOKEN)
    project.put_many(14)
    project.put("long.txt", LONG)
    assert project.run().green
    client = plain_client(milvus_server_uri, TOKEN)
    yield Scene(project, client, project.rows())
    client.close()


@pytest.mark.parametrize(
    "plant",
    [
        keep_a_row_twice,
        delete_rows,
        add_rows_that_are_not_ours,
        bring_an_old_version_back,
        replace_a_vector_by_that_of_another_model,
        drop_the_alias,
        give_the_collection_another_index,
    ],
    ids=lambda plant: plant.__name__,
)
def test_pain_25_a_planted_fault_is_found_and_mended_on_a_server(
    scene: Scene, plant: Callable[[Scene], dict[str, int]]
) -> None:
    assert scene.audit().findings == ()
    planted = plant(scene)
    scene.project.endpoint.take_texts()
    assert found(scene.audit()) == planted
    assert scene.repair().problems == ()
    assert scene.audit().findings == ()
    assert scene.project.endpoint.take_texts() == []
    assert scene.project.rows() == scene.expected


def test_pain_24_rewritten_rows_are_counted_once(scene: Scene) -> None:
    for number in range(5):
        scene.project.put("doc-000.txt", f"version {number}")
        assert scene.project.run().green
        assert scene.audit().findings == ()
    with scene.project.open() as runtime:
        assert runtime.store.count(scene.live) == len(scene.expected)
