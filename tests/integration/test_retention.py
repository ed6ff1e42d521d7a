"""Each thing goes when its time has come, and nothing goes that is in use."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from include.embedding_etl.ledger.records import CollectionRecord
from include.embedding_etl.reindex import reindex
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.retention import DAY_MS, clear_up, due
from include.embedding_etl.run_files import RunFiles
from tests.fixtures_audit import Scene, age, ledger_dump, make_collection
from tests.fixtures_scenarios import edit, neighbour

pytestmark = pytest.mark.both_ledgers


def now_ms() -> int:
    return int(time.time() * 1000)


def clear(scene: Scene, days: float = 0.0) -> list[str]:
    """As on a day to come."""
    with scene.project.open() as runtime:
        return clear_up(runtime, "retention", now_ms() + int(days * DAY_MS))


def names(scene: Scene, days: float = 0.0) -> dict[str, str]:
    with scene.project.open() as runtime:
        return {item.name: item.kind for item in due(runtime, now_ms() + int(days * DAY_MS))}


def records(scene: Scene) -> dict[str, CollectionRecord]:
    with scene.project.open() as runtime:
        return {record.name: record for record in runtime.ledger.collections.history(scene.project.name)}


def exists(scene: Scene, name: str) -> bool:
    with scene.project.open() as runtime:
        return runtime.store.has_collection(name)


@pytest.fixture
def reindexed(scene: Scene) -> Scene:
    """Another model is live; the collection of the first one stays for 24 hours."""
    edit(scene.project, model={"id": "word-hash-2"})
    with scene.project.open() as runtime:
        request = ReindexRequest.parse(runtime.pipeline, {"lane": "text", "approval": False, "grace_hours": 24})
        assert reindex(runtime, "reindex-1", request, lambda _: True).cut_over
    return scene


def retired_of(scene: Scene) -> CollectionRecord:
    (record,) = (each for each in records(scene).values() if each.state == "retired")
    return record


def embeddings(scene: Scene, fingerprint: str) -> list[Path]:
    return list((scene.project.root / "state" / "embeddings" / fingerprint).rglob("*.parquet"))


def test_a_retired_collection_is_dropped_after_its_grace_time_and_not_before(reindexed: Scene) -> None:
    retired = retired_of(reindexed)
    assert clear(reindexed, days=0.9) == []
    assert exists(reindexed, retired.name)
    assert names(reindexed, days=1.1) == {retired.name: "collection"}
    assert exists(reindexed, retired.name)  # asking changes nothing
    assert clear(reindexed, days=1.1) == [f"{retired.name} is dropped"]
    assert not exists(reindexed, retired.name)
    assert records(reindexed)[retired.name].dropped_at_ms is not None
    assert exists(reindexed, reindexed.live)
    assert reindexed.project.run().green
    assert clear(reindexed, days=1.1) == []


def test_asking_what_is_due_writes_nothing(reindexed: Scene) -> None:
    before = ledger_dump(reindexed)
    assert names(reindexed, days=100)
    assert ledger_dump(reindexed) == before


def test_a_collection_that_an_alias_points_at_stays(reindexed: Scene) -> None:
    retired, alias = retired_of(reindexed), f"{reindexed.project.name}_somebodys"
    reindexed.stranger.create_alias(retired.name, alias)
    assert clear(reindexed, days=2) == [f"{retired.name} stays: the alias {alias} points at it"]
    assert exists(reindexed, retired.name)
    reindexed.stranger.drop_alias(alias)
    assert clear(reindexed, days=2) == [f"{retired.name} is dropped"]


def test_a_live_collection_never_goes_whatever_the_ledger_says_of_its_time(scene: Scene) -> None:
    scene.sql("UPDATE collections SET drop_after_ms = 1 WHERE state = 'live'")
    assert clear(scene, days=2) == []
    assert exists(scene, scene.live)


def test_a_collection_without_a_time_stays(reindexed: Scene) -> None:
    reindexed.sql("UPDATE collections SET drop_after_ms = NULL WHERE state = 'retired'")
    assert "collection" not in names(reindexed, days=1_000).values()


def test_a_collection_of_a_lane_that_is_being_reindexed_stays(reindexed: Scene) -> None:
    """A rollback may be on its way to it."""
    retired = retired_of(reindexed)
    with reindexed.project.open() as runtime:
        lease = runtime.lease(runtime.reindexing("text"), "a rollback")
        (said,) = clear(reindexed, days=2)
        assert said.startswith(f"{retired.name} stays: ")
        assert "a rollback" in said
        runtime.ledger.leases.release(lease)
    assert exists(reindexed, retired.name)


def test_a_collection_that_milvus_lost_is_only_marked(reindexed: Scene) -> None:
    retired = retired_of(reindexed)
    reindexed.stranger.drop_collection(retired.name)
    assert clear(reindexed, days=2) == [f"{retired.name} is dropped"]
    assert records(reindexed)[retired.name].dropped_at_ms is not None


def test_an_abandoned_candidate_is_given_a_day_and_then_dropped(scene: Scene) -> None:
    candidate = add_candidate(scene, hours_old=25)
    assert clear(scene) == [f"{candidate} is dropped in 24 hours"]
    assert exists(scene, candidate)
    assert clear(scene) == []
    assert clear(scene, days=0.9) == []
    assert clear(scene, days=1.1) == [f"{candidate} is dropped"]
    assert not exists(scene, candidate)


def test_a_young_candidate_and_one_that_a_reindex_works_on_stay(scene: Scene) -> None:
    add_candidate(scene, hours_old=23)
    assert names(scene) == {}
    scene.sql("UPDATE collections SET created_at_ms = 1 WHERE state = 'candidate'")
    with scene.project.open() as runtime:
        lease = runtime.lease(runtime.reindexing("text"), "a reindex")
        assert due(runtime) == []
        runtime.ledger.leases.release(lease)
        assert [item.kind for item in due(runtime)] == ["candidate"]


def test_a_candidate_that_a_reindex_has_just_taken_up_again_stays(scene: Scene) -> None:
    candidate = add_candidate(scene, hours_old=100)
    with scene.project.open() as runtime:
        runtime.ledger.runs.start("reindex-9", scene.project.name, "reindex")
        runtime.ledger.reindexes.start("reindex-9", scene.project.name, "text", {}, candidate, scene.live)
    assert names(scene) == {}
    assert names(scene, days=1.1) == {"reindex-9": "run", candidate: "candidate"}


def add_candidate(scene: Scene, hours_old: float) -> str:
    name = f"{scene.project.name}_text__00000000_8"
    make_collection(scene, name, hours_old)
    with scene.project.open() as runtime:
        live = runtime.ledger.collections.live(scene.project.name, "text")
        assert live is not None
        created_at_ms = now_ms() - int(hours_old * 3_600_000)
        runtime.ledger.collections.add(replace(live, name=name, state="candidate", created_at_ms=created_at_ms))
    return name


def test_vectors_go_some_time_after_the_last_collection_that_used_them(reindexed: Scene) -> None:
    fingerprint = retired_of(reindexed).fingerprint
    assert embeddings(reindexed, fingerprint)
    clear(reindexed, days=2)
    assert set(names(reindexed, days=29).values()) == {"run files"}
    assert names(reindexed, days=31)[fingerprint] == "vectors"
    assert f"vectors of {fingerprint[:8]} are deleted" in clear(reindexed, days=31)[0]
    assert embeddings(reindexed, fingerprint) == []
    with reindexed.project.open() as runtime:
        assert list(runtime.ledger.vectors.stream(fingerprint)) == []
        live = runtime.ledger.collections.live(reindexed.project.name, "text")
        assert live is not None
        assert list(runtime.ledger.vectors.stream(live.fingerprint))
    assert embeddings(reindexed, live.fingerprint)
    assert fingerprint not in names(reindexed, days=31)
    assert reindexed.audit().findings == ()


def test_vectors_stay_while_a_collection_uses_them_whatever_pipeline_it_is_of(reindexed: Scene) -> None:
    other = neighbour(reindexed.project, "other-source")
    edit(other, model={"id": "word-hash"})  # the model that the first pipeline gave up
    (other.root / "other-source" / "a.txt").write_text("words of another pipeline")
    assert other.run().green
    retired = retired_of(reindexed)
    with other.open() as runtime:
        live = runtime.ledger.collections.live(other.name, "text")
    assert live is not None
    assert live.fingerprint == retired.fingerprint
    clear(reindexed, days=2)
    assert retired.fingerprint not in names(reindexed, days=1_000)
    with reindexed.project.open() as runtime:
        assert runtime.ledger.vectors.forget_fingerprint(retired.fingerprint) == 0
        assert list(runtime.ledger.vectors.stream(retired.fingerprint))
    assert embeddings(reindexed, retired.fingerprint)


def test_files_of_vectors_that_the_ledger_has_forgotten_already_go_too(reindexed: Scene) -> None:
    """It died between the two."""
    fingerprint = retired_of(reindexed).fingerprint
    clear(reindexed, days=2)
    with reindexed.project.open() as runtime:
        assert runtime.ledger.vectors.forget_fingerprint(fingerprint) > 0
    clear(reindexed, days=31)
    assert embeddings(reindexed, fingerprint) == []


def test_run_files_go_after_a_week_except_those_of_runs_at_work(scene: Scene) -> None:
    scene.project.run()
    with scene.project.open() as runtime:
        runtime.ledger.runs.start("run-2", scene.project.name)
        scene.sql("UPDATE runs SET seen_at_ms = ? WHERE run_id = 'run-2'", now_ms() + 7 * DAY_MS)
        first, second = (RunFiles(scene.project.name, run).prefix for run in ("run-1", "run-2"))
    assert names(scene, days=6.9) == {}
    assert names(scene, days=7.1) == {first: "run files"}
    assert clear(scene, days=7.1) == [f"{first} is deleted"]
    left = [path.name for path in (scene.project.root / "state" / "runs" / scene.project.name).iterdir()]
    assert left == [Path(second).name]
    with scene.project.open() as runtime:
        runtime.ledger.runs.finish("run-2", "failed")
    assert clear(scene, days=7.1) == [f"{second} is deleted"]


def test_run_files_of_another_pipeline_stay(scene: Scene) -> None:
    other = scene.project.root / "state" / "runs" / "another" / "run-1" / "snapshot.parquet"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"?")
    clear(scene, days=100)
    assert other.exists()


def test_what_dead_writers_left_goes_after_a_day(scene: Scene) -> None:
    left = scene.store_file.with_name(".unfinished-x.parquet-0123")
    left.write_bytes(b"half")
    assert clear(scene) == []
    age(left, hours=25)
    assert clear(scene) == [f"{left.relative_to(scene.project.root / 'state')} is deleted"]
    assert not left.exists()
    assert scene.audit().findings == ()


def test_nothing_is_due_of_a_pipeline_in_daily_use(scene: Scene) -> None:
    scene.project.put("new.txt", "new")
    assert scene.project.run().green
    assert names(scene) == {}
