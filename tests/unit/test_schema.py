from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.embedding_etl.index_kinds import INDEX_KINDS
from include.embedding_etl.types import Row
from include.embedding_etl.vectorstore.schema import (
    FIELDS,
    FIELDS_BY_NAME,
    entity,
    index_params,
    physical_name,
    row_id,
    search_params,
)

PARTS = st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.integers(0, 30))


def test_the_fields_are_those_of_a_row_in_its_order() -> None:
    assert [field.name for field in FIELDS] == [field.name for field in fields(Row)]


def test_a_row_id_never_changes() -> None:
    assert row_id("demo", "text", "a/b.txt", 3) == "1014d618b83c5aac454167de823c68be"


@given(PARTS, PARTS)
def test_different_rows_have_different_ids(left: tuple[str, str, str, int], right: tuple[str, str, str, int]) -> None:
    assert (row_id(*left) == row_id(*right)) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a_b", "c", "k", 1), ("a", "b_c", "k", 1)),
        (("a", "b", "k1", 1), ("a", "b", "k", 11)),
        (('a","b', "c", "k", 1), ("a", 'b","c', "k", 1)),
        (("a", "b", "é", 1), ("a", "b", "\\u00e9", 1)),
    ],
)
def test_the_parts_of_an_id_do_not_run_into_each_other(
    left: tuple[str, str, str, int], right: tuple[str, str, str, int]
) -> None:
    assert row_id(*left) != row_id(*right)


def test_an_id_fits_its_field() -> None:
    assert len(row_id("demo", "text", "日" * 300, 10**9)) == FIELDS_BY_NAME["id"].max_bytes


def test_a_physical_name_says_pipeline_lane_fingerprint_and_number() -> None:
    assert physical_name("demo", "text", "0123456789abcdef", 2) == "demo_text__01234567_2"


def test_an_entity_has_every_field_and_metadata_of_its_own() -> None:
    meta = {"a": "b"}
    row = Row("i", np.ones(1, np.float32), "k", "v", "h", "text/plain", 1, 2, 3, "t", 4, 5, "r", meta)
    values = entity(row)
    assert list(values) == [field.name for field in FIELDS]
    assert values["vector"] is row.vector  # numpy arrays are sent twice as fast as lists
    assert values["meta"] == meta
    assert values["meta"] is not meta


def test_an_index_gets_its_own_parameters_only() -> None:
    defaults_of_the_settings = {"M": 16, "efConstruction": 200}
    assert index_params("HNSW", {"M": 8}) == {"M": 8, "efConstruction": 200}
    assert index_params("IVF_FLAT", defaults_of_the_settings) == {"nlist": 128}
    assert index_params("FLAT", defaults_of_the_settings) == {}
    assert index_params("AUTOINDEX", defaults_of_the_settings) == {}


def test_a_search_looks_at_as_many_rows_as_it_returns() -> None:
    assert search_params({"ef": 64}, 10) == {"ef": 64}
    assert search_params({"ef": 5}, 10) == {"ef": 10}
    assert search_params({"nprobe": 1}, 10) == {"nprobe": 1}


def test_every_index_type_of_the_settings_is_known() -> None:
    from typing import get_args

    from include.embedding_etl.lane_settings import IndexSettings

    assert set(get_args(IndexSettings.model_fields["type"].annotation)) == set(INDEX_KINDS)
