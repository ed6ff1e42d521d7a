"""What every vector store promises: the one in memory, Milvus Lite, and a Milvus server (`make test-milvus-server`)."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.types import CollectionSpec, Row, Vectors
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.failures import NotFound
from include.embedding_etl.vectorstore.fake import InMemoryStore
from include.embedding_etl.vectorstore.filters import all_of, any_of, equals, in_list, parse_filter
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.vectorstore.schema import row_id
from tests.fixtures_milvus import fresh_name

DIMENSION = 4
HOSTILE = (
    *('quo"te', "quo'te", "back\\slash", "back\\\\two", "end\\", "new\nline", "return\rx", "tab\tx", "a\x01\x1f\x7fb"),
    *(
        '" or id != "',
        '\\" or id != \\"',
        "') or 1 == 1 or ('",
        "é",
        "e\u0301",
        "日本語",
        "😀",
        "a%b",
        "a_b",
        "{x}",
        "$meta",
    ),
    *("  spaces  ", "\u2028x", "\x85y", "[x]", "//x", "../x", "\\n", "\\u0041", "\\x41", "\\101", "\ufeffz", "a+b", ""),
)


@pytest.fixture(params=["memory", "lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def connect(request: pytest.FixtureRequest) -> Callable[[], VectorStore]:
    """Opens a connection; all connections of a test reach the same data."""
    if request.param == "memory":
        store = InMemoryStore()
        return lambda: store
    if request.param == "lite":
        uri = request.getfixturevalue("milvus_lite_uri")
        return lambda: MilvusStore(uri)
    from tests.milvus_server import TOKEN

    uri = request.getfixturevalue("milvus_server_uri")
    return lambda: MilvusStore(uri, token=TOKEN)


@pytest.fixture
def store(connect: Callable[[], VectorStore]) -> Iterator[VectorStore]:
    store = connect()
    yield store
    store.close()


@pytest.fixture
def name(store: VectorStore) -> str:
    """An empty collection."""
    created = spec()
    store.create_collection(created)
    return created.name


def spec(**changes: object) -> CollectionSpec:
    properties = {"pipeline": "demo", "lane": "text", "fingerprint": "f" * 64, "created_at": "2026-11-22T10:00:00"}
    standard = CollectionSpec(fresh_name(), DIMENSION, "HNSW", "COSINE", {"M": 16, "efConstruction": 200}, properties)
    return replace(standard, **changes)  # type: ignore[arg-type]


def unit(number: int) -> Vectors:
    """A direction of its own for every number."""
    vector = np.random.default_rng(number).normal(size=DIMENSION).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def row(number: int, **changes: object) -> Row:
    standard = Row(
        id=row_id("demo", "text", f"key-{number}", 0),
        vector=unit(number),
        object_key=f"key-{number}",
        object_version="v1",
        content_hash="a" * 64,
        media_type="text/plain",
        ordinal=0,
        start=0,
        end=7,
        text="a chunk",
        size_bytes=7,
        last_modified=1_700_000_000_000,
        run_id="run-1",
        meta={"author": "Ann"},
    )
    return replace(standard, **changes)  # type: ignore[arg-type]


def keys(store: VectorStore, name: str, expression: str) -> set[str]:
    hits = store.search(name, unit(0)[None], 100, expression, ["object_key"])[0]
    return {str(hit.fields["object_key"]) for hit in hits}


# Collections


def test_a_created_collection_is_there_and_keeps_its_properties(store: VectorStore) -> None:
    wanted = spec()
    assert not store.has_collection(wanted.name)
    store.create_collection(wanted)
    assert store.has_collection(wanted.name)
    assert wanted.name in store.list_collections()
    assert store.properties(wanted.name) == wanted.properties
    assert store.count(wanted.name) == 0


def test_creating_the_same_collection_again_keeps_its_rows(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(1)])
    store.create_collection(spec(name=name, properties={**spec().properties, "created_at": "later"}))
    assert store.count(name) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dimension": 8}, "dimension 4, not 8"),
        ({"properties": {**spec().properties, "fingerprint": "0"}}, "fingerprint"),
        ({"index_type": "FLAT"}, "HNSW"),
        ({"metric": "L2"}, "COSINE"),
    ],
)
def test_another_collection_of_the_same_name_is_refused(
    store: VectorStore, name: str, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(IntegrityError, match=says):
        store.create_collection(spec(name=name, **changes))


def test_a_collection_tells_its_dimension_and_its_index(store: VectorStore, name: str) -> None:
    other = spec(dimension=8, index_type="IVF_FLAT", metric="L2")
    store.create_collection(other)
    assert (store.dimension(name), store.index(name)) == (DIMENSION, ("HNSW", "COSINE"))
    assert (store.dimension(other.name), store.index(other.name)) == (8, ("IVF_FLAT", "L2"))


def test_the_dimension_is_that_of_now(connect: Callable[[], VectorStore], store: VectorStore, name: str) -> None:
    assert store.dimension(name) == DIMENSION
    somebody = connect()
    somebody.drop_collection(name)
    somebody.create_collection(spec(name=name, dimension=2))
    assert store.dimension(name) == 2
    somebody.close()


@pytest.mark.parametrize("index_type", ["IVF_FLAT", "IVF_SQ8", "FLAT", "AUTOINDEX"])
def test_every_index_type_that_is_allowed_can_be_searched(store: VectorStore, index_type: str) -> None:
    wanted = spec(index_type=index_type)  # with the parameters of HNSW, as the settings have them by default
    store.create_collection(wanted)
    store.upsert(wanted.name, [row(number) for number in range(20)])
    store.flush(wanted.name)
    assert [hit.id for hit in store.search(wanted.name, unit(3)[None], 1)[0]] == [row(3).id]


def test_an_index_type_that_lite_would_accept_and_then_fail_on_is_refused(store: VectorStore) -> None:
    wanted = spec(index_type="DISKANN")
    with pytest.raises(ConfigError, match="allowed are HNSW"):
        store.create_collection(wanted)
    assert not store.has_collection(wanted.name)


def test_a_dropped_collection_is_gone_and_may_be_dropped_again(store: VectorStore, name: str) -> None:
    store.drop_collection(name)
    store.drop_collection(name)
    assert not store.has_collection(name)
    assert name not in store.list_collections()


def test_a_collection_of_another_dimension_may_follow_a_dropped_one(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(1)])
    store.drop_collection(name)
    store.create_collection(spec(name=name, dimension=2))
    store.upsert(name, [row(1, vector=np.array([1, 0], np.float32))])
    assert store.count(name) == 1


def test_a_missing_collection_is_an_integrity_error_that_names_it(store: VectorStore) -> None:
    absent = fresh_name()
    calls: list[Callable[[], object]] = [
        lambda: store.count(absent),
        lambda: store.properties(absent),
        lambda: store.upsert(absent, [row(1)]),
        lambda: store.delete(absent, [row(1).id]),
        lambda: store.read_versions(absent, [row(1).id]),
        lambda: store.fetch(absent, [row(1).id], ["vector"]),
        lambda: store.dimension(absent),
        lambda: store.index(absent),
        lambda: store.aliases(absent),
        lambda: store.load_index(absent),
        lambda: list(store.iterate(absent, [])),
        lambda: store.search(absent, unit(1)[None], 1),
        lambda: store.flush(absent),
        lambda: store.point_alias(fresh_name(), absent),
    ]
    for call in calls:
        with pytest.raises(IntegrityError, match=absent):
            call()

    for ask in (store.dimension, store.index, store.aliases):
        with pytest.raises(NotFound):
            ask(absent)


# Rows


def test_what_was_written_is_read_at_once(store: VectorStore, name: str) -> None:
    rows = [row(number) for number in range(2_500)]
    store.upsert(name, rows)
    absent = row_id("demo", "text", "absent", 0)
    assert store.read_versions(name, [*(each.id for each in rows), absent]) == {each.id: "v1" for each in rows}
    assert store.count(name) == 2_500


def test_pain_24_an_upsert_overwrites_and_the_count_stays_right(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number) for number in range(30)])
    store.flush(name)
    store.upsert(name, [row(number, object_version="v2") for number in range(10)])
    versions = store.read_versions(name, [row(number).id for number in range(30)])
    assert list(versions.values()).count("v2") == 10
    assert len(versions) == store.count(name) == 30


def test_delete_removes_those_ids_and_no_others(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number) for number in range(10)])
    store.delete(name, [row(1).id, row_id("demo", "text", "absent", 0), row(2).id])
    left = {row(number).id for number in range(10)} - {row(1).id, row(2).id}
    assert set(store.read_versions(name, [row(number).id for number in range(10)])) == left
    assert store.count(name) == 8


def test_more_ids_than_one_call_takes_are_deleted(store: VectorStore, name: str) -> None:
    rows = [row(number) for number in range(1_200)]
    store.upsert(name, rows)
    store.delete(name, [each.id for each in rows[:1_100]])
    assert store.count(name) == 100


def test_nothing_to_write_read_or_delete_is_fine(store: VectorStore, name: str) -> None:
    store.upsert(name, [])
    store.delete(name, [])
    assert store.read_versions(name, []) == {}
    assert list(store.iterate(name, ["object_key"])) == []
    assert store.search(name, unit(1)[None], 3) == [[]]
    assert store.search(name, np.empty((0, DIMENSION), np.float32), 3) == []


def test_every_value_comes_back_as_it_was_written(store: VectorStore, name: str) -> None:
    rows = [row(number, object_key=key, text=key, meta={"k": key, key: "v"}) for number, key in enumerate(HOSTILE)]
    rows.append(row(999, object_key="é" * 512, text="€" * 21_845, meta={"k": "x" * 65_000}, ordinal=2**62, start=-1))
    store.upsert(name, rows)
    fields = ["object_key", "text", "meta", "ordinal", "start", "size_bytes", "last_modified", "run_id", "content_hash"]
    found = {str(each["id"]): each for page in store.iterate(name, fields) for each in page}
    assert found == {each.id: {"id": each.id, **{field: getattr(each, field) for field in fields}} for each in rows}


def test_vectors_come_back_as_they_were_written(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number) for number in range(3)])
    found = {each["id"]: each["vector"] for page in store.iterate(name, ["vector"]) for each in page}
    for number in range(3):
        np.testing.assert_allclose(np.asarray(found[row(number).id]), unit(number), rtol=1e-6)


def test_a_large_collection_is_iterated_completely_and_in_order_right_after_it_was_changed(
    store: VectorStore, name: str
) -> None:
    rows = [row(number, text="", meta={}) for number in range(18_000)]  # beyond the 16,384 of offset and limit
    store.upsert(name, rows)
    assert _iterated(store, name) == [(each, "v1") for each in sorted(each.id for each in rows)]
    store.upsert(name, [replace(each, object_version="v2") for each in rows[:50]])
    store.delete(name, [each.id for each in rows[50:100]])
    changed = {each.id: "v2" for each in rows[:50]} | {each.id: "v1" for each in rows[100:]}
    assert _iterated(store, name) == sorted(changed.items())


def test_ids_that_are_not_evenly_spread_are_iterated_too(store: VectorStore, name: str) -> None:
    ids = ["-", "0", "00", "7fffffffffff", "800000000000", "Z", "_", "ffffffffffff", "g", "zz"]
    store.upsert(name, [row(number, id=each) for number, each in enumerate(ids)])
    assert [each for each, _ in _iterated(store, name)] == sorted(ids)


def _iterated(store: VectorStore, name: str) -> list[tuple[object, object]]:
    pages = store.iterate(name, ["object_version"])
    return [(each["id"], each["object_version"]) for page in pages for each in page]


def test_rows_are_fetched_by_id_with_the_fields_that_were_asked_for(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number) for number in range(5)])
    store.upsert(name, [row(1, text="new", object_version="v2")])
    store.delete(name, [row(2).id])
    asked = [row(number).id for number in (1, 2, 4)] + [row_id("demo", "text", "absent", 0)]
    assert store.fetch(name, asked, ["text", "object_version", "meta", "ordinal"]) == {
        row(1).id: {"id": row(1).id, "text": "new", "object_version": "v2", "meta": {"author": "Ann"}, "ordinal": 0},
        row(4).id: {
            "id": row(4).id,
            "text": "a chunk",
            "object_version": "v1",
            "meta": {"author": "Ann"},
            "ordinal": 0,
        },
    }
    assert store.fetch(name, asked, []) == {row(1).id: {"id": row(1).id}, row(4).id: {"id": row(4).id}}
    assert store.fetch(name, [], ["text"]) == {}


@pytest.mark.parametrize("fields", [["content_hash"], ["vector", "content_hash"]], ids=["narrow", "wide"])
def test_more_rows_than_one_call_takes_are_fetched(store: VectorStore, name: str, fields: list[str]) -> None:
    rows = [row(number, content_hash=str(number)) for number in range(1_201)]
    store.upsert(name, rows)
    found = store.fetch(name, [each.id for each in rows], fields)
    assert {each: fields["content_hash"] for each, fields in found.items()} == {
        each.id: each.content_hash for each in rows
    }
    assert all(fields["id"] == each for each, fields in found.items())


def test_fetched_vectors_are_floats_as_they_were_written(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number) for number in range(3)])
    for number in range(3):
        vector = store.fetch(name, [row(number).id], ["vector"])[row(number).id]["vector"]
        assert isinstance(vector, list)
        assert all(type(each) is float for each in vector)
        assert np.array_equal(np.asarray(vector, np.float32), unit(number))


def test_an_unknown_field_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(ConfigError, match="'colour' is unknown; allowed are id, vector, object_key"):
        list(store.iterate(name, ["colour"]))
    with pytest.raises(ConfigError, match="'colour'"):
        store.fetch(name, [row(1).id], ["colour"])
    with pytest.raises(ConfigError, match="'colour'"):
        store.search(name, unit(1)[None], 1, fields=["colour"])


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(np.array([np.nan, 0, 0, 1], np.float32), id="nan"),
        pytest.param(np.array([np.inf, 0, 0, 0], np.float32), id="infinity"),
        pytest.param(np.zeros(4, np.float32), id="zero"),
        pytest.param(np.array([1, 1, 1, 1], np.float32), id="too long"),
        pytest.param(np.array([1, 0, 0], np.float32), id="too few"),
        pytest.param(np.array([1, 0, 0, 0], np.float64), id="float64"),
        pytest.param(None, id="none"),
    ],
)
def test_pain_14_a_vector_that_is_none_is_never_stored(store: VectorStore, name: str, vector: Vectors) -> None:
    with pytest.raises(IntegrityError, match=r"'key-7', chunk 0: vector: "):
        store.upsert(name, [row(1), row(7, vector=vector), row(2)])
    assert store.count(name) == 0


def test_pain_25_an_id_twice_in_one_call_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(IntegrityError, match=r"'key-1', chunk 0: id: .* twice"):
        store.upsert(name, [row(1), row(2), row(1)])
    assert store.count(name) == 0


# Aliases


def test_an_alias_is_created_switched_and_read_through(store: VectorStore, name: str) -> None:
    alias, other = fresh_name("alias"), spec()
    store.create_collection(other)
    store.upsert(name, [row(1)])
    store.upsert(other.name, [row(2)])
    assert store.alias_target(alias) is None
    store.point_alias(alias, name)
    assert store.alias_target(alias) == name
    assert [hit.id for hit in store.search(alias, unit(2)[None], 1)[0]] == [row(1).id]
    assert store.fetch(alias, [row(1).id, row(2).id], []) == {row(1).id: {"id": row(1).id}}
    store.point_alias(alias, other.name)
    store.point_alias(alias, other.name)
    assert store.alias_target(alias) == other.name
    assert [hit.id for hit in store.search(alias, unit(2)[None], 1)[0]] == [row(2).id]
    assert store.fetch(alias, [row(1).id, row(2).id], []) == {row(2).id: {"id": row(2).id}}


def test_a_collection_tells_its_aliases(store: VectorStore, name: str) -> None:
    other, aliases = spec(), sorted(fresh_name("alias") for _ in range(2))
    store.create_collection(other)
    assert store.aliases(name) == []
    for alias in reversed(aliases):
        store.point_alias(alias, name)
    assert (store.aliases(name), store.aliases(other.name)) == (aliases, [])
    store.point_alias(aliases[0], other.name)
    assert (store.aliases(name), store.aliases(other.name)) == (aliases[1:], aliases[:1])


def test_an_alias_is_no_collection(store: VectorStore, name: str) -> None:
    alias = fresh_name("alias")
    store.point_alias(alias, name)
    assert not store.has_collection(alias)
    assert alias not in store.list_collections()


def test_what_needs_a_real_name_refuses_an_alias(store: VectorStore, name: str) -> None:
    alias = fresh_name("alias")
    store.point_alias(alias, name)
    calls: list[Callable[[], object]] = [
        lambda: store.upsert(alias, [row(1)]),
        lambda: store.delete(alias, [row(1).id]),
        lambda: store.create_collection(spec(name=alias)),
        lambda: store.point_alias(fresh_name(), alias),
        lambda: store.load_index(alias),
        lambda: store.aliases(alias),
        lambda: store.dimension(alias),
    ]
    for call in calls:
        with pytest.raises(IntegrityError, match=f"{alias} is an alias of {name}"):
            call()


def test_an_alias_is_never_dropped_with_its_collection_behind_it(store: VectorStore, name: str) -> None:
    alias = fresh_name("alias")
    store.upsert(name, [row(1)])
    store.point_alias(alias, name)
    with pytest.raises(IntegrityError, match=f"{alias} is an alias of {name}"):
        store.drop_collection(alias)
    with pytest.raises(IntegrityError, match=f"{name} is what the alias {alias} points at"):
        store.drop_collection(name)
    assert store.count(name) == 1
    other = spec()
    store.create_collection(other)
    store.point_alias(alias, other.name)
    store.drop_collection(name)
    assert not store.has_collection(name)


def test_an_alias_cannot_have_the_name_of_a_collection(store: VectorStore, name: str) -> None:
    other = spec()
    store.create_collection(other)
    with pytest.raises(IntegrityError):
        store.point_alias(other.name, name)
    assert store.has_collection(other.name)


def test_pain_27_readers_notice_nothing_of_an_alias_switch(
    connect: Callable[[], VectorStore], store: VectorStore, name: str
) -> None:
    alias, other = fresh_name("alias"), spec()
    store.create_collection(other)
    for each in (name, other.name):
        store.upsert(each, [row(number) for number in range(20)])
        store.flush(each)
    store.point_alias(alias, name)
    found: list[int] = []
    stop = threading.Event()

    def read() -> None:
        reader = connect()
        while not stop.is_set():
            found.append(len(reader.search(alias, unit(1)[None], 5)[0]))
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for target in (other.name, name) * 4:
            seen = len(found)
            store.point_alias(alias, target)
            while thread.is_alive() and len(found) < seen + 3:
                stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    assert len(found) >= 24
    assert set(found) == {5}


# Search and filters


def test_search_finds_the_nearest_first_and_as_many_as_asked_for(store: VectorStore, name: str) -> None:
    rows = [row(number, meta={"n": str(number)}) for number in range(50)]
    store.upsert(name, rows)
    store.flush(name)
    found = store.search(name, np.stack([unit(3), unit(4)]), 5, fields=["object_key", "meta", "vector", "ordinal"])
    for number, hits in zip((3, 4), found, strict=True):
        similarity = {each.id: float(each.vector @ unit(number)) for each in rows}
        assert [hit.id for hit in hits] == sorted(similarity, key=lambda each: -similarity[each])[:5]
        assert [hit.score for hit in hits] == pytest.approx([similarity[hit.id] for hit in hits], abs=1e-3)
        assert hits[0].fields.keys() == {"object_key", "meta", "vector", "ordinal"}
        assert (hits[0].fields["object_key"], hits[0].fields["meta"]) == (f"key-{number}", {"n": str(number)})


def test_what_was_just_written_is_found(store: VectorStore, name: str) -> None:
    for number in range(5):
        store.upsert(name, [row(number)])
        assert store.search(name, unit(number)[None], 1)[0][0].id == row(number).id


def test_a_coarse_index_is_seen_by_its_recall_once_it_is_loaded(store: VectorStore) -> None:
    if isinstance(store, InMemoryStore):
        pytest.skip("the in-memory store has no index: it compares every row")
    dimension, count = 16, 5_000
    points = np.random.default_rng(0).normal(size=(count, dimension))
    vectors = np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)
    rows = [row(number, vector=vector) for number, vector in enumerate(vectors)]
    coarse = spec(dimension=dimension, index_type="IVF_FLAT", index_params={"nlist": 1024})
    store.create_collection(coarse)
    for first in range(0, count, 2_500):  # segments of under 1,024 rows are not indexed by a server
        store.upsert(coarse.name, rows[first : first + 2_500])
        store.flush(coarse.name)
    store.load_index(coarse.name)
    queries = vectors[::100]
    exact = [{rows[each].id for each in np.argsort(-(vectors @ query))[:10].tolist()} for query in queries]

    def recall(params: dict[str, int]) -> float:
        found = store.search(coarse.name, queries, 10, params=params)
        return float(
            np.mean([len({hit.id for hit in hits} & near) / 10 for hits, near in zip(found, exact, strict=True)])
        )

    assert recall({"nprobe": 1}) < 0.6
    assert recall({"nprobe": 1024}) > 0.99


@pytest.mark.parametrize("count", [0, 30])
def test_a_small_collection_is_loaded_with_its_index_too(store: VectorStore, name: str, count: int) -> None:
    store.upsert(name, [row(number) for number in range(count)])
    store.load_index(name)
    assert len(store.search(name, unit(1)[None], 50)[0]) == store.count(name) == count
    store.upsert(name, [row(number) for number in range(count, count + 5)])
    assert store.count(name) == count + 5


def test_an_index_is_never_loaded_under_its_readers(store: VectorStore, name: str) -> None:
    alias = fresh_name("alias")
    store.point_alias(alias, name)
    with pytest.raises(IntegrityError, match=f"{name} is what the alias {alias} points at"):
        store.load_index(name)


@pytest.mark.parametrize("params", [{"ef": 1}, {"ef": 64}, {"nprobe": 3}])
def test_search_parameters_never_make_a_search_fail(
    store: VectorStore, name: str, params: dict[str, int | float | str]
) -> None:
    store.upsert(name, [row(number) for number in range(1_200)])  # fewer are not indexed by a server
    store.load_index(name)
    assert len(store.search(name, unit(3)[None], 50, params=params)[0]) == 50  # a server refuses ef < 50


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"nprob": 3}, "search parameter 'nprob' is unknown; allowed are: ef, nprobe"),
        ({"ef": 0}, "ef has to be a whole number, 1 or more, not 0"),
        ({"ef": "64"}, "not '64'"),
        ({"nprobe": 1.5}, r"not 1\.5"),
        ({"nprobe": True}, "not True"),
    ],
)
def test_search_parameters_that_a_server_would_ignore_or_refuse_are_refused(
    store: VectorStore, name: str, params: dict[str, int | float | str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        store.search(name, unit(1)[None], 1, params=params)


@pytest.mark.parametrize("top", [0, 16_385])
def test_more_hits_than_a_server_returns_are_refused(store: VectorStore, name: str, top: int) -> None:
    with pytest.raises(ConfigError, match="between 1 and 16384"):
        store.search(name, unit(1)[None], top)


def test_hostile_values_find_exactly_their_own_row(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number, object_key=key, meta={"k": key}) for number, key in enumerate(HOSTILE)])
    for key in HOSTILE:
        assert keys(store, name, equals("object_key", key)) == {key}
        assert keys(store, name, in_list("object_key", [key, "no such key"])) == {key}
        assert keys(store, name, equals("meta.k", key)) == {key}
        assert keys(store, name, in_list("meta.k", [key, "no such value"])) == {key}


def test_hostile_metadata_keys_find_exactly_their_own_row(store: VectorStore, name: str) -> None:
    metadata_keys = ["plain", "a.b", "a-b", "a b", "a/b~c", "é", "A:1", "a[b", "a]b", "a'b", 'a"b', "a\\b", "1", "a,b"]
    store.upsert(name, [row(number, object_key=key, meta={key: "x"}) for number, key in enumerate(metadata_keys)])
    for key in metadata_keys:
        assert keys(store, name, equals(f"meta.{key}", "x")) == {key}


def test_filters_combine(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(number, ordinal=number % 3, media_type=f"image/{number % 2}") for number in range(6)])
    both = all_of([equals("ordinal", 1), equals("media_type", "image/0")])
    assert keys(store, name, both) == {"key-4"}
    assert keys(store, name, any_of([both, equals("object_key", "key-0")])) == {"key-0", "key-4"}
    assert keys(store, name, in_list("ordinal", [0, 2])) == {"key-0", "key-2", "key-3", "key-5"}
    assert keys(store, name, parse_filter("media_type=image/1, ordinal=0, meta.author=Ann")) == {"key-3"}
    assert keys(store, name, all_of([])) == {f"key-{number}" for number in range(6)}
    for nothing in (any_of([]), in_list("object_key", []), in_list("meta.author", [])):
        assert keys(store, name, nothing) == set()


def test_a_filter_that_cannot_be_read_is_an_error_not_an_empty_result(store: VectorStore, name: str) -> None:
    store.upsert(name, [row(1)])
    for expression in ('object_key == "', "colour == 1", "object_key = 'x'"):
        with pytest.raises(IntegrityError):
            store.search(name, unit(1)[None], 1, expression)


def test_the_store_says_what_it_is(store: VectorStore) -> None:
    assert store.server_version()


def test_rows_are_counted_below_a_prefix_of_their_keys(store: VectorStore, name: str) -> None:
    keys = ["a/1", "a/2", "a-b", "a%_", 'a"\\b', "é/1", "\U0001f600/1", "b"]
    store.upsert(name, [row(number, object_key=key) for number, key in enumerate(keys)])
    for prefix in ("", "a", "a/", "a%", 'a"\\', "é", "\U0001f600", "c", "a/1"):
        assert store.count(name, prefix) == sum(key.startswith(prefix) for key in keys), prefix
