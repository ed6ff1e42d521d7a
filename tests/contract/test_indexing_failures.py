"""What a run that breaks off leaves behind: nothing that is false, nothing that is lost, and a next run that finishes.

The situations are those of the failure and atomicity tests of langchain-core's indexing and llama-index-core's
ingestion pipeline, put as questions to converge: a failed document must not be taken for done, a failed update must not
cost the old version, and nothing is deleted by a run that has failed.

Left out, as it has no meaning here: leaving the store exactly as it was. A run that breaks off half way keeps what it
has verified; every object shows its old version or its new one.
"""

import pytest

from include.embedding_etl.vectorstore.schema import row_id
from tests.fixtures_pipeline import Project
from tests.fixtures_scenarios import Fault, Line, edit, long_text, read_field

pytestmark = pytest.mark.both_ledgers


def one_object_a_shard(pipeline: Project) -> None:
    """Make small steps, so that a run can break off between two documents."""
    pipeline.configure(shards={"max_shards": 10, "max_shard_objects": 1})


def test_documents_that_failed_are_not_taken_for_done(pipeline: Project) -> None:
    pipeline.put_many(3)
    pipeline.endpoint.fail_next = 1_000
    for _ in range(2):
        report = pipeline.run()
        assert not report.green
        assert "3 to embed" in "\n".join(report.problems)
        assert pipeline.rows() == {}
    pipeline.endpoint.fail_next = 0
    assert pipeline.run().green
    assert len(pipeline.endpoint.take_texts()) == 3
    assert pipeline.rows() == pipeline.expected_rows()


def test_a_failed_update_keeps_the_old_version_and_deletes_nothing(pipeline: Project) -> None:
    for key in ("a-good", "b-bad", "c-gone"):
        pipeline.put(f"{key}.txt", f"{key}, first version")
    assert pipeline.run().green
    pipeline.endpoint.take_texts()
    one_object_a_shard(pipeline)
    pipeline.put("a-good.txt", "a-good, second version")
    pipeline.put("b-bad.txt", "b-bad, second version")
    pipeline.remove("c-gone.txt")
    pipeline.endpoint.fail_texts = {"b-bad, second version"}
    assert not pipeline.run().green
    assert read_field(pipeline, "text") == {
        ("a-good.txt", 0): "a-good, second version",
        ("b-bad.txt", 0): "b-bad, first version",
        ("c-gone.txt", 0): "c-gone, first version",
    }
    pipeline.endpoint.fail_texts = set()
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["a-good, second version", "b-bad, second version"]
    assert pipeline.rows() == pipeline.expected_rows()


def test_vectors_made_before_the_endpoint_failed_are_not_made_again(pipeline: Project) -> None:
    pipeline.put_many(40)
    pipeline.put("last.txt", "x")  # the shortest text is in the last of three model calls
    pipeline.endpoint.fail_texts = {"x"}
    assert not pipeline.run().green
    made = set(pipeline.endpoint.take_texts())
    assert len(made) == 32
    pipeline.endpoint.fail_texts = set()
    assert pipeline.run().green
    assert pipeline.rows() == pipeline.expected_rows()
    assert not made & set(pipeline.endpoint.take_texts())


def test_a_lane_that_fails_does_not_keep_the_other_from_its_work(pipeline: Project) -> None:
    edit(pipeline, lane="fine", chunk={"max_tokens": 16})
    pipeline.put("a.txt", "these words are longer than sixteen bytes")
    pipeline.endpoint.fail_texts = {"these words are"}
    report = pipeline.run()
    assert not report.green
    assert all("lane text:" not in problem for problem in report.problems)
    assert pipeline.rows() == pipeline.expected_rows()
    assert read_field(pipeline, "text", lane="fine") == {}
    pipeline.endpoint.fail_texts = set()
    pipeline.endpoint.take_texts()
    assert pipeline.run().green
    assert "these words are" in pipeline.endpoint.take_texts()
    assert len(read_field(pipeline, "text", lane="fine")) > 1


def test_what_failed_may_be_another_version_or_gone_by_the_next_run(pipeline: Project) -> None:
    pipeline.put("changes.txt", "changes, first version")
    pipeline.put("goes.txt", "goes, first version")
    pipeline.endpoint.fail_next = 1_000
    assert not pipeline.run().green
    pipeline.endpoint.fail_next = 0
    pipeline.put("changes.txt", "changes, second version")
    pipeline.remove("goes.txt")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["changes, second version"]
    assert pipeline.rows() == pipeline.expected_rows()


