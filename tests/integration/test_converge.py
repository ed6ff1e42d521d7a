"""The operation, end to end on real parts: a directory, SQLite, Milvus Lite, an HTTP embedding endpoint."""

import os
import time
from collections.abc import Iterator, Mapping

import pytest
from pymilvus import MilvusClient

from include.embedding_etl.converge import Request
from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.repair import repair
from include.embedding_etl.storage.local import LocalSource
from include.embedding_etl.types import ListedObject
from tests.fixtures_milvus import plain_client
from tests.fixtures_pipeline import Project
from tests.fixtures_storage import S3Server

pytestmark = pytest.mark.both_ledgers

LONG = " ".join(f"sentence {number} speaks of things that matter." for number in range(60))


def mend(project: Project) -> None:
    """What a red run tells a person to do."""
    with project.open() as runtime:
        assert repair(runtime, "mend").problems == ()
    assert project.run().green


@pytest.fixture
def stranger(milvus_lite_uri: str) -> Iterator[MilvusClient]:
    """Somebody with a client of his own who does not know about us."""
    client = plain_client(milvus_lite_uri)
    yield client
    client.close()


def test_objects_become_rows_and_nothing_else(project: Project) -> None:
    project.put_many(20)
    report = project.run()
    assert report.problems == []
    assert project.rows() == project.expected_rows()
    assert len(project.endpoint.texts) == 20


def test_a_second_run_with_nothing_changed_calls_no_model_and_writes_nothing(project: Project) -> None:
    project.put_many(5)
    project.run()
    before, asked = project.rows(), len(project.endpoint.texts)
    report = project.run()
    assert report.green
    assert report.lanes["text"].figures["model_calls"] == 0
    assert report.lanes["text"].figures["rows"] == 0
    assert len(project.endpoint.texts) == asked
    assert project.rows() == before


def test_pain_13_only_what_changed_is_embedded_and_leftovers_are_removed(project: Project) -> None:
    project.put_many(8)
    project.put("long.txt", LONG)
    first = project.run()
    chunks = first.lanes["text"].rows_milvus - 8  # type: ignore[operator]
    assert chunks > 3
    project.endpoint.texts.clear()
    project.put("long.txt", "short now")
    project.put("doc-003.txt", "rewritten")
    report = project.run()
    assert report.green
    assert sorted(project.endpoint.texts) == ["rewritten", "short now"]
    assert report.lanes["text"].figures["stale_deleted"] == chunks - 1
    assert project.rows() == project.expected_rows()


def test_pain_03_a_touched_object_gets_new_metadata_and_no_model_call(project: Project) -> None:
    project.put_many(2)
    project.run()
    asked = len(project.endpoint.texts)
    os.utime(project.root / "source" / "doc-000.txt", (2_000_000_000, 2_000_000_000))
    report = project.run()
    assert report.green
    assert len(project.endpoint.texts) == asked
    assert report.lanes["text"].figures["rows"] == 1
    assert project.rows() == project.expected_rows()


def test_pain_07_two_objects_with_the_same_bytes_are_two_rows_and_one_embedding(project: Project) -> None:
    project.put("a.txt", "the very same words")
    project.put("b.txt", "the very same words")
    assert project.run().green
    assert project.endpoint.texts == ["the very same words"]
    assert len(project.rows()) == 2
    project.remove("a.txt")
    assert project.run().green
    assert project.rows() == project.expected_rows()
    assert len(project.rows()) == 1


