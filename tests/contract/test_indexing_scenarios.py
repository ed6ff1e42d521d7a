"""What one run adds, skips, replaces and deletes, on the store in memory and on Milvus Lite alike.

The situations are those that the indexing tests of langchain-core try, put as questions to converge. Two more files
belong here: test_indexing_reuse.py (which vectors are made again) and test_indexing_failures.py (what a run that breaks
off leaves behind).

Left out, as they have no meaning here:
- cleanup modes. A collection always equals storage, so "none" (old versions pile up) and "incremental" (vanished
  documents stay) do not exist; nearest is the guard against mass deletion. The scope of a "scoped full" cleanup is the
  pipeline, and the globs of its source.
- documents without a source id, ids of the caller's own, a choice of key encoders: an object always has a key, and row
  ids are made from it.
- the same document twice in one input: a listing has each key once.
- a clock that runs backwards between record manager and index: no decision compares clocks.
- arguments handed through to the store, destinations that cannot update, async twins, internals such as iterators.
"""

import os
import time

import pytest

from include.embedding_etl.converge import Request
from tests.fixtures_pipeline import Project
from tests.fixtures_scenarios import Line, edit, long_text, read_field
from tests.fixtures_storage import S3Server

pytestmark = pytest.mark.both_ledgers


def ids_of(pipeline: Project, *keys: str) -> set[str]:
    """Ids of the rows that readers see of some objects."""
    return {each for each, (key, _) in pipeline.rows().items() if key in keys}


def test_an_empty_source_is_green_and_shows_nothing(pipeline: Project) -> None:
    report = pipeline.run()
    assert report.problems == []
    assert pipeline.rows() == {}
    assert pipeline.endpoint.texts == []
    pipeline.put("first.txt", "the first words")
    assert pipeline.run().green
    assert len(pipeline.rows()) == 1
    assert pipeline.rows() == pipeline.expected_rows()


def test_what_has_not_changed_is_neither_embedded_nor_written_however_often_it_is_run(
    pipeline: Project, line: Line
) -> None:
    pipeline.put_many(4)
    assert pipeline.run().green
    line.take_writes()
    pipeline.endpoint.take_texts()
    for _ in range(2):
        report = pipeline.run()
        assert report.green
        assert report.lanes["text"].indexed == 4
    assert pipeline.endpoint.take_texts() == []
    assert line.take_writes() == (set(), set())
    assert pipeline.rows() == pipeline.expected_rows()


def test_one_run_adds_skips_replaces_and_deletes_each_where_it_is_due(pipeline: Project, line: Line) -> None:
    for key in ("kept", "rewritten", "vanishing"):
        pipeline.put(f"{key}.txt", f"{key}, first version")
    assert pipeline.run().green
    gone = ids_of(pipeline, "vanishing.txt")
    line.take_writes()
    pipeline.endpoint.take_texts()
    pipeline.put("rewritten.txt", "rewritten, second version")
    pipeline.put("added.txt", "added later")
    pipeline.remove("vanishing.txt")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["added later", "rewritten, second version"]
    assert line.take_writes() == (ids_of(pipeline, "rewritten.txt", "added.txt"), gone)
    assert pipeline.rows() == pipeline.expected_rows()
    assert read_field(pipeline, "text") == {
        ("added.txt", 0): "added later",
        ("kept.txt", 0): "kept, first version",
        ("rewritten.txt", 0): "rewritten, second version",
    }


def test_a_document_may_grow_and_shrink_between_its_neighbours(pipeline: Project, line: Line) -> None:
    pipeline.put_many(3)
    pipeline.put("doc-001.txt", "short at first")
    assert pipeline.run().green
    line.take_writes()
    pipeline.endpoint.take_texts()
    pipeline.put("doc-001.txt", long_text(12))
    assert pipeline.run().green
    chunks = pipeline.endpoint.take_texts()
    assert len(chunks) > 5
    assert pipeline.rows() == pipeline.expected_rows({"doc-001.txt": len(chunks)})
    assert (
        sorted(str(text) for (key, _), text in read_field(pipeline, "text").items() if key == "doc-001.txt") == chunks
    )
    before = ids_of(pipeline, "doc-001.txt")
    assert line.take_writes() == (before, set())
    pipeline.put("doc-001.txt", "short again")
    report = pipeline.run()
    assert report.green
    assert report.lanes["text"].figures["stale_deleted"] == len(chunks) - 1
    assert line.take_writes() == (ids_of(pipeline, "doc-001.txt"), before - ids_of(pipeline, "doc-001.txt"))
    assert pipeline.rows() == pipeline.expected_rows()


