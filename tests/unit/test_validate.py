from dataclasses import replace

import numpy as np
import pytest

from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.types import CollectionSpec, Row
from include.embedding_etl.vectorstore.validate import check_ids, check_name, check_rows, check_spec

GOOD = Row(
    id="a" * 32,
    vector=np.array([0.6, 0.8], np.float32),
    object_key="folder/é.txt",
    object_version="etag",
    content_hash="f" * 64,
    media_type="text/plain",
    ordinal=2,
    start=0,
    end=5,
    text="chunk",
    size_bytes=5,
    last_modified=1,
    run_id="run",
    meta={"author": "Ann"},
)


def test_a_good_row_passes_and_its_size_is_about_what_is_sent() -> None:
    (size,) = check_rows([GOOD], 2)
    assert 100 < size < 1_000
    (larger,) = check_rows([replace(GOOD, text="é" * 1_000)], 2)
    assert larger == size + 2_000 - len("chunk")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("object_key", "é" * 513, "1026 bytes of UTF-8 are more than 1024"),
        ("object_version", "v" * 257, "more than 256"),
        ("content_hash", "f" * 65, "more than 64"),
        ("media_type", "m" * 256, "more than 255"),
        ("text", "日" * 21_846, "65538 bytes of UTF-8 are more than 65535"),
        ("text", "half \ud83d of a pair", "half of a surrogate pair"),
        ("text", None, "NoneType is not text"),
        ("object_key", "\udcff.txt", "half of a surrogate pair"),
        ("meta", {"k": "x" * 65_536}, "more than 65536"),
        ("meta", {"k": "\ud83d"}, "half of a surrogate pair"),
        ("meta", {"k": 1}, "have to be text"),
        ("end", 2**63, "not a 64-bit integer"),
        ("size_bytes", -(2**63) - 1, "not a 64-bit integer"),
        ("start", 1.5, "not a 64-bit integer"),
        ("last_modified", None, "not a 64-bit integer"),
        ("id", "", "1 to 32 letters"),
        ("id", 'x" or id != "', "1 to 32 letters"),
        ("id", "a" * 33, "1 to 32 letters"),
    ],
)
def test_a_value_that_milvus_lite_would_store_wrongly_is_refused_by_name(field: str, value: object, says: str) -> None:
    bad = replace(GOOD, **{"id": "b" * 32, field: value})  # type: ignore[arg-type]
    with pytest.raises(IntegrityError) as raised:
        check_rows([GOOD, bad], 2)
    assert str(raised.value).startswith(f"{bad.object_key!r}, chunk 2: {field}: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (None, "NoneType is not an array of float32"),
        ([0.6, 0.8], "list is not an array of float32"),
        (np.array([0.6, 0.8]), "float64 is not an array of float32"),
        (np.array([1], np.float32), r"shape \(1,\) is not \(2,\)"),
        (np.array([[0.6, 0.8]], np.float32), r"shape \(1, 2\) is not \(2,\)"),
        (np.array([0.6, 0.7], np.float32), r"its length is 0\.922, not 1"),
        (np.array([0, 0], np.float32), "its length is 0, not 1"),
        (np.array([np.nan, 1], np.float32), "NaN or infinity"),
        (np.array([np.inf, 0], np.float32), "NaN or infinity"),
        (np.array([3e38, 3e38], np.float32), "its length is"),
    ],
)
def test_pain_14_a_vector_that_means_nothing_is_refused(vector: object, says: str) -> None:
    bad = replace(GOOD, id="b" * 32, vector=vector)  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match=f"chunk 2: vector: .*{says}"):
        check_rows([GOOD, bad], 2)


def test_a_vector_that_rounding_made_a_little_long_passes() -> None:
    check_rows([replace(GOOD, vector=np.array([0.6004, 0.8], np.float32))], 2)


def test_pain_25_an_id_twice_in_one_call_is_refused() -> None:
    with pytest.raises(IntegrityError, match="twice in one call"):
        check_rows([GOOD, replace(GOOD, object_key="other")], 2)


def test_no_rows_are_fine() -> None:
    assert check_rows([], 2) == []


@pytest.mark.parametrize("bad", ["", "\ud800"])
def test_an_id_that_is_no_text_is_refused(bad: str) -> None:
    with pytest.raises(IntegrityError, match="no row id"):
        check_ids(["fine", bad])


@pytest.mark.parametrize("odd", ["a'b", 'a"b', "a b", "a\\", "a" * 33, "é"])
def test_an_id_that_we_would_not_write_can_be_asked_for(odd: str) -> None:
    check_ids([odd])
    with pytest.raises(IntegrityError):
        check_rows([replace(GOOD, id=odd)], 2)


SPEC = CollectionSpec("demo_text__01234567_1", 384, "HNSW", "COSINE", {"M": 16, "efConstruction": 200}, {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "1st"}, "'1st' cannot be a collection"),
        ({"name": "a-b"}, "'a-b' cannot be a collection"),
        ({"name": ""}, "'' cannot be a collection"),
        ({"dimension": 1}, "between 2 and 32768"),
        ({"dimension": 40_000}, "between 2 and 32768"),
        ({"index_type": "SCANN"}, "'SCANN' is unknown; allowed are HNSW, IVF_FLAT"),
        ({"metric": "HAMMING"}, "'HAMMING' is unknown; allowed are COSINE, IP, L2"),
        ({"index_params": {"efConstructoin": 1}}, "'efConstructoin' is unknown; HNSW takes: M, efConstruction"),
    ],
)
def test_a_collection_that_cannot_be_is_refused(changes: dict[str, object], says: str) -> None:
    check_spec(SPEC)
    with pytest.raises(ConfigError) as raised:
        check_spec(replace(SPEC, **changes))  # type: ignore[arg-type]
    assert says in str(raised.value)


def test_a_name_may_have_255_characters() -> None:
    check_name("a" * 255)
    with pytest.raises(ConfigError):
        check_name("a" * 256)