def test_pain_04_batch_boundaries_delete_no_good_chunk(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.embedding_etl.stages.sync.BATCH_ROWS", 3)
    monkeypatch.setattr("include.embedding_etl.stages.purge.BATCH_ROWS", 2)
    project.put_many(10)
    project.put("long.txt", LONG)
    chunks = project.run().lanes["text"].rows_milvus - 10  # type: ignore[operator]
    assert chunks > 3
    assert project.rows() == project.expected_rows({"long.txt": chunks})
    project.put("doc-004.txt", LONG)
    for number in range(5, 10):
        project.remove(f"doc-00{number}.txt")
    assert project.run().green
    assert project.rows() == project.expected_rows({"long.txt": chunks, "doc-004.txt": chunks})


def test_pain_09_user_metadata_reaches_the_rows_without_a_model_call(moto_server: S3Server, project: Project) -> None:
    bucket = moto_server.make_bucket()
    client = moto_server.client()
    client.put_object(Bucket=bucket, Key="a.txt", Body=b"words", Metadata={"author": "Ann"})
    project.configure(source={"uri": f"s3://{bucket}/"})
    credentials = moto_server.credentials()
    assert project.run(credentials=credentials).green
    asked = len(project.endpoint.texts)
    client.put_object(Bucket=bucket, Key="a.txt", Body=b"words", Metadata={"author": "Ben"})
    time.sleep(1.1)  # LastModified has a granularity of one second
    client.put_object(Bucket=bucket, Key="a.txt", Body=b"words", Metadata={"author": "Eve"})
    assert project.run(credentials=credentials).green
    assert len(project.endpoint.texts) == asked
    with project.open() as runtime:
        (page,) = runtime.store.iterate(runtime.store.alias_target(project.alias) or "", ["meta"])
    assert page[0]["meta"] == {"author": "Eve"}


def test_a_rename_costs_no_model_call(project: Project) -> None:
    project.put_many(3)
    project.run()
    asked = len(project.endpoint.texts)
    (project.root / "source" / "doc-001.txt").rename(project.root / "source" / "renamed.txt")
    assert project.run().green
    assert len(project.endpoint.texts) == asked
    assert project.rows() == project.expected_rows()


def test_pain_19_deleted_objects_are_no_longer_found(project: Project) -> None:
    keys = project.put_many(6)
    project.run()
    for key in keys[:2]:
        project.remove(key)
    assert project.run().green
    assert {key for key, _ in project.rows().values()} == set(keys[2:])


def test_a_mass_deletion_is_refused_and_can_be_approved(project: Project) -> None:
    project.thresholds = {"min_delete_objects": 3, "max_delete_fraction": 0.1}
    project.configure()
    keys = project.put_many(20)
    project.run()
    for key in keys[:5]:
        project.remove(key)
    refused = project.run()
    assert not refused.green
    assert "--approve-deletes 5" in "\n".join(refused.problems)
    assert len(project.rows()) == 20
    assert not project.run(Request(approved_deletes=4)).green
    assert len(project.rows()) == 20
    assert project.run(Request(approved_deletes=5)).green
    assert project.rows() == project.expected_rows()


def test_pain_20_one_bad_object_goes_to_the_dead_letters_and_the_rest_is_indexed(project: Project) -> None:
    project.thresholds = {"max_failed_fraction": 0.5}
    project.configure()
    project.put_many(4)
    project.put("blank.txt", "   \n \n")
    report = project.run()
    assert report.green
    assert report.lanes["text"].dead_letters == 1
    assert len(project.rows()) == 4
    asked = len(project.endpoint.texts)
    assert project.run().lanes["text"].dead_letters == 1
    project.put("blank.txt", "now it says something")
    healed = project.run()
    assert healed.green
    assert healed.lanes["text"].dead_letters == 0
    assert project.endpoint.texts[asked:] == ["now it says something"]
    assert len(project.rows()) == 5


def test_pain_06_an_object_that_turned_bad_keeps_its_old_rows(project: Project) -> None:
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    project.put("a.txt", "good words")
    project.run()
    before = project.rows()
    project.put("a.txt", "  \n ")
    report = project.run()
    assert report.green
    assert report.lanes["text"].dead_letters == 1
    assert project.rows() == before


def test_pain_22_too_many_failures_make_the_run_red(project: Project) -> None:
    project.put_many(2)
    for number in range(3):
        project.put(f"blank-{number}.txt", " \n")
    report = project.run()
    assert not report.green
    assert "max_failed_fraction" in "\n".join(report.problems)
    assert len(project.rows()) == 2


def test_pain_01_a_dropped_collection_is_never_green_until_it_is_written_again(
    project: Project, stranger: MilvusClient
) -> None:
    project.put_many(7)
    report = project.run()
    collection = report.lanes["text"].collection
    stranger.drop_alias(alias=project.alias)
    stranger.drop_collection(collection)
    for _ in range(2):
        red = project.run()
        assert not red.green
        assert "7 rows of 7 objects should be" in "\n".join(red.problems)
        assert f"etl audit {project.name} --repair" in "\n".join(red.problems)
    asked = len(project.endpoint.texts)
    mend(project)
    assert len(project.endpoint.texts) == asked
    assert project.rows() == project.expected_rows()
    assert project.run().green


@pytest.mark.parametrize("left", [0, 4])
def test_pain_11_an_emptied_collection_is_never_green(project: Project, left: int) -> None:
    project.put_many(7)
    collection = project.run().lanes["text"].collection
    with project.open() as runtime:
        runtime.store.delete(collection, sorted(project.rows())[left:])
    red = project.run()
    assert not red.green
    assert f"{7 - left} are missing" in "\n".join(red.problems)
    mend(project)
    assert project.rows() == project.expected_rows()


def test_a_foreign_row_makes_the_run_red(project: Project, stranger: MilvusClient) -> None:
    project.put_many(3)
    collection = project.run().lanes["text"].collection
    row = stranger.query(collection, filter="ordinal == 0", output_fields=["*"], limit=1)[0]
    stranger.upsert(collection, [{**row, "id": "f" * 32}])
    red = project.run()
    assert not red.green
    assert "1 is too many" in "\n".join(red.problems)
    mend(project)


def test_a_lost_alias_is_put_back_and_a_bent_one_is_red(project: Project, stranger: MilvusClient) -> None:
    project.put_many(2)
    collection = project.run().lanes["text"].collection
    stranger.drop_alias(alias=project.alias)
    assert project.run().green
    assert stranger.describe_alias(alias=project.alias)["collection_name"] == collection
    other = Project(project.root / "other", project.milvus_uri, project.endpoint)
    other.put_many(2)
    elsewhere = other.run().lanes["text"].collection
    stranger.alter_alias(collection_name=elsewhere, alias=project.alias)
    red = project.run()
    assert not red.green
    assert f"points at {elsewhere}, not at {collection}" in "\n".join(red.problems)
    mend(project)
    assert stranger.describe_alias(alias=project.alias)["collection_name"] == collection


def test_a_lost_ledger_loses_no_row_and_leaves_readers_alone_until_a_person_says_so(project: Project) -> None:
    project.put_many(5)
    project.run()
    before = project.rows()
    project.lose_ledger()
    red = project.run()
    assert "points at" in "\n".join(red.problems)
    assert project.rows() == before
    mend(project)
    assert project.rows() == before == project.expected_rows()


def test_a_listing_that_breaks_off_deletes_nothing(project: Project) -> None:
    project.put_many(3)
    project.run()
    (project.root / "source").rename(project.root / "moved")
    red = project.run()
    assert not red.green
    assert len(project.rows()) == 3
    (project.root / "moved").rename(project.root / "source")
    assert project.run().green


def test_an_endpoint_that_is_down_loses_nothing(project: Project) -> None:
    project.put_many(3)
    project.endpoint.fail_next = 1_000_000
    assert not project.run().green
    project.endpoint.fail_next = 0
    assert project.run().green
    assert project.rows() == project.expected_rows()


def test_editing_the_model_in_the_file_changes_nothing_until_a_reindex(project: Project) -> None:
    project.put_many(2)
    collection = project.run().lanes["text"].collection
    path = project.root / "pipelines" / f"{project.name}.yaml"
    path.write_text(path.read_text().replace("max_tokens: 64", "max_tokens: 32"))
    project.put("new.txt", "another one")
    report = project.run()
    assert report.green
    assert report.lanes["text"].collection == collection
    assert report.lanes["text"].differs == ("model.max_tokens",)
    assert len(project.rows()) == 3


def test_hostile_keys_are_indexed_and_deleted_exactly(project: Project) -> None:
    keys = [
        "a b.txt",
        "quote'\".txt",
        "back\\slash.txt",
        "ünï/コード.txt",
        "%2F+&=.txt",
        "tab\there.txt",
        "x" * 200 + ".txt",
    ]
    for key in keys:
        project.put(key, f"words of {key}")
    assert project.run().green
    assert {key for key, _ in project.rows().values()} == set(keys)
    for key in keys[:3]:
        project.remove(key)
    assert project.run().green
    assert {key for key, _ in project.rows().values()} == set(keys[3:])


def test_pain_16_many_objects_make_few_shards(project: Project) -> None:
    project.configure(shards={"max_shards": 3, "max_shard_objects": 5})
    project.put_many(40)
    report = project.run()
    assert report.green
    with project.open() as runtime:
        run = runtime.ledger.runs.get("run-1")
    assert run is not None
    embedded = [stage for stage in run.stages if stage.stage == "embed"]
    assert len(embedded) == 3
    assert max(stage.counts["embedded"] for stage in embedded) <= 15


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_a_lost_file_of_the_embedding_store_is_red_once_and_embedded_again(project: Project, damage: str) -> None:
    project.put_many(4)
    project.run()
    (file,) = (project.root / "state" / "embeddings").rglob("*.parquet")
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-50])
    red = project.run(Request(rewrite=frozenset({"text"})))
    assert not red.green
    assert "run again to embed them anew" in "\n".join(red.problems)
    assert project.run().green
    assert len(project.endpoint.texts) == 8
    assert project.rows() == project.expected_rows()


def test_objects_that_may_not_be_read_make_the_run_red_and_keep_their_rows(project: Project) -> None:
    project.put_many(2)
    project.run()
    before = project.rows()
    path = project.put("doc-000.txt", "a secret now")
    runtime_read = LocalSource.read_head

    def forbidden(self: LocalSource, listed: ListedObject, size_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        if listed.key == path.name:
            raise PoisonObject(listed.key, "identify", "Forbidden", "you may not read it")
        return runtime_read(self, listed, size_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalSource, "read_head", forbidden)  # root may read everything: no file mode can forbid it here
        red = project.run()
    assert not red.green
    assert "1 of 2 objects are dead letters or not readable" in "\n".join(red.problems)
    assert project.rows() == before
    assert project.run().green
    assert project.rows() == project.expected_rows()
