"""A run of the keys below a prefix: what is outside stays as it is, and nobody takes the run for one of everything."""

import os
import signal
from pathlib import Path

import pytest

from include.embedding_etl.converge import Request
from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.lane_collection import ensure_live
from include.embedding_etl.plan import plan
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.snapshot import Snapshot, iter_snapshot, read_snapshot, write_snapshot
from include.embedding_etl.stages.identify import identify
from include.embedding_etl.stages.purge import purge
from include.embedding_etl.stages.route import route_rewrite
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.status.notices import digest_notice, freshness_problem
from include.embedding_etl.turn import take_turn
from include.embedding_etl.types import ListedObject
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.fixtures_storage import S3Server

A = Request(prefix="a/")


def fill(project: Project) -> None:
    for key in ("a/1.txt", "a/2.txt", "a-b.txt", "b/1.txt", "b/2.txt"):
        project.put(key, f"the text of {key}")


def indexed(project: Project) -> set[str]:
    return {key for key, _ in project.rows().values()}


def known(project: Project) -> dict[str, bool]:
    """{key: whether it is a tombstone}"""
    with project.open() as runtime:
        return {record.key: record.vanished for record in runtime.ledger.objects.stream(project.name)}


def test_only_the_objects_below_the_prefix_are_indexed(project: Project) -> None:
    fill(project)
    report = project.run(A)
    assert report.green, report.problems
    lane = report.lanes["text"]
    assert (report.prefix, report.listed, report.known, lane.objects, lane.rows_ledger, lane.rows_milvus) == (
        ("a/", 2, 2, 2, 2, 2)
    )
    assert indexed(project) == {"a/1.txt", "a/2.txt"}
    assert set(known(project)) == {"a/1.txt", "a/2.txt"}
    whole = project.run()
    assert whole.green, whole.problems
    assert (whole.prefix, whole.listed, whole.lanes["text"].figures["embedded"]) == ("", 5, 3)
    assert project.rows() == project.expected_rows()


def test_what_changed_or_vanished_outside_stays_as_it_is(project: Project) -> None:
    fill(project)
    assert project.run().green
    before = project.rows()
    project.remove("a/1.txt")
    project.put("a/3.txt", "a new one")
    project.remove("b/1.txt")
    project.put("b/2.txt", "another text")
    report = project.run(A)
    assert report.green, report.problems
    assert indexed(project) == {"a/2.txt", "a/3.txt", "a-b.txt", "b/1.txt", "b/2.txt"}
    assert {pair for pair in project.rows().values() if pair[0] > "b"} == {
        pair for pair in before.values() if pair[0] > "b"
    }
    assert known(project) == dict.fromkeys(["a-b.txt", "a/2.txt", "a/3.txt", "b/1.txt", "b/2.txt"], False)
    assert project.run().green
    assert project.rows() == project.expected_rows()


def test_a_folder_that_is_gone_loses_its_rows_and_no_others(project: Project) -> None:
    fill(project)
    assert project.run().green
    for key in ("a/1.txt", "a/2.txt"):
        project.remove(key)
    assert project.run(A).green
    assert indexed(project) == {"a-b.txt", "b/1.txt", "b/2.txt"}


def test_the_guard_counts_what_is_below_the_prefix(project: Project) -> None:
    project.configure(thresholds={"min_delete_objects": 0, "max_delete_fraction": 0.4})
    fill(project)
    assert project.run().green
    for key in ("a/1.txt", "a/2.txt"):  # 2 of 5 would be allowed, 2 of 2 are not
        project.remove(key)
    red = project.run(A)
    assert "2 of 2 objects below 'a/' vanished" in red.problems[0]
    assert f"etl run {project.name} --approve-deletes 2 --prefix a/`" in red.problems[0]
    assert len(indexed(project)) == 5
    assert project.run(Request(prefix="a/", approved_deletes=2)).green
    assert indexed(project) == {"a-b.txt", "b/1.txt", "b/2.txt"}