def test_a_document_of_more_chunks_than_any_batch_stays_whole(pipeline: Project) -> None:
    pipeline.put_many(3)
    pipeline.put("doc-000b.txt", long_text(1_300))  # in the middle of the others, and more than a batch of rows
    assert pipeline.run().green
    asked = pipeline.endpoint.take_texts()
    chunks = len(asked) - 3
    assert chunks > 1_000
    assert len(set(asked)) == len(asked)
    assert pipeline.rows() == pipeline.expected_rows({"doc-000b.txt": chunks})
    assert pipeline.run().green
    pipeline.put("doc-000.txt", "a neighbour in the same batch")
    pipeline.remove("doc-002.txt")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["a neighbour in the same batch"]
    assert pipeline.rows() == pipeline.expected_rows({"doc-000b.txt": chunks})
    pipeline.remove("doc-000b.txt")
    assert pipeline.run().green
    assert pipeline.rows() == pipeline.expected_rows()


def test_the_size_of_a_model_batch_changes_no_row_and_no_vector(pipeline: Project) -> None:
    edit(pipeline, model={"batch_size": 1})
    pipeline.put("long.txt", long_text(6))
    pipeline.put_many(2)
    assert pipeline.run().green
    chunks = len(pipeline.endpoint.take_texts()) - 2
    assert chunks > 3
    edit(pipeline, model={"batch_size": 16})
    report = pipeline.run(Request(rewrite=frozenset({"text"})))
    assert report.green
    assert report.lanes["text"].differs == ()
    assert pipeline.endpoint.take_texts() == []
    assert pipeline.rows() == pipeline.expected_rows({"long.txt": chunks})


def test_all_documents_may_go_and_come_back(pipeline: Project) -> None:
    keys = pipeline.put_many(5)
    assert pipeline.run().green
    pipeline.endpoint.take_texts()
    for key in keys:
        pipeline.remove(key)
    assert pipeline.run().green
    assert pipeline.rows() == {}
    pipeline.put_many(5)
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert len(pipeline.rows()) == 5
    assert pipeline.rows() == pipeline.expected_rows()


def test_rows_that_may_not_be_deleted_yet_stay_while_everything_else_goes_on(pipeline: Project) -> None:
    pipeline.thresholds = {"min_delete_objects": 1}
    pipeline.configure()
    keys = pipeline.put_many(6)
    assert pipeline.run().green
    left_over = {each: row for each, row in pipeline.rows().items() if row[0] in keys[:3]}
    for key in keys[:3]:
        pipeline.remove(key)
    pipeline.put("new.txt", "came with the deletion")
    assert not pipeline.run().green
    assert pipeline.rows() == pipeline.expected_rows() | left_over
    assert pipeline.run(Request(approved_deletes=3)).green
    assert pipeline.rows() == pipeline.expected_rows()


def test_documents_that_the_globs_leave_out_go_and_come_back_without_a_model_call(pipeline: Project) -> None:
    pipeline.put("letters/a.txt", "a letter")
    pipeline.put("notes/a.txt", "a note")
    assert pipeline.run().green
    pipeline.endpoint.take_texts()
    source = {"uri": f"file://{pipeline.root / 'source'}"}
    pipeline.configure(source={**source, "include": ["letters/**"]})
    assert pipeline.run().green
    assert {key for key, _ in pipeline.rows().values()} == {"letters/a.txt"}
    pipeline.configure(source=source)
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert pipeline.rows() == pipeline.expected_rows()


