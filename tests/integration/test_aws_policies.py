"""The policies of deploy/aws are enough for everything that we do, and hold nothing that we do not need.

moto checks signatures, actions and resources. It knows no conditions: those on prefixes are compared with what the
server was asked for. AWS checks a batch of SQS like its single action; moto asks for an action of its own.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from include.embedding_etl.converge import Request, converge
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.event_queue import EventQueue
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.retention import DAY_MS, clear_up, due
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.s3_credentials import S3Credentials
from tests.fixtures_pipeline import Project
from tests.fixtures_storage import REGION
from tests.ports import free_port

POLICIES = PROJECT_ROOT / "deploy" / "aws"
ACCOUNT = "123456789012"
SOURCE, STATE, PREFIX, STATE_PREFIX, QUEUE = "a-source", "a-state", "docs/", "etl/state", "a-queue"
PLACEHOLDERS = {
    "SOURCE-BUCKET": SOURCE,
    "SOURCE-PREFIX": PREFIX,
    "STATE-BUCKET": STATE,
    "STATE-PREFIX": STATE_PREFIX,
    "REGION": REGION,
    "ACCOUNT-ID": ACCOUNT,
    "QUEUE-NAME": QUEUE,
}
ENFORCED, OFF = 0, 10**9
BATCH = {
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
}


def policy(name: str) -> dict[str, Any]:
    """A file of deploy/aws, filled in as its reader would."""
    text = (POLICIES / f"{name}-policy.json").read_text()
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    assert not re.search(r"[A-Z]+-[A-Z]+", text), "a placeholder that nobody explains"
    document: dict[str, Any] = json.loads(text)
    return document


def actions(document: dict[str, Any]) -> list[str]:
    return [action for statement in document["Statement"] for action in listed(statement["Action"])]


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    """The same policy with one action less."""
    statements = [
        {**statement, "Action": [each for each in listed(statement["Action"]) if each != action]}
        for statement in document["Statement"]
    ]
    return {**document, "Statement": [statement for statement in statements if statement["Action"]]}


def for_moto(document: dict[str, Any]) -> str:
    """In moto's words: no conditions; deleting many of S3 is asked of the bucket; batches of SQS by their own names."""
    statements = []
    for statement in document["Statement"]:
        wanted = {each: value for each, value in statement.items() if each != "Condition"}
        names = listed(statement["Action"])
        wanted["Action"] = [BATCH.get(each, each) for each in names]
        if names[0].startswith("sqs:"):
            wanted["Resource"] = "*"
        if "s3:DeleteObject" in names:
            statements.append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{STATE}"})
        statements.append(wanted)
    return json.dumps({**document, "Statement": statements})


@dataclass
class Account:
    """An AWS account with policies enforced, and what was asked of it."""

    endpoint: str
    log: Path
    root: tuple[str, str] = ("root", "root")
    users: dict[str, tuple[str, str]] = field(default_factory=dict)

    def client(self, service: str, keys: tuple[str, str] | None = None) -> Any:
        access_key, secret_key = keys or self.root
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )

    def enforce(self, after: int) -> None:
        """Check policies from now on, or never."""
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=str(after), trust_env=False).raise_for_status()

    def allow(self, user: str, document: dict[str, Any]) -> None:
        """Give a user exactly this policy; a new user gets keys."""
        self.enforce(OFF)
        iam = self.client("iam")
        if user not in self.users:
            iam.create_user(UserName=user)
            key = iam.create_access_key(UserName=user)["AccessKey"]
            self.users[user] = key["AccessKeyId"], key["SecretAccessKey"]
        iam.put_user_policy(UserName=user, PolicyName="policy", PolicyDocument=for_moto(document))
        self.enforce(ENFORCED)

    def credentials(self, user: str) -> S3Credentials:
        return S3Credentials(*self.users[user], endpoint=self.endpoint, region=REGION)

    def listed_prefixes(self, bucket: str) -> set[str]:
        """Prefixes that listings of a bucket named, from the server's log."""
        found = re.findall(rf'"GET /{bucket}/?(\?\S*) HTTP', self.log.read_text())
        queries = [parse_qs(urlsplit(line).query, keep_blank_values=True) for line in found]
        return {query["prefix"][0] if "prefix" in query else "" for query in queries if "list-type" in query}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    port, log = free_port(), tmp_path_factory.mktemp("aws") / "log"
    arguments = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, stdout=stream, stderr=stream)
    started = Account(f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                started.enforce(OFF)
                break
            except httpx.ConnectError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        s3 = started.client("s3")
        for bucket in (SOURCE, STATE):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
        for number in range(3):
            s3.put_object(Bucket=SOURCE, Key=f"{PREFIX}a {number}+ä.txt", Body=b"about topic %d" % number)
        started.client("sqs").create_queue(QueueName=QUEUE)
        yield started
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def opened(account: Account, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Runtime]]:
    """Opens the pipeline: its source by one user, its state by another, each with its policy and nothing else."""
    project.configure(source={"uri": f"s3://{SOURCE}/{PREFIX}", "listing": {"parallel": 4}})
    account.allow("source", policy("source-bucket"))
    account.allow("state", policy("state-bucket"))
    runtimes: list[Runtime] = []

    def open_pipeline() -> Runtime:
        access_key, secret_key = account.users["state"]
        places = Places(
            _env_file=None,
            pipelines_dir=project.root / "pipelines",
            state_uri=f"s3://{STATE}/{STATE_PREFIX}",
            ledger_url=project.ledger_url,
            milvus_uri=project.milvus_uri,
            s3_endpoint=account.endpoint,
            s3_region=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )
        pipeline = find_pipeline(places.pipelines_dir, project.name)
        runtimes.append(Runtime(pipeline, places, account.credentials("source"), one_process=True))
        return runtimes[-1]

    yield open_pipeline
    for runtime in runtimes:
        runtime.__exit__(None, None, None)