def test_what_vanished_outside_and_waits_for_a_persons_word_goes_on_waiting(
    project: Project, endpoint: EmbeddingEndpoint
) -> None:
    """A run of everything has seen that it vanished, and was not allowed to delete it."""
    endpoint.refused_word = "poison"
    thresholds = {"min_delete_objects": 0, "max_delete_fraction": 0.5, "max_failed_fraction": 1.0}
    project.configure(thresholds=thresholds)
    fill(project)
    project.put("b/bad.txt", "poison")
    assert project.run().green
    for key in ("a/1.txt", "b/1.txt", "b/2.txt", "b/bad.txt"):
        project.remove(key)
    assert not project.run().green
    assert project.run(A).green
    assert indexed(project) == {"a/2.txt", "a-b.txt", "b/1.txt", "b/2.txt"}
    assert [key for key, vanished in known(project).items() if vanished] == ["b/1.txt", "b/2.txt", "b/bad.txt"]
    assert open_letters(project) == ["b/bad.txt"]


def test_what_another_run_has_left_undone_outside_stays_undone(project: Project) -> None:
    fill(project)
    assert project.run_process("objects:after").returncode == -signal.SIGKILL
    assert set(known(project)) == {"a-b.txt", "a/1.txt", "a/2.txt", "b/1.txt", "b/2.txt"}
    report = project.run(A)
    assert report.green, report.problems
    assert indexed(project) == {"a/1.txt", "a/2.txt"}


def open_letters(project: Project) -> list[str]:
    with project.open() as runtime:
        live = runtime.ledger.collections.live(project.name, "text")
        assert live is not None
        return [one.key for one in runtime.ledger.dead_letters.open_for(project.name, "text", live.fingerprint)]


def test_an_unfinished_listing_of_a_prefix_makes_no_tombstone(project: Project) -> None:
    fill(project)
    assert project.run().green
    project.remove("a/1.txt")
    bad = os.fsencode(project.root / "source" / "a") + b"/\xff.txt"
    Path(os.fsdecode(bad)).write_bytes(b"x")
    report = project.run(A)
    assert not report.green
    assert "not UTF-8" in report.problems[0]
    assert not any(known(project).values())
    assert len(indexed(project)) == 5


def test_rows_that_are_missing_make_the_run_red_if_they_are_below_its_prefix(project: Project) -> None:
    fill(project)
    assert project.run().green
    with project.open() as runtime:
        target = runtime.store.alias_target(project.alias) or ""
        runtime.store.delete(target, [row for row, (key, _) in project.rows().items() if key == "b/1.txt"])
    assert project.run(A).green
    red = project.run(Request(prefix="b/"))
    assert "Milvus holds 1 row in " in red.problems[0]
    assert not project.run().green


def test_a_partial_run_does_not_count_as_one_of_everything(project: Project) -> None:
    project.configure(freshness_target_h=1.0)
    fill(project)
    assert project.run(A).green
    with project.open() as runtime:
        (run,) = runtime.ledger.runs.last(project.name, 5)
        assert (run.kind, run.state) == ("backfill", "succeeded")
        assert runtime.ledger.runs.last_success_ms(project.name) is None
        assert freshness_problem(runtime) == "no ingestion has been green yet"
        assert "runs: 1 green, 0 red, 1 of them of a part of the source" in digest_notice(runtime, ()).text
    assert project.run().green
    with project.open() as runtime:
        assert runtime.ledger.runs.last_success_ms(project.name) is not None
        assert freshness_problem(runtime) == ""


def test_a_letter_outside_stays_open(project: Project, endpoint: EmbeddingEndpoint) -> None:
    endpoint.refused_word = "poison"
    fill(project)
    project.configure(thresholds={"max_failed_fraction": 1.0})
    project.put("b/bad.txt", "poison")
    project.put("a/bad.txt", "poison")
    project.run()
    project.remove("a/bad.txt")
    project.remove("b/bad.txt")
    assert project.run(A).green
    assert open_letters(project) == ["b/bad.txt"]


def test_the_plan_of_a_prefix_is_about_that_part(project: Project) -> None:
    fill(project)
    assert project.run().green
    project.put("a/3.txt", "new")
    project.put("b/3.txt", "new too")
    project.remove("b/1.txt")
    with project.open() as runtime:
        part = plan(runtime, "a/")
        assert (part.prefix, part.objects, part.lanes["text"].new, part.lanes["text"].deleted) == ("a/", 3, 1, 0)
        whole = plan(runtime)
        assert (whole.prefix, whole.objects, whole.lanes["text"].new, whole.lanes["text"].deleted) == ("", 6, 2, 1)


