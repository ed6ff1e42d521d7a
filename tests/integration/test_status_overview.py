"""The overview: what is indexed, what is not, and whether all agree."""

import re
import time
from collections import Counter

import pytest

from include.embedding_etl.diff import LOOK_AGAIN, Action
from include.embedding_etl.lane_changes import hash_limits, lane_changes
from include.embedding_etl.lane_collection import ensure_live
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusPages

pytestmark = pytest.mark.both_ledgers


def _agreement(pages: StatusPages) -> str:
    answer = pages("viewer").get(f"/overview/{pages.project.name}/agreement")
    assert answer.status_code == 200
    return answer.text


def _lanes(pages: StatusPages) -> str:
    answer = pages("viewer").get(f"/overview/{pages.project.name}/lanes")
    assert answer.status_code == 200
    return answer.text


def test_nobody_sees_nothing(status_pages: StatusPages) -> None:
    fragments = f"/overview/{status_pages.project.name}"
    for path in ("/overview", f"{fragments}/agreement", f"{fragments}/lanes"):
        assert status_pages("").get(path).status_code == 401


def test_a_pipeline_without_runs_says_how_to_start(status_pages: StatusPages) -> None:
    page = status_pages("viewer").get("/overview").text
    assert f"etl run {status_pages.project.name}" in page
    assert f'hx-get="/overview/{status_pages.project.name}/lanes"' in page
    assert "nothing indexed yet" in _lanes(status_pages)
    assert "Nothing is indexed yet" in _agreement(status_pages)


def test_no_pipeline_says_where_to_put_one(status_pages: StatusPages) -> None:
    (status_pages.project.root / "pipelines" / f"{status_pages.project.name}.yaml").unlink()
    assert "There is no pipeline yet" in status_pages("viewer").get("/overview").text


def test_a_broken_pipeline_file_hides_no_other(status_pages: StatusPages) -> None:
    (status_pages.project.root / "pipelines" / "broken.yaml").write_text("name: broken\nlanes: 3\n")
    page = status_pages("viewer").get("/overview").text
    assert "broken.yaml" in page
    assert f'id="pipeline-{status_pages.project.name}"' in page