def test_an_empty_document_has_no_rows_and_gets_them_with_its_first_word(pipeline: Project) -> None:
    pipeline.put("empty.txt", "")
    pipeline.put("full.txt", "some words")
    report = pipeline.run()
    assert report.green
    assert report.skipped == {"empty": 1}
    assert pipeline.endpoint.take_texts() == ["some words"]
    assert {key for key, _ in pipeline.rows().values()} == {"full.txt"}
    pipeline.put("empty.txt", "its first word")
    pipeline.put("full.txt", "")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["its first word"]
    assert {key for key, _ in pipeline.rows().values()} == {"empty.txt"}


def test_a_forced_update_writes_every_row_again_and_calls_no_model(pipeline: Project, line: Line) -> None:
    pipeline.put_many(3)
    pipeline.put("long.txt", long_text(5))
    assert pipeline.run().green
    before = pipeline.rows()
    line.take_writes()
    pipeline.endpoint.take_texts()
    assert set(read_field(pipeline, "run_id").values()) == {"run-1"}
    assert pipeline.run(Request(rewrite=frozenset({"text"}))).green
    assert pipeline.endpoint.take_texts() == []
    assert line.take_writes() == (set(before), set())
    assert pipeline.rows() == before
    assert set(read_field(pipeline, "run_id").values()) == {"run-2"}


def test_another_time_stamp_rewrites_that_documents_rows_and_calls_no_model(pipeline: Project, line: Line) -> None:
    pipeline.put_many(2)
    pipeline.put("long.txt", long_text(5))
    assert pipeline.run().green
    chunks = len(pipeline.endpoint.take_texts()) - 2
    line.take_writes()
    os.utime(pipeline.root / "source" / "long.txt", (2_000_000_000, 2_000_000_000))
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert line.take_writes() == (ids_of(pipeline, "long.txt"), set())
    times = {at for (key, _), at in read_field(pipeline, "last_modified").items() if key == "long.txt"}
    assert times == {2_000_000_000_000}
    assert pipeline.rows() == pipeline.expected_rows({"long.txt": chunks})


def test_a_document_restored_from_a_backup_replaces_the_newer_one(pipeline: Project) -> None:
    pipeline.put("a.txt", "the newer version")
    assert pipeline.run().green
    pipeline.put("a.txt", "from the backup")
    os.utime(pipeline.root / "source" / "a.txt", (1_000_000_000, 1_000_000_000))
    assert pipeline.run().green
    assert read_field(pipeline, "text") == {("a.txt", 0): "from the backup"}
    assert pipeline.rows() == pipeline.expected_rows()


def test_metadata_alone_costs_no_model_call_and_with_new_content_just_one(
    pipeline: Project, moto_server: S3Server
) -> None:
    bucket, client = moto_server.make_bucket(), moto_server.client()
    credentials = moto_server.credentials()
    pipeline.configure(source={"uri": f"s3://{bucket}/"})
    client.put_object(Bucket=bucket, Key="a.txt", Body=b"a text", Metadata={"status": "draft"})
    client.put_object(Bucket=bucket, Key="b.txt", Body=b"b text", Metadata={"status": "draft"})
    client.put_object(Bucket=bucket, Key="c.txt", Body=b"c text", Metadata={"status": "draft"})
    next_second_at = int(time.time()) + 1.01  # LastModified has a granularity of one second
    assert pipeline.run(credentials=credentials).green
    assert len(pipeline.endpoint.take_texts()) == 3
    time.sleep(max(0.0, next_second_at - time.time()))
    client.put_object(Bucket=bucket, Key="a.txt", Body=b"a text", Metadata={"status": "final"})
    client.put_object(Bucket=bucket, Key="b.txt", Body=b"b changed", Metadata={"status": "final"})
    client.delete_object(Bucket=bucket, Key="c.txt")
    assert pipeline.run(credentials=credentials).green
    assert pipeline.endpoint.take_texts() == ["b changed"]
    assert pipeline.rows() == pipeline.expected_rows(credentials=credentials)
    assert read_field(pipeline, "meta") == {("a.txt", 0): {"status": "final"}, ("b.txt", 0): {"status": "final"}}