def test_rewriting_a_lane_and_a_prefix_exclude_each_other(project: Project) -> None:
    fill(project)
    assert project.run().green
    with pytest.raises(ConfigError, match="leave out the prefix or rewrite"):
        project.run(Request(rewrite=frozenset({"text"}), prefix="a/"))
    with project.open() as runtime:
        take_turn(runtime, "by-hand", prefix="a/")
        scan(runtime, "by-hand", "a/")
        identify(runtime, "by-hand")
        with pytest.raises(ConfigError, match="all or none"):
            route_rewrite(runtime, "by-hand", ensure_live(runtime, "text"))


def test_stages_keep_to_the_prefix_of_the_snapshot_they_are_given(project: Project) -> None:
    """Nobody tells them: a snapshot of a part that comes into their hands is never taken for a whole one."""
    fill(project)
    assert project.run().green
    for key in ("a/1.txt", "b/1.txt"):
        project.remove(key)
    with project.open() as runtime:
        take_turn(runtime, "other")
        scan(runtime, "other", "a/")
        assert identify(runtime, "other")["vanished"] == 1
        assert purge(runtime, "other")["objects"] == 1
    assert indexed(project) == {"a/2.txt", "a-b.txt", "b/1.txt", "b/2.txt"}


def test_purge_without_a_complete_listing_deletes_nothing(project: Project) -> None:
    fill(project)
    assert project.run().green
    with project.open() as runtime:
        take_turn(runtime, "no-listing")
        with pytest.raises(IntegrityError):
            purge(runtime, "no-listing")


def test_a_snapshot_with_a_key_outside_its_prefix_is_refused(project: Project) -> None:
    with project.open() as runtime:
        path = RunFiles(project.name, "forged").snapshot
        listing = [ListedObject("a/1", "e", 1, 1), ListedObject("b/1", "e", 1, 1)]
        with pytest.raises(IntegrityError, match="'b/1' is in a listing of the keys below 'a/'"):
            write_snapshot(runtime.state, path, "s3://b/", listing, lambda _: True, 0, "a/")
        assert not runtime.state.exists(path)
        snapshot = write_snapshot(runtime.state, path, "s3://b/", listing[:1], lambda _: True, 0, "a/")
        assert read_snapshot(runtime.state, path) == snapshot
        assert snapshot.prefix == "a/"
        whole = Snapshot(path, "s3://b/", 1, 1, complete=True, resorted=False)
        with pytest.raises(IntegrityError):
            list(iter_snapshot(runtime.state, whole))


@pytest.mark.parametrize(("prefix", "reason"), [("x\0", "zero byte"), ("k" * 1_025, "1024"), ("\udcff", "not UTF-8")])
def test_a_prefix_that_no_key_has_is_refused_before_anything_begins(project: Project, prefix: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        project.run(Request(prefix=prefix))


def test_a_prefix_does_not_lead_out_of_a_directory(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("not ours")
    fill(project)
    (project.root / "source" / "link").symlink_to(outside)
    with project.open() as runtime:
        for prefix in ("link/", "../", "a/../b/", "/", f"{outside}/"):
            assert list(runtime.source.list(prefix)) == []
        assert [one.key for one in runtime.source.list("a")] == ["a-b.txt", "a/1.txt", "a/2.txt"]
        assert [one.key for one in runtime.source.list("b/2.txt")] == ["b/2.txt"]


def test_in_a_bucket_the_prefix_is_a_whole_key_as_the_pages_show_it(project: Project, moto_server: S3Server) -> None:
    bucket, client = moto_server.make_bucket(), moto_server.client()
    keys = ["docs/%/1.txt", "docs/%/2.txt", "docs/a.txt", "other/%/1.txt"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=f"text of {key}".encode())
    project.configure(source={"uri": f"s3://{bucket}/docs/"})
    credentials = moto_server.credentials()
    for outside in ("%/", "doc", "other/"):
        with pytest.raises(ConfigError, match="its keys begin with 'docs/'"):
            project.run(Request(prefix=outside), credentials)
    assert project.run(Request(prefix="docs/%/"), credentials).green
    assert indexed(project) == set(keys[:2])
    assert project.run(None, credentials).green
    assert indexed(project) == set(keys[:3])
