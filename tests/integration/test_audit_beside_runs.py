"""What an audit must not do: write anything, or call what a run is doing a fault. And what it leaves to others."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from include.embedding_etl.audit import Audit, audit
from include.embedding_etl.converge import Request
from include.embedding_etl.stages.report import Report
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.milvus import MilvusStore
from tests.fixtures_audit import (
    LONG,
    Scene,
    add_a_chunk_to_an_object,
    add_an_object_that_storage_never_had,
    add_rows_that_are_not_ours,
    age,
    delete_rows,
    drop_the_collection,
    found,
    give_the_collection_another_index,
    ledger_dump,
    make_collection,
)
from tests.fixtures_pipeline import Project
from tests.fixtures_scenarios import Line, neighbour

pytestmark = pytest.mark.both_ledgers


@dataclass
class Watched(Line):
    """A line on which an audit looks at everything right behind each write, before the ledger knows of it."""

    watch: Callable[[], Audit] | None = None
    seen: list[Audit] = field(default_factory=list)

    def send(self, verb: str, write: Callable[[], None]) -> None:
        super().send(verb, write)
        if self.watch is not None:
            self.seen.append(self.watch())


def watched(scene: Scene) -> Watched:
    def connect() -> VectorStore:
        return MilvusStore(scene.project.milvus_uri)

    line = Watched(connect)
    observer = replace(scene.project, open_store=None)

    def watch() -> Audit:
        with observer.open() as runtime:
            return audit(runtime, "observer")

    line.watch = watch
    scene.project.open_store = line.open
    return line


def faults(audits: list[Audit]) -> list[dict[str, int]]:
    return [found(each) for each in audits if each.faults]


def change_everything(project: Project) -> None:
    project.put("long.txt", "it became short")
    project.put("doc-000.txt", LONG)
    project.put("doc-001.txt", "the same number of chunks, other words")
    os.utime(project.root / "source" / "doc-002.txt", (2_000_000_000, 2_000_000_000))
    project.put("new.txt", "something new")
    project.remove("doc-003.txt")


def test_what_a_run_is_writing_is_no_fault(scene: Scene) -> None:
    line = watched(scene)
    change_everything(scene.project)
    assert scene.project.run().green
    assert len(line.seen) == 3  # behind the upsert, the deletion of stale rows, and the purge
    assert faults(line.seen) == []
    assert scene.audit().findings == ()


def test_a_collection_that_is_being_filled_again_has_no_missing_rows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.embedding_etl.stages.sync.BATCH_ROWS", 5)
    drop_the_collection(scene)
    line = watched(scene)
    assert scene.project.run(Request(frozenset({"text"}))).green
    assert len(line.seen) > 3
    assert faults(line.seen) == []
    assert {"pending change"} == {kind for each in line.seen for kind in found(each)}


class Overtaken:
    """A store whose reader is overtaken: a whole run comes in between, each time the named call is made first."""

    def __init__(self, store: VectorStore, runs: dict[str, Callable[[], object]]) -> None:
        self._store = store
        self._runs = runs

    def __getattr__(self, name: str) -> Any:
        run = self._runs.pop(name, None)
        if run is not None:
            run()
        return getattr(self._store, name)


def test_a_run_that_overtakes_the_audit_between_two_looks_is_no_fault(scene: Scene) -> None:
    writer = replace(scene.project, open_store=None)
    words = ["the same number of chunks, other words", "other words once more", "and again others"]

    def ingest() -> None:
        writer.runs += 10
        writer.put("doc-001.txt", words.pop())
        assert writer.run().green

    # Behind the ledger and before the rows; behind the second look at the ledger and before that at the rows.
    runs = {"iterate": ingest, "fetch": ingest, "count": ingest}
    scene.project.open_store = lambda address: cast("VectorStore", Overtaken(MilvusStore(address.uri), runs))
    result = scene.audit()
    assert (words, runs) == ([], {})
    assert result.findings == ()


def test_an_ingestion_at_work_causes_no_false_alarm(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.embedding_etl.stages.sync.BATCH_ROWS", 3)
    reports: list[Report] = []
    audits: list[Audit] = []

    def ingest() -> None:
        turn = 0
        while turn < 4 or (turn < 40 and not (len(audits) > 5 and any(each.pending for each in audits))):
            for number in range(10):
                scene.project.put(
                    f"doc-{number:03d}.txt", LONG if (turn + number) % 3 == 0 else f"turn {turn} {number}"
                )
            scene.project.put(f"turn-{turn}.txt", "new")
            if turn:
                scene.project.remove(f"turn-{turn - 1}.txt")
            reports.append(scene.project.run())
            turn += 1

    worker = threading.Thread(target=ingest)
    worker.start()
    while worker.is_alive():
        audits.append(scene.audit())
    worker.join()
    assert [report.problems for report in reports] == [[]] * len(reports)
    assert any(each.pending for each in audits)  # they did meet
    assert faults(audits) == []
    assert scene.audit().findings == ()


def test_an_alias_that_a_cutover_is_switching_is_its_own_business(scene: Scene) -> None:
    candidate = f"{scene.project.name}_text__00000000_2"
    make_collection(scene, candidate, hours_old=0)
    with scene.project.open() as runtime:
        lease = runtime.lease(runtime.reindexing("text"), "a reindex")
        runtime.store.point_alias(scene.project.alias, candidate)
    assert scene.audit().findings == ()
    with scene.project.open() as runtime:
        runtime.ledger.leases.release(lease)
    assert found(scene.audit()) == {"alias elsewhere": 1}


def milvus_dump(scene: Scene) -> list[object]:
    with scene.project.open() as runtime:
        fields = ["object_key", "object_version", "content_hash", "ordinal", "run_id", "vector"]
        rows = [row for page in runtime.store.iterate(scene.live, fields) for row in page]
        ours = [name for name in runtime.store.list_collections() if name.startswith(scene.project.name)]
        return [rows, ours, runtime.store.alias_target(scene.project.alias), dict(runtime.store.properties(scene.live))]


def files(scene: Scene) -> dict[str, tuple[int, bytes]]:
    found_files = [path for name in ("source", "state", "pipelines") for path in (scene.project.root / name).rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found_files if path.is_file()}


def test_an_audit_writes_nothing_but_its_own_row(scene: Scene) -> None:
    for plant in (delete_rows, add_rows_that_are_not_ours, add_a_chunk_to_an_object):
        plant(scene)
    change_everything(scene.project)
    before = ledger_dump(scene), milvus_dump(scene), files(scene), list(scene.project.endpoint.texts)
    result = scene.audit()
    assert result.faults > 0
    assert (ledger_dump(scene), milvus_dump(scene), files(scene), list(scene.project.endpoint.texts)) == before
    with scene.project.open() as runtime:
        (record,) = runtime.ledger.audits.last(scene.project.name, 5)
    assert (record.run_id, record.faults, record.findings) == ("audit-1", result.faults, result.to_json())


def test_samples_name_the_rows_and_there_are_never_more_than_five(scene: Scene) -> None:
    scene.stranger.delete(scene.live, ids=[scene.id("long.txt", ordinal) for ordinal in range(8)])
    (finding,) = scene.audit().findings
    assert finding.count == 8
    assert finding.samples == tuple(f"'long.txt' chunk {ordinal}" for ordinal in range(5))


def test_a_large_collection_is_compared_by_a_sample_of_its_vectors(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.embedding_etl.checks.vectors.SAMPLE_ROWS", 5)
    assert scene.audit().compared["vectors"] == 5


def test_vectors_are_compared_window_by_window(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.embedding_etl.checks.vectors.WINDOW_BYTES", 1)
    monkeypatch.setattr("include.embedding_etl.vectorstore.reading._WIDE_PAGE_ROWS", 10)
    row = scene.row("long.txt", 3)
    scene.stranger.upsert(scene.live, [{**row, "vector": scene.row("doc-000.txt")["vector"]}])
    result = scene.audit()
    assert result.compared["vectors"] == len(scene.expected)
    assert found(result) == {"other vector": 1}


def test_what_was_just_made_may_be_about_to_be_recorded(scene: Scene) -> None:
    make_collection(scene, f"{scene.project.name}_text__00000000_9", hours_old=0.5)
    young = scene.store_file.with_name("copy.parquet")
    young.write_bytes(scene.store_file.read_bytes())
    age(young, hours=0.5)
    assert scene.audit().findings == ()


def test_an_unowned_collection_that_somebody_reads_is_not_dropped(scene: Scene) -> None:
    name, alias = f"{scene.project.name}_text__00000000_9", f"{scene.project.name}_somebodys"
    make_collection(scene, name, hours_old=2)
    scene.stranger.create_alias(name, alias)
    assert scene.repair().problems == (f"{name} stays: the alias {alias} points at it",)
    assert found(scene.audit()) == {"unowned collection": 1}
    scene.stranger.drop_alias(alias)
    scene.repair()
    assert not scene.stranger.has_collection(name)


def test_collections_and_files_of_another_pipeline_are_left_alone(scene: Scene) -> None:
    other = neighbour(scene.project, "other-source")
    document = other.root / "pipelines" / f"{other.name}.yaml"
    document.write_text(document.read_text().replace("id: word-hash", "id: word-hash-2"))
    other.put_many(2)  # into the first one's source
    (other.root / "other-source" / "a.txt").write_text("words")
    assert other.run().green
    scene.project.run()
    for path in (scene.project.root / "state" / "embeddings").rglob("*.parquet"):
        age(path, hours=2)
    with other.open() as runtime:
        live = runtime.ledger.collections.live(other.name, "text")
        assert live is not None
        runtime.ledger.vectors.forget_fingerprint("none")
        uri = next(iter(runtime.ledger.vectors.files(live.fingerprint)))
        runtime.ledger.vectors.forget(uri)
    assert scene.audit().findings == ()
    with other.open() as runtime:
        assert found(audit(runtime, "its own")) == {"unreferenced store file": 1}


def test_a_file_of_a_fingerprint_that_nobody_knows_is_unreferenced(scene: Scene) -> None:
    lost = scene.project.root / "state" / "embeddings" / ("0" * 64) / "a.parquet"
    lost.parent.mkdir()
    lost.write_bytes(b"?")
    age(lost, hours=2)
    assert found(scene.audit()) == {"unreferenced store file": 1}
    scene.repair()
    assert not lost.exists()


def test_rows_that_are_not_ours_are_not_deleted_by_the_thousand_unasked(scene: Scene) -> None:
    scene.project.thresholds = {"min_delete_objects": 0, "max_delete_fraction": 0.02}
    scene.project.configure()
    add_rows_that_are_not_ours(scene)
    mended = scene.repair()
    assert "--approve-deletes 2" in mended.problems[0]
    assert found(scene.audit()) == {"foreign row": 2}
    assert scene.repair(approve_deletes=2).problems == ()
    assert scene.audit().findings == ()


def test_the_guard_against_mass_deletion_is_in_force_in_a_repair(scene: Scene) -> None:
    scene.project.thresholds = {"min_delete_objects": 0, "max_delete_fraction": 0}
    scene.project.configure()
    add_an_object_that_storage_never_had(scene)
    mended = scene.repair()
    assert "need no approval. Nothing was deleted" in mended.problems[0]
    assert len(scene.project.rows()) == len(scene.expected) + 1
    assert scene.repair(approve_deletes=1).problems == ()
    assert scene.audit().findings == ()
    assert scene.project.rows() == scene.expected


def test_rows_of_an_object_whose_new_version_is_a_dead_letter_are_a_persons_business(scene: Scene) -> None:
    scene.project.put("doc-000.txt", " \n ")
    assert scene.project.run().lanes["text"].dead_letters == 1
    assert scene.audit().findings == ()  # its old rows stay, and are as they should be
    delete_rows(scene)
    assert found(scene.audit()) == {"missing row": 2, "row held back": 1}
    scene.repair()
    assert found(scene.audit()) == {"row held back": 1}
    scene.project.put("doc-000.txt", "words again")
    scene.project.run()
    assert scene.audit().findings == ()


def test_a_lane_that_cannot_be_looked_at_is_not_called_clean(scene: Scene) -> None:
    scene.sql("UPDATE collections SET fingerprint = ? WHERE state = 'live'", "f" * 64)
    result = scene.audit()
    assert found(result)["not compared"] == 1
    assert "weights" in result.findings[-1].samples[0]


def test_a_pipeline_that_was_never_ingested_has_only_work_to_do(project: Project) -> None:
    project.put_many(2)
    with project.open() as runtime:
        result = audit(runtime, "audit-1")
    assert found(result) == {"new object": 2, "lane without collection": 1}
    assert result.faults == 0


def test_a_repair_waits_for_the_ingestion_that_is_at_work(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    delete_rows(scene)
    with scene.project.open() as runtime:
        lease = runtime.ledger.leases.acquire(runtime.turn, "an ingestion", 60)
    released = []

    def release() -> None:
        time.sleep(1.5)
        with scene.project.open() as runtime:
            runtime.ledger.leases.release(replace(lease))
            released.append(time.monotonic())

    worker = threading.Thread(target=release)
    worker.start()
    assert scene.repair().problems == ()
    assert time.monotonic() > released[0]
    worker.join()
    assert scene.audit().findings == ()


def test_a_lane_that_is_being_reindexed_is_not_rebuilt_beside_that(scene: Scene) -> None:
    give_the_collection_another_index(scene)
    with scene.project.open() as runtime:
        lease = runtime.ledger.leases.acquire(runtime.reindexing("text"), "a reindex", 60)
    (problem,) = scene.repair().problems
    assert problem.startswith("lane text: not rebuilt: lane text is being reindexed already: ")
    assert found(scene.audit()) == {"other index": 1}
    with scene.project.open() as runtime:
        runtime.ledger.leases.release(lease)
    assert scene.repair().problems == ()
    assert scene.audit().findings == ()
