"""deploy/milvus/roles.yaml on a real server: enough for everything that a pipeline does, and for a reader to search."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.deployment.milvus_roles import PIPELINES, READERS, keep_role, privileges_of
from include.embedding_etl.audit import audit
from include.embedding_etl.drop_collection import drop_collection
from tests.fixtures_milvus import fresh_name
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.integration.test_reindex import change_model, run_reindex
from tests.milvus_server import TOKEN

pytestmark = pytest.mark.milvus_server
PASSWORD = "a-password-of-a-test"


@pytest.fixture(scope="module")
def root(milvus_server_uri: str) -> Iterator[Any]:
    from pymilvus import MilvusClient

    client = MilvusClient(milvus_server_uri, token=TOKEN, dedicated=True)
    for role in (PIPELINES, READERS):
        keep_role(client, role)
    yield client
    client.close()


@pytest.fixture
def user_with(root: Any, milvus_server_uri: str) -> Iterator[Callable[[str], str]]:
    """Makes a user with one role; the token is returned."""
    users: list[str] = []

    def make(role: str) -> str:
        users.append(fresh_name("u"))
        root.create_user(users[-1], PASSWORD)
        root.grant_role(users[-1], role)
        token = f"{users[-1]}:{PASSWORD}"
        wait_until_known(milvus_server_uri, token)
        return token

    yield make
    for user in users:
        root.drop_user(user)


@pytest.fixture
def project(
    tmp_path: Path, milvus_server_uri: str, endpoint: EmbeddingEndpoint, user_with: Callable[[str], str]
) -> Project:
    return Project(tmp_path, milvus_server_uri, endpoint, milvus_token=user_with(PIPELINES))


def wait_until_known(uri: str, token: str) -> None:
    """The server's proxies learn of a new user's role within a second or so. Both roles may describe aliases."""
    import grpc
    from pymilvus import MilvusClient, MilvusException

    deadline = time.monotonic() + 30
    while True:
        client = MilvusClient(uri, token=token, dedicated=True)
        try:
            client.describe_alias("there_is_none")
        except (MilvusException, grpc.RpcError) as error:
            if "permission" not in str(error).lower():
                return
        finally:
            client.close()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def work(project: Project) -> None:
    """Two runs with changes and deletions, a reindex with cutover and back, an audit, and a collection dropped."""
    project.put_many(3)
    assert project.run().green
    project.put("doc-000.txt", "something else")
    project.remove("doc-001.txt")
    assert project.run().green
    change_model(project)
    result = run_reindex(project, grace_hours=0)
    assert result.cut_over, result.problem
    with project.open() as runtime:
        found = audit(runtime, "audit-1")
        assert not found.findings, found.findings
        records = runtime.ledger.collections.history(project.name)
        (retired,) = (record.name for record in records if record.state == "retired")
        drop_collection(runtime, retired, "drop-1")
        assert not runtime.store.has_collection(retired)


def test_the_pipelines_role_is_enough_for_all_that_a_pipeline_does(project: Project) -> None:
    work(project)


def test_the_pipelines_user_has_no_power_over_users_roles_and_databases(project: Project) -> None:
    import grpc
    from pymilvus import MilvusClient, MilvusException

    user = MilvusClient(project.milvus_uri, token=project.milvus_token, dedicated=True)
    for forbidden in (
        user.list_users,
        lambda: user.create_user("x", "yyyyyyyy"),
        lambda: user.grant_role("x", "admin"),
        lambda: user.create_role("z"),
        lambda: user.create_database("z"),
        lambda: user.rename_collection("a", "b"),
    ):
        with pytest.raises((MilvusException, grpc.RpcError), match=r"(?i)permission"):
            forbidden()
    user.close()


def test_a_reader_searches_through_the_alias_and_cannot_write(
    project: Project, milvus_server_uri: str, user_with: Callable[[str], str]
) -> None:
    import grpc
    from pymilvus import MilvusClient, MilvusException

    project.put_many(3)
    assert project.run().green
    with project.open() as runtime:
        name = runtime.store.alias_target(project.alias)
        (row, *_) = (row for page in runtime.store.iterate(str(name), ["vector"]) for row in page)
    reader = MilvusClient(milvus_server_uri, token=user_with(READERS), dedicated=True)
    found = reader.search(project.alias, data=[row["vector"]], limit=1, output_fields=["object_key", "text"])
    assert found[0][0]["id"] == row["id"]
    (whole,) = reader.query(project.alias, filter=f'id == "{row["id"]}"', output_fields=["*"])
    assert reader.describe_alias(project.alias)["collection_name"] == name
    for forbidden in (
        lambda: reader.delete(project.alias, ids=[row["id"]]),
        lambda: reader.upsert(project.alias, [whole]),
        lambda: reader.insert(project.alias, [{**whole, "id": "x"}]),
        lambda: reader.release_collection(project.alias),
        lambda: reader.drop_alias(project.alias),
        lambda: reader.drop_collection(name),
        lambda: reader.create_collection("x", dimension=8),
        lambda: reader.list_users(),
    ):
        with pytest.raises((MilvusException, grpc.RpcError), match=r"(?i)permission"):
            forbidden()
    reader.close()
    assert len(project.rows()) == 3


def test_a_role_becomes_what_its_file_says(root: Any) -> None:
    root.grant_privilege(READERS, "Collection", "Delete", "*")
    root.revoke_privilege(READERS, "Collection", "Search", "*")
    assert keep_role(root, READERS) == []
    granted = {(each["object_type"], each["privilege"]) for each in root.describe_role(READERS)["privileges"]}
    assert granted == privileges_of(READERS)


def test_a_wrong_token_is_named_and_not_quoted(
    project: Project, milvus_server_uri: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    project.milvus_token = "somebody:a-wrong-p4ssword"
    project.put_many(1)
    with caplog.at_level("DEBUG"):
        report = project.run()
    assert not report.green
    captured = capfd.readouterr()
    ledger = (project.root / "ledger.db").read_bytes()
    assert "a-wrong-p4ssword" not in f"{report} {caplog.text} {captured.out} {captured.err}"
    assert b"a-wrong-p4ssword" not in ledger


def test_a_missing_privilege_is_named_for_a_person(root: Any, project: Project) -> None:
    root.revoke_privilege(PIPELINES, "Collection", "Upsert", "*")
    try:
        project.put_many(1)
        time.sleep(2)  # the server's proxies learn of it
        report = project.run()
        assert not report.green
        assert re.search(r"(?i)upsert.*permission", " ".join(report.problems)), report.problems
    finally:
        keep_role(root, PIPELINES)
