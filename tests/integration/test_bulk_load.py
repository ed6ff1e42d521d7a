"""First loads by Milvus' bulk import. What needs a server that has it is marked milvus_server."""

import json
import logging
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from include.embedding_etl.converge import Request
from include.embedding_etl.reindex import reindex
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.vectorstore.milvus import MilvusStore
from tests.embedding_endpoint import EmbeddingEndpoint, word_vector
from tests.faults.test_frozen_process import LEASE_TTL_S, start_frozen, wake
from tests.fixtures_milvus import plain_client
from tests.fixtures_pipeline import Project

OBJECTS = 40
HOSTILE = ['quo"te.txt', "日本語 😀.txt", "back\\slash.txt", "new\nline.txt"]
on_a_server = pytest.mark.milvus_server


@pytest.fixture
def server_project(tmp_path: Path, milvus_server_uri: str, endpoint: EmbeddingEndpoint) -> Project:
    """A pipeline that fills collections in bulk, on a server that can."""
    from tests.milvus_server import TOKEN

    project = Project(tmp_path, milvus_server_uri, endpoint, milvus_token=TOKEN)
    configure(project)
    project.put_many(OBJECTS)
    return project


def configure(project: Project, **changes: Any) -> None:
    bulk = {"staging_uri": str(project.root / "staging"), "min_rows": 10, **changes}
    project.configure(milvus={"bulk_import": bulk})


def leftovers(project: Project) -> list[str]:
    """Staged files and marks."""
    places = (project.root / "staging", project.root / "state" / "imports")
    return [str(path) for place in places for path in place.rglob("*") if path.is_file()]


def count(project: Project) -> int:
    """Rows in the live collection, those of an id that is there twice too."""
    with project.open() as runtime:
        target = runtime.store.alias_target(project.alias)
        assert target is not None
        return runtime.store.count(target)


def imported(project: Project, run_id: str = "") -> int:
    """Rows that a run, its last one unless told otherwise, brought in by bulk imports."""
    with project.open() as runtime:
        run = runtime.ledger.runs.get(run_id or f"run-{project.runs}")
        assert run is not None
        return sum(each.counts.get("imported", 0) for each in run.stages if each.stage == "sync")


@on_a_server
def test_a_first_load_is_imported_verified_and_searchable(server_project: Project) -> None:
    for key in HOSTILE:
        server_project.put(key, f"words of {key}")
    server_project.put("blank.txt", " \n ")
    server_project.configure(
        milvus={"bulk_import": {"staging_uri": str(server_project.root / "staging"), "min_rows": 10}},
        thresholds={"max_failed_fraction": 0.5},
    )
    report = server_project.run()
    assert report.problems == []
    rows = OBJECTS + len(HOSTILE)
    assert imported(server_project) == report.lanes["text"].figures["rows"] == rows
    wanted = {key: value for key, value in server_project.expected_rows().items() if value[0] != "blank.txt"}
    assert server_project.rows() == wanted
    assert leftovers(server_project) == []
    with server_project.open() as runtime:
        hits = runtime.store.search(
            server_project.alias, word_vector("doc number 7 is about topic 55433")[None, :], 1, fields=["object_key"]
        )
    assert hits[0][0].fields["object_key"] == "doc-007.txt"
    server_project.put("doc-001.txt", "changed words")
    server_project.put("more.txt", "one more")
    again = server_project.run()
    assert again.green
    assert again.lanes["text"].figures["rows"] == 2
    assert imported(server_project) == 0
    assert count(server_project) == rows + 1


@on_a_server
def test_an_imported_row_holds_what_an_upserted_one_holds(server_project: Project, tmp_path: Path) -> None:
    assert server_project.run().green
    assert imported(server_project) == OBJECTS
    configure(server_project, min_rows=1_000)
    fields = ["object_key", "object_version", "content_hash", "media_type", "ordinal", "start", "end", "text"]
    fields += ["size_bytes", "last_modified", "meta", "vector"]

    def read() -> dict[str, Any]:
        with server_project.open() as runtime:
            target = runtime.store.alias_target(server_project.alias)
            assert target is not None
            return {str(row["id"]): row for page in runtime.store.iterate(target, fields) for row in page}

    before = read()
    assert server_project.run(Request(rewrite=frozenset({"text"}))).lanes["text"].figures["rows"] == OBJECTS
    assert json.dumps(read(), sort_keys=True, default=float) == json.dumps(before, sort_keys=True, default=float)


@on_a_server
def test_a_shard_with_few_rows_is_upserted(server_project: Project) -> None:
    configure(server_project, min_rows=OBJECTS + 1)
    assert server_project.run().green
    assert imported(server_project) == 0
    assert server_project.rows() == server_project.expected_rows()


@on_a_server
def test_a_reindex_fills_its_candidate_in_bulk(server_project: Project) -> None:
    configure(server_project, min_rows=1_000)
    assert server_project.run().green
    assert imported(server_project) == 0
    configure(server_project)
    with server_project.open() as runtime:
        values = {"lane": "text", "rebuild": "index", "index": {"type": "HNSW"}}
        request = ReindexRequest.parse(runtime.pipeline, values)
        result = reindex(runtime, "reindex-1", request, lambda _: True)
    assert result.cut_over, result.problem
    assert imported(server_project, "reindex-1") == OBJECTS
    assert server_project.rows() == server_project.expected_rows()