def everything(runtime: Runtime, run_id: str) -> str:
    """A run, a run of a part, a link, and a clearing up a month later. The link is returned."""
    assert converge(runtime, run_id).green
    assert converge(runtime, f"{run_id}-part", Request(prefix=f"{PREFIX}a ")).green
    link = runtime.source.sign_link(next(iter(runtime.source.list())), 60)
    month = int(time.time() * 1000) + 31 * DAY_MS
    assert {item.kind for item in due(runtime, month)} >= {"run files"}
    assert clear_up(runtime, f"{run_id}-audit", month)
    assert not [item for item in due(runtime, month) if item.kind in ("run files", "unfinished file")]
    return link


def matches_condition(document: dict[str, Any], prefix: str) -> bool:
    patterns = listed(document["Statement"][0]["Condition"]["StringLike"]["s3:prefix"])
    return any(fnmatchcase(prefix, pattern) for pattern in patterns)


def test_the_policies_are_enough_for_a_run_a_link_and_clearing_up(
    account: Account, opened: Callable[[], Runtime]
) -> None:
    assert "versionId=" in everything(opened(), "run")
    for name, bucket in (("source-bucket", SOURCE), ("state-bucket", STATE)):
        prefixes = account.listed_prefixes(bucket)
        assert prefixes
        assert [prefix for prefix in prefixes if not matches_condition(policy(name), prefix)] == []


@pytest.mark.parametrize(
    ("name", "action"),
    [(name, action) for name in ("source-bucket", "state-bucket") for action in actions(policy(name))],
)
def test_each_action_is_needed(account: Account, opened: Callable[[], Runtime], name: str, action: str) -> None:
    user = name.removesuffix("-bucket")
    account.allow(user, without(policy(name), action))
    if action == "s3:GetObjectVersion":  # nothing fails, but a link to the version is worth a permission
        assert "versionId=" not in everything(opened(), "run")
        return
    with pytest.raises((EmbeddingEtlError, AssertionError)):
        everything(opened(), "run")


def test_a_refused_deletion_is_a_matter_for_a_person(account: Account, opened: Callable[[], Runtime]) -> None:
    runtime = opened()
    account.allow("state", without(policy("state-bucket"), "s3:DeleteObject"))
    assert converge(runtime, "run").green
    with pytest.raises(ConfigError, match="ETL_STATE_URI"):
        runtime.state.delete_prefix("runs")


def test_nobody_can_write_to_the_source_or_read_beside_its_prefix(account: Account) -> None:
    account.allow("source", policy("source-bucket"))
    account.allow("state", policy("state-bucket"))
    s3, state = account.client("s3", account.users["source"]), account.client("s3", account.users["state"])
    key = f"{PREFIX}a 0+ä.txt"
    for refused in (
        lambda: s3.put_object(Bucket=SOURCE, Key=key, Body=b"x"),
        lambda: s3.delete_object(Bucket=SOURCE, Key=key),
        lambda: s3.get_object(Bucket=SOURCE, Key="elsewhere/a.txt"),
        lambda: s3.put_object_tagging(Bucket=SOURCE, Key=key, Tagging={"TagSet": []}),
        lambda: s3.list_objects_v2(Bucket=STATE),
        lambda: state.get_object(Bucket=SOURCE, Key=key),
        lambda: state.put_object(Bucket=STATE, Key="elsewhere", Body=b"x"),
    ):
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
            refused()


def test_the_queue_s_policy_is_enough_and_each_action_is_needed(account: Account) -> None:
    full = policy("event-queue")
    url = f"{account.endpoint}/{ACCOUNT}/{QUEUE}"

    def take() -> None:
        account.enforce(OFF)
        account.client("sqs").send_message(QueueUrl=url, MessageBody="x")
        account.enforce(ENFORCED)
        queue = EventQueue(url, account.credentials("events"), 30)
        handles = [message.handle for message in queue.receive(1)]
        assert handles
        assert queue.hide(handles, 60) == 0
        assert queue.delete(handles) == 0
        queue.close()

    account.allow("events", full)
    take()
    for action in actions(full):
        account.allow("events", without(full, action))
        with pytest.raises(EmbeddingEtlError, match="refused"):
            take()
