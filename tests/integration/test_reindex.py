"""Reindexes on real parts: candidates, verification, approval, cutover, rollback, while ingestion goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from include.embedding_etl import cutover
from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.reindex import ReindexResult, reindex
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.vectorstore.fake import InMemoryStore
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.verification import Verification
from tests.embedding_endpoint import word_vector
from tests.fixtures_milvus import plain_client
from tests.fixtures_pipeline import Project

pytestmark = pytest.mark.both_ledgers

COARSE = {"type": "IVF_FLAT", "params": {"nlist": 256}, "search": {"nprobe": 1}}


def run_reindex(
    project: Project,
    run_id: str = "reindex-1",
    approve: Callable[[Verification], bool] = lambda _: True,
    **values: Any,
) -> ReindexResult:
    with project.open() as runtime:
        request = ReindexRequest.parse(runtime.pipeline, {"lane": "text", **values})
        return reindex(runtime, run_id, request, approve)


def change_model(project: Project, model_id: str = "word-hash-2", **changes: Any) -> None:
    """Another model by one line of YAML."""
    document = yaml.safe_load((project.root / "pipelines" / f"{project.name}.yaml").read_text())
    document["lanes"]["text"]["model"]["id"] = model_id
    document["lanes"]["text"] |= changes
    project.configure(lanes=document["lanes"])


@contextmanager
def reader(project: Project) -> Iterator[list[str]]:
    """Searches through the alias every 50 ms, as an application would. Yields what went wrong."""
    wrong: list[str] = []
    stop = threading.Event()
    searches = [0]

    def search() -> None:
        store = MilvusStore(project.milvus_uri, token=project.milvus_token)
        while not stop.wait(0.05):
            searches[0] += 1
            try:
                hits = store.search(project.alias, word_vector("topic")[None, :], 5)[0]
            except Exception as error:  # noqa: BLE001 - whatever a reader would see
                wrong.append(str(error))
            else:
                wrong.extend([] if hits else ["empty"])
        store.close()

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()
    assert searches[0] > 3


def live_collection(project: Project) -> str:
    with project.open() as runtime:
        return runtime.store.alias_target(project.alias) or ""


def test_pain_10_the_model_of_a_live_collection_is_changed_by_a_reindex(project: Project) -> None:
    keys = project.put_many(12)
    assert project.run().green
    before = live_collection(project)
    change_model(project)
    assert project.run().lanes["text"].differs == ("model.id",)  # ingestion goes on with the old model
    assert len(project.endpoint.texts) == len(keys)
    result = run_reindex(project)
    assert result.cut_over, result.problem
    after = live_collection(project)
    assert after == result.candidate != before == result.replaces
    assert project.rows() == project.expected_rows()
    assert len(project.endpoint.texts) == 2 * len(keys)
    report = project.run()
    assert report.green
    assert report.lanes["text"].differs == ()
    with project.open() as runtime:
        assert runtime.store.has_collection(before)  # for going back
        retired = runtime.ledger.collections.get(before)
        assert retired is not None
        assert retired.state == "retired"
        assert retired.drop_after_ms is not None
        assert retired.drop_after_ms > time.time() * 1000
        (switch,) = runtime.ledger.collections.cutovers(project.alias)
        assert (switch.from_name, switch.to_name, switch.run_id) == (before, after, "reindex-1")


def test_pain_29_readers_never_meet_an_empty_or_missing_index(project: Project) -> None:
    project.put_many(30)
    assert project.run().green
    change_model(project)
    with reader(project) as wrong:
        assert run_reindex(project, "to-new").cut_over
        assert run_reindex(project, "back", earlier="previous", approval=False, min_recall=0).cut_over
    assert wrong == []


def test_what_is_ingested_during_a_reindex_is_right_after_the_cutover(project: Project) -> None:
    project.put_many(20)
    assert project.run().green
    change_model(project)

    def meanwhile(_: Verification) -> bool:
        project.put("late.txt", "came while a person was thinking")
        project.put("doc-003.txt", "changed while a person was thinking")
        project.remove("doc-007.txt")
        assert project.run().green  # ingestion goes on, into the live collection
        return True

    assert run_reindex(project, approve=meanwhile).cut_over
    assert project.rows() == project.expected_rows()
    assert project.run().green


def test_objects_that_came_without_any_ingestion_are_in_the_candidate(project: Project) -> None:
    project.put_many(5)
    assert project.run().green
    change_model(project)
    project.put("new.txt", "nobody has ingested this yet")
    assert run_reindex(project).cut_over
    assert project.rows() == project.expected_rows()


def test_new_index_parameters_cost_no_model_call(project: Project) -> None:
    keys = project.put_many(40)
    assert project.run().green
    seen = len(project.endpoint.texts)
    result = run_reindex(project, rebuild="index", index={"type": "HNSW", "metric": "L2", "params": {"M": 8}})
    assert result.cut_over, result.problem
    assert len(project.endpoint.texts) == seen == len(keys)
    assert result.verification["recall"] >= 0.95
    assert result.verification["overlap"] == pytest.approx(1.0, abs=0.02)
    with project.open() as runtime:
        assert runtime.store.index(result.candidate) == ("HNSW", "L2")
    # The YAML says FLAT still: that has to be told, or the next reindex would undo it.
    assert "index.type" in project.run().lanes["text"].differs


def test_a_collection_dropped_by_hand_is_rebuilt_without_model_calls(project: Project) -> None:
    project.put_many(25)
    assert project.run().green
    ids, seen = project.rows(), len(project.endpoint.texts)
    drop_by_hand(project, live_collection(project))
    result = run_reindex(project, rebuild="index")
    assert result.cut_over, result.problem
    assert project.rows() == ids
    assert len(project.endpoint.texts) == seen
    assert project.run().green


def test_an_index_that_finds_too_little_is_refused_and_the_recall_is_told(project: Project) -> None:
    project.put_many(600)
    assert project.run().green
    before, rows = live_collection(project), project.rows()
    result = run_reindex(project, rebuild="index", index=COARSE)
    assert not result.cut_over
    assert "recall@10 of its index is 0." in result.problem
    assert result.verification["recall"] < 0.95
    assert live_collection(project) == before
    assert project.rows() == rows
    with project.open() as runtime:
        candidate = runtime.ledger.collections.get(result.candidate)
        assert candidate is not None
        assert candidate.state == "candidate"  # kept for inspection
        assert candidate.drop_after_ms is not None
        assert runtime.store.count(result.candidate) == len(rows)
    assert project.run().green


def test_refused_by_a_person_nothing_changes_for_readers(project: Project) -> None:
    project.put_many(8)
    assert project.run().green
    before = live_collection(project)
    change_model(project)
    result = run_reindex(project, approve=lambda _: False)
    assert not result.cut_over
    assert result.problem == "not approved"
    assert live_collection(project) == before
    assert project.run().green
    # Triggered again, the candidate is gone on with: nothing is embedded twice.
    seen = len(project.endpoint.texts)
    again = run_reindex(project, "reindex-2")
    assert again.cut_over
    assert again.candidate == result.candidate
    assert len(project.endpoint.texts) == seen


def test_a_person_sees_ten_searches_before_and_after(project: Project) -> None:
    project.put_many(30)
    assert project.run().green
    change_model(project)
    shown: list[Verification] = []
    assert run_reindex(project, approve=lambda verification: not shown.append(verification)).cut_over
    (verification,) = shown
    assert len(verification.samples) == 10
    assert all(len(sample.before) == len(sample.after) == 10 for sample in verification.samples)
    assert all(sample.text.startswith("doc number") for sample in verification.samples)
    assert verification.overlap == pytest.approx(1.0, abs=0.02)  # the endpoint's models differ in name only
    assert verification.rows == 30


def test_another_chunk_size_is_compared_by_objects(project: Project) -> None:
    for number in range(12):
        project.put(f"doc-{number:02d}.txt", " ".join(f"topic{number}" for _ in range(60)))
    assert project.run().green
    project.configure(lanes={"text": {**lane_of(project), "chunk": {"overlap_tokens": 0, "max_tokens": 16}}})
    shown: list[Verification] = []
    result = run_reindex(project, approve=lambda verification: not shown.append(verification))
    assert result.cut_over, result.problem
    assert shown[0].rows > 2 * 12
    assert all(sample.before for sample in shown[0].samples)  # rows that only the candidate has, too
    assert shown[0].overlap is not None


def test_a_second_reindex_of_the_lane_is_refused_with_the_name_of_the_first(project: Project) -> None:
    project.put_many(3)
    assert project.run().green
    refusals: list[str] = []

    def second(_: Verification) -> bool:
        with pytest.raises(IntegrityError, match=r"text is being reindexed already.*held by reindex-1") as refused:
            run_reindex(project, "reindex-2")
        refusals.append(str(refused.value))
        return True

    assert run_reindex(project, rebuild="index", approve=second).cut_over
    assert refusals


def test_rollback_brings_the_old_collection_up_to_date_and_cutting_over_again_the_new_one(project: Project) -> None:
    project.put_many(10)
    assert project.run().green
    old = live_collection(project)
    change_model(project)
    new = run_reindex(project).candidate
    project.put("added.txt", "after the cutover")
    project.remove("doc-001.txt")
    assert project.run().green
    back = run_reindex(project, "rollback-1", earlier="previous", approval=False, min_recall=0)
    assert back.cut_over, back.problem
    assert live_collection(project) == old
    assert project.rows() == project.expected_rows()
    assert project.run().green
    project.put("added-2.txt", "after the rollback")
    assert project.run().green
    again = run_reindex(project, "rollback-2", earlier=new, approval=False, min_recall=0)
    assert again.cut_over, again.problem
    assert live_collection(project) == new
    assert project.rows() == project.expected_rows()
    assert project.run().green


def test_pain_23_a_candidate_whose_rows_do_not_match_exactly_is_refused(project: Project) -> None:
    project.put_many(10)
    assert project.run().green
    before = live_collection(project)
    change_model(project)
    with project.open() as runtime:
        request = ReindexRequest.parse(runtime.pipeline, {"lane": "text"})

        def lose_a_row(_: Verification) -> bool:
            name = runtime.ledger.reindexes.last(project.name, 1)[0].candidate
            runtime.store.delete(name, sorted(project.expected_rows())[:1])
            return True

        result = reindex(runtime, "reindex-1", request, lose_a_row)
        assert not result.cut_over
        assert "10 rows verified, 9 in Milvus" in result.problem
        # Lost before the verification, it is the verification that says so.
        result = reindex(runtime, "reindex-2", request, lambda _: True)
        assert "1 × missing row" in result.problem
    assert live_collection(project) == before


def test_pain_12_a_mass_deletion_does_not_come_in_with_a_reindex(project: Project) -> None:
    project.thresholds = {"min_delete_objects": 2, "max_delete_fraction": 0.1}
    project.configure()
    keys = project.put_many(20)
    assert project.run().green
    change_model(project)
    for key in keys[:15]:
        project.remove(key)
    refused = run_reindex(project, approval=False)
    assert not refused.cut_over
    assert "15 of 20 objects vanished from storage" in refused.problem
    seen: list[Verification] = []
    asked = run_reindex(project, "reindex-2", approve=lambda verification: not seen.append(verification))
    assert any("15 of 20" in question for question in seen[0].questions)
    assert asked.cut_over, asked.problem
    assert project.rows() == project.expected_rows()


def test_what_vanishes_after_the_approval_stops_the_cutover(project: Project) -> None:
    project.thresholds = {"min_delete_objects": 2, "max_delete_fraction": 0.1}
    project.configure()
    keys = project.put_many(20)
    assert project.run().green
    before = live_collection(project)
    change_model(project)

    def empty_the_source(_: Verification) -> bool:
        for key in keys[:15]:
            project.remove(key)
        assert not project.run().green  # ingestion deletes nothing without approval either
        return True

    result = run_reindex(project, approve=empty_the_source)
    assert not result.cut_over
    assert "15 of 20 objects vanished since the candidate was verified" in result.problem
    assert live_collection(project) == before


def test_a_form_that_cannot_be_right_is_refused_in_plain_words(project: Project) -> None:
    project.put_many(2)
    with pytest.raises(ConfigError, match="nothing indexed yet"):
        run_reindex(project)
    assert project.run().green
    with pytest.raises(ConfigError, match="no lane 'image'; it has: text"):
        run_reindex(project, lane="image")
    with pytest.raises(ConfigError, match=r"index\.type: Input should be 'HNSW'"):
        run_reindex(project, index={"type": "HNSV"})
    with pytest.raises(ConfigError, match="no collection 'previous' to go back to"):
        run_reindex(project, earlier="previous")


def test_five_thousand_vectors_get_a_new_index_without_a_model_call(project: Project) -> None:
    put_five_thousand(project)
    assert project.run().green
    rows, seen = project.rows(), len(project.endpoint.texts)
    assert len(rows) >= 5_000
    result = run_reindex(project, rebuild="index", index={"type": "HNSW", "search": {"ef": 128}}, approval=False)
    assert result.cut_over, result.problem
    assert result.verification["recall"] >= 0.95
    assert len(project.endpoint.texts) == seen
    assert project.rows() == rows


def put_five_thousand(project: Project) -> None:
    """Fifty texts of about a hundred chunks."""
    for number in range(50):
        words = (f"word{number}x{each}" for each in range(600))
        project.put(f"long-{number:02d}.txt", " ".join(words))


class StaleStore(InMemoryStore):
    """A server whose alias cache is stale: searches through an alias go on showing what it pointed at first."""

    def __init__(self) -> None:
        super().__init__()
        self.stale: dict[str, str] = {}
        self.well = False

    def point_alias(self, alias: str, name: str) -> None:
        if not self.well:
            self.stale.setdefault(alias, name)
        super().point_alias(alias, name)

    def search(self, name: str, *arguments: Any, **options: Any) -> Any:
        return super().search(self.stale.get(name, name), *arguments, **options)


def test_pain_27_a_switch_that_readers_do_not_see_is_taken_back_and_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "ALIAS_WAIT_S", 0.1)
    store = StaleStore()
    project.open_store = lambda _: store
    project.put_many(6)
    assert project.run().green
    before = live_collection(project)
    change_model(project)
    result = run_reindex(project)
    assert not result.cut_over
    assert "a search through it does not show its rows" in result.problem
    assert live_collection(project) == before
    with project.open() as runtime:
        live = runtime.ledger.collections.live(project.name, "text")
        assert live is not None
        assert live.name == before
    store.stale.clear()
    store.well = True
    assert run_reindex(project, "reindex-2").cut_over


def lane_of(project: Project) -> dict[str, Any]:
    document = yaml.safe_load((project.root / "pipelines" / f"{project.name}.yaml").read_text())
    return dict(document["lanes"]["text"])


def drop_by_hand(project: Project, name: str) -> None:
    """What an administrator can do to a server: no guard of ours is asked."""
    client = plain_client(project.milvus_uri, project.milvus_token)
    client.drop_collection(name)
    client.close()