@pytest.mark.parametrize("fault", ["refused", "lost", "swallowed"])
def test_an_upsert_that_fails_half_way_is_red_and_nobody_sees_half_a_truth(
    pipeline: Project, line: Line, fault: Fault
) -> None:
    keys = ("a.txt", "b.txt", "c.txt")
    for key in keys:
        pipeline.put(key, f"{key}, first version")
    assert pipeline.run().green
    pipeline.endpoint.take_texts()
    one_object_a_shard(pipeline)
    for key in keys:
        pipeline.put(key, f"{key}, second version")
    line.break_at("upsert", fault, call=2)
    report = pipeline.run()
    assert not report.green
    assert report.lanes["text"].indexed == 1
    assert list(read_field(pipeline, "text").values()) == [
        "a.txt, second version",
        "b.txt, second version" if fault == "lost" else "b.txt, first version",
        "c.txt, first version",
    ]
    assert pipeline.run().green
    assert len(pipeline.endpoint.take_texts()) == 3  # what was embedded before the line broke is not embedded again
    assert pipeline.rows() == pipeline.expected_rows()


@pytest.mark.parametrize("text", ["short now", ""], ids=["shrinks", "goes"])
def test_rows_that_arrived_unconfirmed_do_not_outlive_their_text(pipeline: Project, line: Line, text: str) -> None:
    pipeline.put("stays.txt", "it stays")
    pipeline.put("long.txt", long_text(6))
    line.break_at("upsert", "lost")
    assert not pipeline.run().green
    assert len(pipeline.rows()) > 3  # they are there, and the ledger has not confirmed them
    pipeline.put("long.txt", text)
    assert pipeline.run().green
    assert pipeline.rows() == pipeline.expected_rows({"long.txt": 1 if text else 0})


@pytest.mark.parametrize("fault", ["refused", "swallowed"])
def test_stale_rows_that_could_not_be_deleted_make_the_run_red_and_go_with_the_next(
    pipeline: Project, line: Line, fault: Fault
) -> None:
    pipeline.put("a.txt", long_text(5))
    pipeline.put("b.txt", "another one")
    assert pipeline.run().green
    assert len(pipeline.rows()) > 4
    pipeline.put("a.txt", "one chunk now")
    pipeline.endpoint.take_texts()
    line.break_at("delete", fault)
    report = pipeline.run()
    assert not report.green
    assert report.lanes["text"].indexed == 1
    assert row_id(pipeline.name, "text", "a.txt", 0) in pipeline.rows()  # the new version was there before
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["one chunk now"]
    assert pipeline.rows() == pipeline.expected_rows()


@pytest.mark.parametrize("fault", ["lost", "swallowed"])
def test_vanished_documents_that_could_not_be_deleted_make_the_run_red_and_go_with_the_next(
    pipeline: Project, line: Line, fault: Fault
) -> None:
    pipeline.put("a.txt", long_text(5))
    pipeline.put("b.txt", "another one")
    assert pipeline.run().green
    pipeline.remove("a.txt")
    pipeline.put("c.txt", "came at the same time")
    line.break_at("delete", fault)
    report = pipeline.run()
    assert not report.green
    assert pipeline.expected_rows().items() <= pipeline.rows().items()
    assert pipeline.run().green
    assert pipeline.rows() == pipeline.expected_rows()
    assert pipeline.run().lanes["text"].figures["rows_deleted"] == 0


def test_a_document_that_cannot_be_embedded_stands_in_nobodys_way_and_is_tried_in_every_new_version(
    pipeline: Project,
) -> None:
    pipeline.thresholds = {"max_failed_fraction": 0.7}
    pipeline.configure()
    pipeline.put("good.txt", "good words")
    for key in ("bad.txt", "twin-of-bad.txt"):
        pipeline.put(key, " \n ")
    for _ in range(2):
        report = pipeline.run()
        assert report.green
        assert report.lanes["text"].dead_letters == 2
        assert {key for key, _ in pipeline.rows().values()} == {"good.txt"}
    pipeline.put("bad.txt", "good at last")
    report = pipeline.run()
    assert report.green
    assert report.lanes["text"].dead_letters == 1
    pipeline.put("bad.txt", " \n ")  # bytes that have failed before
    report = pipeline.run()
    assert report.lanes["text"].dead_letters == 2
    assert read_field(pipeline, "text") == {("bad.txt", 0): "good at last", ("good.txt", 0): "good words"}
    pipeline.remove("bad.txt")
    pipeline.remove("twin-of-bad.txt")
    report = pipeline.run()
    assert report.green
    assert report.lanes["text"].dead_letters == 0
    assert pipeline.endpoint.take_texts() == ["good at last", "good words"]
    assert pipeline.rows() == pipeline.expected_rows()