@on_a_server
def test_a_file_that_the_server_cannot_find_falls_back_to_upserts(
    server_project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(server_project, server_path="/nowhere")
    report = server_project.run()
    assert report.problems == []
    assert imported(server_project) == 0
    assert server_project.rows() == server_project.expected_rows()
    assert count(server_project) == OBJECTS
    assert leftovers(server_project) == []
    assert capfd.readouterr().out.count("bulk import failed: rows are upserted") == 1


def test_a_server_without_bulk_import_gets_upserts_and_says_so(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(project)
    project.put_many(OBJECTS)
    report = project.run()
    assert report.green
    assert imported(project) == 0
    assert project.rows() == project.expected_rows()
    assert leftovers(project) == []
    assert capfd.readouterr().out.count("this server has no bulk import") == 1


@on_a_server
def test_a_job_that_was_begun_twice_before_a_crash_leaves_no_row_twice(server_project: Project) -> None:
    assert server_project.run_process("import_submit:after").returncode == -signal.SIGKILL
    client = plain_client(server_project.milvus_uri, server_project.milvus_token)
    with server_project.open() as runtime:
        name = runtime.store.alias_target(server_project.alias)
        assert name is not None
    [staged] = (server_project.root / "staging").glob("*.parquet")
    client._get_connection().do_bulk_insert(name, "", [str(staged)])
    assert _wait_for_jobs(client, name) == {"Completed"}
    client.refresh_load(name)
    client.close()
    assert count(server_project) == 2 * OBJECTS  # the danger is real
    report = server_project.run()
    assert report.problems == []
    assert count(server_project) == OBJECTS
    assert server_project.rows() == server_project.expected_rows()
    assert leftovers(server_project) == []


@on_a_server
def test_rows_that_the_ledger_does_not_know_of_are_not_doubled(
    server_project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(server_project, min_rows=1_000)
    assert server_project.run().green
    with server_project.open() as runtime:
        name = runtime.store.alias_target(server_project.alias)
        assert name is not None
        lease = runtime.lease(name, "somebody", ttl_s=1)
        runtime.ledger.entries.delete(lease, name, [entry.key for entry in runtime.ledger.entries.stream(name)])
        runtime.ledger.leases.release(lease)
    configure(server_project)
    report = server_project.run()
    assert report.problems == []
    assert imported(server_project) == 0
    assert "not exactly what was expected" in capfd.readouterr().out
    assert count(server_project) == OBJECTS
    assert leftovers(server_project) == []


@on_a_server
def test_a_superseded_run_submits_nothing_that_succeeds(server_project: Project) -> None:
    frozen = start_frozen(server_project, "import_submit")
    time.sleep(LEASE_TTL_S + 0.5)
    assert server_project.run().green
    assert count(server_project) == OBJECTS
    assert "lease lost" in wake(frozen)
    client = plain_client(server_project.milvus_uri, server_project.milvus_token)
    with server_project.open() as runtime:
        name = runtime.store.alias_target(server_project.alias)
        assert name is not None
    assert _wait_for_jobs(client, name) == {"Failed"}  # it was submitted, and found no file
    client.refresh_load(name)
    client.close()
    assert count(server_project) == OBJECTS
    report = server_project.run()
    assert report.problems == []
    assert count(server_project) == OBJECTS
    assert server_project.rows() == server_project.expected_rows()
    assert leftovers(server_project) == []


@on_a_server
def test_a_run_settles_jobs_although_bulk_loads_were_switched_off(server_project: Project) -> None:
    assert server_project.run_process("import_submit:after").returncode == -signal.SIGKILL
    server_project.configure()
    assert server_project.run().problems == []
    assert count(server_project) == OBJECTS
    assert leftovers(server_project) == []


@on_a_server
def test_rows_that_are_there_twice_are_counted_twice_and_replaced_by_an_upsert(server_project: Project) -> None:
    assert server_project.run().green
    assert imported(server_project) == OBJECTS
    with server_project.open() as runtime:
        name = runtime.store.alias_target(server_project.alias)
        assert name is not None
        ids = sorted(server_project.rows())
        assert runtime.store.count_ids(name, ids) == OBJECTS
        assert runtime.store.count_ids(name, [*ids[:3], "missing"]) == 3


@on_a_server
def test_capabilities_are_read_at_the_connect(milvus_server_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    from tests.milvus_server import TOKEN

    store = MilvusStore(milvus_server_uri, token=TOKEN)
    with caplog.at_level(logging.WARNING):
        found = store.capabilities
    assert (found.product, found.line, found.bulk_import) == ("server", (2, 3), True)
    assert "known security holes" in caplog.text
    assert store.bulk_jobs is not None
    store.close()


def test_milvus_lite_is_told_from_a_server(milvus_lite_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    store = MilvusStore(milvus_lite_uri)
    assert (store.capabilities.product, store.capabilities.bulk_import) == ("lite", False)
    assert store.bulk_jobs is None
    assert "security" not in caplog.text
    store.close()


def _wait_for_jobs(client: Any, name: str) -> set[str]:
    """The states of a collection's jobs when none of them goes on."""
    deadline = time.monotonic() + 120
    while True:
        states = {job.state_name for job in client._get_connection().list_bulk_insert_tasks(0, name)}
        if states <= {"Completed", "Failed"}:
            return states
        assert time.monotonic() < deadline, states
        time.sleep(0.2)
