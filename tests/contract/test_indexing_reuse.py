"""Which vectors are made again and which are not, and that documents are never taken for each other.

The situations are those that the ingestion-pipeline and cache tests of llama-index-core try, put as questions to
converge: duplicates, collisions, a cache by content and transformation, several transformations, parallel workers.

Left out, as they have no meaning here:
- docstore strategies as a choice, and a docstore without a vector store (or the other way round): there is one way, and
  ledger and store belong to it. "Duplicates only" would drop the second of two documents with the same content; here it
  has rows of its own and shares the vectors.
- arbitrary transformations and readers as Python objects, nodes that are handed in ready-made, async twins: what
  changes a vector is the lane's configuration, and its fingerprint.
- one cache entry per worker or transformation: the embedding store has one per content.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from include.embedding_etl.converge import Request
from include.embedding_etl.errors import TransientError
from tests.fixtures_pipeline import Project
from tests.fixtures_scenarios import Line, edit, long_text, neighbour, read_field

pytestmark = pytest.mark.both_ledgers

SAME = "the very same words"


def test_documents_with_the_same_content_share_its_vectors_and_nothing_else(pipeline: Project) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        pipeline.put(key, SAME)
    pipeline.put("d.txt", "other words")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["other words", SAME]
    assert len(pipeline.rows()) == 4
    assert pipeline.rows() == pipeline.expected_rows()
    pipeline.remove("a.txt")
    pipeline.put("b.txt", "words of its own")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["words of its own"]
    assert pipeline.rows() == pipeline.expected_rows()
    assert read_field(pipeline, "text")[("c.txt", 0)] == SAME


def test_workers_that_share_the_documents_embed_each_content_once(pipeline: Project, line: Line) -> None:
    pipeline.configure(shards={"max_shards": 4, "max_shard_objects": 2})
    for number in range(8):
        pipeline.put(f"twin-{number}.txt", f"words that two documents have, pair {number // 2}")
    pipeline.put("late/long.txt", long_text(8))
    assert pipeline.run().green
    assert len(line.upserts) == 4
    asked = pipeline.endpoint.take_texts()
    assert len(asked) == len(set(asked))
    chunks = len(asked) - 4
    line.take_writes()
    pipeline.put("later.txt", "words that two documents have, pair 1")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert pipeline.rows() == pipeline.expected_rows({"late/long.txt": chunks})


def test_contents_may_change_places(pipeline: Project) -> None:
    pipeline.put("a.txt", long_text(4, "apples"))
    pipeline.put("b.txt", "only bread")
    assert pipeline.run().green
    chunks = len(pipeline.endpoint.take_texts()) - 1
    pipeline.put("a.txt", "only bread")
    pipeline.put("b.txt", long_text(4, "apples"))
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert pipeline.rows() == pipeline.expected_rows({"b.txt": chunks})
    texts = read_field(pipeline, "text")
    assert [text for (key, _), text in texts.items() if key == "a.txt"] == ["only bread"]
    assert all("apples" in str(text) or "matter" in str(text) for (key, _), text in texts.items() if key == "b.txt")


def test_a_former_version_that_comes_back_is_not_embedded_again(pipeline: Project) -> None:
    for text, asked in (("first", ["first"]), ("second", ["second"]), ("first", [])):
        pipeline.put("a.txt", text)
        assert pipeline.run().green
        assert pipeline.endpoint.take_texts() == asked
        assert read_field(pipeline, "text") == {("a.txt", 0): text}
    assert pipeline.rows() == pipeline.expected_rows()


def test_vectors_are_reused_for_the_same_content_and_the_same_settings_only(pipeline: Project) -> None:
    pipeline.put("a.txt", long_text(3))
    assert pipeline.run().green
    chunks = pipeline.endpoint.take_texts()
    same, finer = neighbour(pipeline), neighbour(pipeline)
    assert same.run().green
    assert pipeline.endpoint.take_texts() == []
    assert same.rows() == same.expected_rows({"a.txt": len(chunks)})
    edit(finer, chunk={"max_tokens": 32})
    assert finer.run().green
    finer_chunks = pipeline.endpoint.take_texts()
    assert len(finer_chunks) > len(chunks)
    assert finer.rows() == finer.expected_rows({"a.txt": len(finer_chunks)})
    assert sorted(map(str, read_field(same, "text").values())) == chunks


def test_another_process_knows_what_this_one_has_embedded(project: Project) -> None:
    project.put_many(3)
    assert project.run().green
    assert len(project.endpoint.take_texts()) == 3
    project.put("again.txt", "doc number 1 is about topic 7919")
    project.put("new.txt", "never seen before")
    done = project.run_process()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["green"]
    assert project.endpoint.take_texts() == ["never seen before"]
    assert project.rows() == project.expected_rows()


def test_a_lost_embedding_store_costs_nothing_until_its_vectors_are_needed(pipeline: Project) -> None:
    pipeline.put_many(3)
    assert pipeline.run().green
    pipeline.endpoint.take_texts()
    shutil.rmtree(pipeline.root / "state" / "embeddings")
    pipeline.put("new.txt", "never seen before")
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == ["never seen before"]
    assert pipeline.rows() == pipeline.expected_rows()
    for _ in range(2):  # it is noticed by the first run; the second one knows what to do
        report = pipeline.run(Request(rewrite=frozenset({"text"})))
    assert report.green
    assert len(pipeline.endpoint.take_texts()) == 3
    assert pipeline.rows() == pipeline.expected_rows()


def test_two_lanes_cut_the_same_documents_each_in_its_own_way(pipeline: Project) -> None:
    edit(pipeline, lane="fine", chunk={"max_tokens": 24})
    pipeline.put("a.txt", long_text(3))
    assert pipeline.run().green
    coarse = sorted(map(str, read_field(pipeline, "text").values()))
    fine = sorted(map(str, read_field(pipeline, "text", lane="fine").values()))
    assert len(fine) > len(coarse)
    assert pipeline.endpoint.take_texts() == sorted(coarse + fine)
    pipeline.put("a.txt", "one chunk now")
    assert pipeline.run().green
    assert list(read_field(pipeline, "text").values()) == ["one chunk now"]
    assert list(read_field(pipeline, "text", lane="fine").values()) == ["one chunk now"]
    assert pipeline.rows() == pipeline.expected_rows()


def test_two_runs_at_once_embed_and_write_every_document_once(pipeline: Project, line: Line) -> None:
    keys = pipeline.put_many(12)
    twin = replace(pipeline, runs=100)
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(one.run) for one in (pipeline, twin)]
    refusals = [run.exception() for run in runs if run.exception() is not None]
    assert all(isinstance(error, TransientError) for error in refusals)
    assert any(run.result().green for run in runs if run.exception() is None)
    assert len(pipeline.endpoint.take_texts()) == len(keys)
    upserted, deleted = line.take_writes()
    assert (len(upserted), deleted) == (len(keys), set())
    assert pipeline.run().green
    assert pipeline.endpoint.take_texts() == []
    assert pipeline.rows() == pipeline.expected_rows()


def test_a_run_touches_the_rows_of_its_own_pipeline_only(pipeline: Project, line: Line) -> None:
    other = neighbour(pipeline, "elsewhere")
    for key in ("a.txt", "b.txt"):
        pipeline.put(key, f"{key} here")
        (other.root / "elsewhere" / key).write_text(f"{key} elsewhere")
    assert pipeline.run().green
    assert other.run().green
    theirs = other.rows()
    assert len(theirs) == 2
    assert theirs == other.expected_rows()
    assert not theirs.keys() & pipeline.rows().keys()
    line.take_writes()
    pipeline.put("a.txt", "a.txt here, changed")
    pipeline.remove("b.txt")
    assert pipeline.run().green
    upserted, deleted = line.take_writes()
    assert not theirs.keys() & (upserted | deleted)
    assert other.rows() == theirs
    assert pipeline.rows() == pipeline.expected_rows()


def test_keys_that_look_alike_are_different_documents(pipeline: Project) -> None:
    keys = ["doc", "doc1", "doc 1", "Doc1", "dir/oc1", "d/iroc1", "docé", "doce\u0301"]
    for number, key in enumerate(keys):
        pipeline.put(key, f"text number {number}")
    pipeline.put("doc", long_text(16))  # its row 10 is not row 0 of "doc1"
    assert pipeline.run().green
    chunks = len(pipeline.endpoint.take_texts()) - len(keys) + 1
    assert chunks > 10
    assert len(pipeline.rows()) == chunks + len(keys) - 1
    assert pipeline.rows() == pipeline.expected_rows({"doc": chunks})
    pipeline.remove("doc")
    pipeline.remove("docé")
    assert pipeline.run().green
    assert {key for key, _ in pipeline.rows().values()} == set(keys) - {"doc", "docé"}
