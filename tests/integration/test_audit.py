"""Audits and repairs on real parts. Every fault is planted by somebody who does not know about us."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.fixtures_audit import (
    Scene,
    add_a_chunk_to_an_object,
    add_an_object_that_storage_never_had,
    add_rows_that_are_not_ours,
    bring_an_old_version_back,
    change_storage_without_a_run,
    change_the_content_hash_of_a_row,
    claim_fewer_rows_in_an_entry,
    claim_more_rows_in_an_entry,
    cut_a_store_file_off,
    delete_an_entry,
    delete_rows,
    drop_the_alias,
    drop_the_collection,
    drop_the_index,
    edit_the_content_hash_of_an_entry,
    edit_the_content_hash_of_an_object,
    edit_the_version_of_an_entry,
    flip_a_bit_in_a_store_file,
    found,
    give_the_collection_another_dimension,
    give_the_collection_another_fingerprint,
    give_the_collection_another_index,
    leave_a_collection_that_nobody_owns,
    leave_a_store_file_that_nobody_names,
    lose_a_store_file,
    point_the_alias_elsewhere,
    record_a_collection_that_milvus_lacks,
    replace_a_vector_by_that_of_another_model,
    stretch_a_vector,
)

pytestmark = pytest.mark.both_ledgers

PLANTS: list[Callable[[Scene], dict[str, int]]] = [
    delete_rows,
    add_rows_that_are_not_ours,
    add_a_chunk_to_an_object,
    add_an_object_that_storage_never_had,
    bring_an_old_version_back,
    change_the_content_hash_of_a_row,
    replace_a_vector_by_that_of_another_model,
    stretch_a_vector,
    claim_more_rows_in_an_entry,
    claim_fewer_rows_in_an_entry,
    edit_the_version_of_an_entry,
    edit_the_content_hash_of_an_entry,
    edit_the_content_hash_of_an_object,
    delete_an_entry,
    drop_the_alias,
    point_the_alias_elsewhere,
    drop_the_collection,
    give_the_collection_another_dimension,
    give_the_collection_another_fingerprint,
    give_the_collection_another_index,
    drop_the_index,
    leave_a_collection_that_nobody_owns,
    record_a_collection_that_milvus_lacks,
    leave_a_store_file_that_nobody_names,
    lose_a_store_file,
    cut_a_store_file_off,
    flip_a_bit_in_a_store_file,
    change_storage_without_a_run,
]


def test_a_pipeline_that_was_just_ingested_is_clean(scene: Scene) -> None:
    result = scene.audit()
    assert result.findings == ()
    assert result.clean
    rows = len(scene.expected)
    assert result.compared == {"objects": 15, "rows": rows, "vectors": rows, "files": 1}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_pain_01_a_planted_fault_is_found_and_mended_without_the_model(
    scene: Scene, plant: Callable[[Scene], dict[str, int]]
) -> None:
    planted = plant(scene)
    scene.project.endpoint.take_texts()
    assert found(scene.audit()) == planted
    mended = scene.repair()
    assert mended.problems == ()
    assert found(mended.before) == planted
    assert scene.audit().findings == ()
    new_words = ["changed words", "new words"] if plant is change_storage_without_a_run else []
    assert scene.project.endpoint.take_texts() == new_words
    assert scene.project.rows() == scene.project.expected_rows(scene.chunks)
    assert scene.project.run().green


APART = {  # each hides another, or is hidden by it
    claim_fewer_rows_in_an_entry,
    drop_the_alias,
    drop_the_collection,
    give_the_collection_another_dimension,
    give_the_collection_another_fingerprint,
    give_the_collection_another_index,
    drop_the_index,
    lose_a_store_file,
    cut_a_store_file_off,
    flip_a_bit_in_a_store_file,
}
TOGETHER = [plant for plant in PLANTS if plant not in APART]


def test_pain_11_all_faults_at_once_are_found_and_mended_without_the_model(scene: Scene) -> None:
    planted: Counter[str] = Counter()
    for plant in TOGETHER:
        planted.update(plant(scene))
    scene.project.endpoint.take_texts()
    result = scene.audit()
    assert found(result) == planted
    assert result.faults == sum(planted.values()) - result.pending
    assert result.pending == 5
    mended = scene.repair()
    assert mended.problems == ()
    assert scene.audit().findings == ()
    assert scene.project.endpoint.take_texts() == ["changed words", "new words"]
    assert scene.project.rows() == scene.project.expected_rows(scene.chunks)