def test_what_is_indexed_waits_and_failed_is_counted(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(3)
    project.put("broken.txt", b"%PDF-1.4 broken")
    project.configure(lanes={"text": _lane(project, ["text/*", "application/pdf"])})
    project.run()
    with project.open() as runtime:
        (letters,) = runtime.ledger.dead_letters.counts(project.name).values()
        known = runtime.ledger.objects.get(project.name, "doc-000.txt")
        assert known is not None
        runtime.ledger.objects.put(
            project.name, [_changed(known, etag="newer", last_modified_ms=int(time.time() * 1000) - 7_200_000)]
        )
    page = _lanes(status_pages)
    row = _row(page, "text")
    assert [re.sub(r"<[^>]+>", "", cell).strip() for cell in row[:4]] == ["4", "2", "1", str(sum(letters.values()))]
    assert "2 h 0 min" in row[4]
    assert "chunks/s" in page


def test_changed_configuration_waits_for_a_reindex(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(1)
    project.run()
    assert "waits for a reindex" not in _lanes(status_pages)
    project.configure(lanes={"text": {**_lane(project, ["text/*"]), "chunk": {"overlap_tokens": 3}}})
    page = _lanes(status_pages)
    assert "waits for a reindex" in page
    assert "chunk.overlap_tokens" in page


def test_storage_ledger_and_milvus_agree_after_a_run(status_pages: StatusPages) -> None:
    status_pages.project.put_many(2)
    status_pages.project.run()
    fragment = _agreement(status_pages)
    assert "sign good" in fragment
    assert "does not agree" not in fragment


def test_rows_missing_in_milvus_are_told_with_what_to_do(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(2)
    project.run()
    with project.open() as runtime:
        runtime.store.delete(runtime.store.alias_target(project.alias) or "", list(project.rows())[:1])
    fragment = _agreement(status_pages)
    assert "does not agree" in fragment
    assert "2 rows verified, 1 in Milvus" in fragment
    assert f"etl audit {project.name}" in fragment


def test_storage_ahead_of_the_index_does_not_agree(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(2)
    project.run()
    with project.open() as runtime:
        runtime.ledger.objects.mark_vanished(project.name, ["doc-000.txt"])
    assert "1 object still indexed, but gone from storage" in _agreement(status_pages)


def test_a_run_at_work_is_no_disagreement(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(2)
    project.run()
    with project.open() as runtime:
        name = runtime.store.alias_target(project.alias) or ""
        runtime.ledger.leases.acquire(name, "ingest__x/now", 60)
        runtime.ledger.objects.mark_vanished(project.name, ["doc-000.txt"])
        assert "ingest__x/now is writing to it now" in _agreement(status_pages)


def test_milvus_down_is_said_and_holds_no_page_up(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(1)
    project.run()
    project.milvus_uri = "http://127.0.0.1:9"
    started = time.monotonic()
    page = status_pages("viewer").get("/overview")
    assert page.status_code == 200
    assert time.monotonic() - started < 3
    assert "cannot be told" in _agreement(status_pages)


def test_runs_are_links_with_their_figures_in_words(status_pages: StatusPages) -> None:
    project = status_pages.project
    with project.open() as runtime:
        runtime.ledger.runs.start("ingest__x/scheduled", project.name)
        runtime.ledger.runs.add_stage("ingest__x/scheduled", "embed", {"embedded": 7, "dead_letters": 1}, 2.0, 1.0)
        runtime.ledger.runs.finish("ingest__x/scheduled", "failed")
    page = status_pages("viewer").get("/overview").text
    assert '<a href="/dags/ingest__x/runs/scheduled" aria-label="ingest ingest__x/scheduled' in page
    assert "failed, " in page
    assert "7 embedded, 0 reused, 1 failed" in page
    assert " style=" not in page


def test_a_run_that_was_given_up_says_so_in_picture_and_table(status_pages: StatusPages) -> None:
    project = status_pages.project
    with project.open() as runtime:
        runtime.ledger.runs.start("lost", project.name)
        (life,) = runtime.ledger.runs.signs_of_life(project.name)
        assert runtime.ledger.runs.give_up(life, "its process 7 died without a report")
    page = status_pages("viewer").get("/overview").text
    assert "<td>failed; given up: its process 7 died without a report</td>" in page
    assert re.search(r'aria-label="ingest lost, [^"]*: failed; given up: its process 7 died without a report, ', page)


def test_counts_by_sql_are_those_of_the_decisions(project: Project) -> None:
    """SQL answers what `lane_changes` decides, whatever state the objects are in."""
    project.put_many(8)
    project.put("refused.txt", "poison")
    project.endpoint.refused_word = "poison"
    project.run()
    with project.open() as runtime:
        live, objects = ensure_live(runtime, "text"), runtime.ledger.objects
        records = objects.get_many(project.name, [f"doc-{number:03d}.txt" for number in range(8)])
        objects.mark_vanished(project.name, ["doc-000.txt"])
        objects.put(
            project.name,
            [
                _changed(records["doc-001.txt"], etag="newer"),
                _changed(records["doc-002.txt"], skip_reason=next(iter(LOOK_AGAIN))),
                _changed(records["doc-003.txt"], skip_reason="oversize"),
                _changed(records["doc-004.txt"], media_type="application/zip"),
                _changed(records["doc-005.txt"], last_modified_ms=1),
                _changed(records["doc-006.txt"], key="new.txt"),
                _changed(records["doc-006.txt"], key="new.zip", media_type="application/zip"),
            ],
        )
        record = runtime.ledger.collections.get(live.name)
        assert record is not None
        figures = runtime.ledger.lanes.of_collection(
            record, ["text/plain"], hash_limits(runtime.pipeline.limits), LOOK_AGAIN
        )
        actions = Counter(change.action for change in lane_changes(runtime, live))
    assert figures.indexed == actions[Action.KEEP] == 2
    assert figures.pending == actions[Action.EMBED] + actions[Action.RELABEL] == 3
    assert figures.to_delete == actions[Action.DELETE] == 3
    assert figures.deferred == actions[Action.DEFER] == 1
    assert figures.dead_letters == actions[Action.DEAD] == 1
    assert figures.oldest_pending_ms == 1


def _changed(record: object, **changes: object) -> object:
    from dataclasses import replace

    return replace(record, **changes)  # type: ignore[type-var]


def _lane(project: Project, accepts: list[str]) -> dict[str, object]:
    with project.open() as runtime:
        lane = runtime.pipeline.lanes["text"].model_dump(mode="json")
    return {**lane, "accepts": accepts}


def _row(page: str, lane: str) -> list[str]:
    body = page[page.index(f">{lane}</a></th>") :]
    return re.findall(r"<td[^>]*>(.*?)</td>", body[: body.index("</tr>")], re.DOTALL)
