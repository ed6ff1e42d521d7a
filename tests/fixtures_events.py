"""A bucket that sends real notifications to a real queue (moto's), and a pipeline's watch of that queue."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from include.embedding_etl.event_queue import EventQueue
from include.embedding_etl.event_watch import EventWatch, Look
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.settings import EventSettings, SourceSettings
from tests.fixtures_storage import REGION, S3Server

PIPELINE = "docs"
VISIBILITY_S = 30


@dataclass
class BucketWithQueue:
    """Puts and deletes below docs/ are told to the queue; moto tells them when the request has been answered."""

    server: S3Server
    bucket: str
    queue_url: str

    @property
    def s3(self) -> Any:
        return self.server.client()

    @property
    def sqs(self) -> Any:
        return sqs_client(self.server)

    def put(self, key: str, body: bytes = b"x") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def send(self, *bodies: Any) -> None:
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=text)

    def counts(self) -> tuple[int, int]:
        """(messages to be seen, messages in somebody's hand)."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def source(self, **changes: Any) -> SourceSettings:
        return SourceSettings(uri=f"s3://{self.bucket}/docs/", events=self.settings(), **changes)

    def settings(self, **changes: Any) -> EventSettings:
        defaults = {"min_interval_s": 0, "visibility_timeout_s": VISIBILITY_S}
        return EventSettings(queue_url=self.queue_url, **{**defaults, **changes})

    def credentials(self) -> S3Credentials:
        return S3Credentials(self.server.access_key, self.server.secret_key, region=REGION)


@cache
def sqs_client(server: S3Server) -> Any:
    """One for all tests: making one takes longer than most of them."""
    return server.session().client("sqs", endpoint_url=server.endpoint)


def make_bucket_with_queue(server: S3Server) -> BucketWithQueue:
    """A bucket, its queue, and the notifications between them; the queue holds S3's test event."""
    sqs = sqs_client(server)
    queue_url = sqs.create_queue(QueueName=f"events-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bucket = server.make_bucket()
    wanted = {
        "QueueArn": arn,
        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "docs/"}]}},
    }
    server.client().put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [wanted]}
    )
    return BucketWithQueue(server, bucket, queue_url)


@pytest.fixture
def bucket_with_queue(moto_server: S3Server) -> BucketWithQueue:
    return make_bucket_with_queue(moto_server)


@dataclass
class Watching:
    """A watch with everything that it asks: a real queue, a real ledger, and Airflow's word about waiting runs."""

    events: BucketWithQueue
    ledger: Ledger
    waiting: set[str] = field(default_factory=set)  # runs of Airflow's; those in the ledger wait no more
    opened: int = 0
    runs: int = 0
    endpoint: str | None = None
    visibility_s: int = VISIBILITY_S  # a file may say 30 s at least: too long for a test

    def watch(self, source: SourceSettings | None = None, **changes: Any) -> EventWatch:
        settings = self.events.settings(**changes).model_copy(update={"visibility_timeout_s": self.visibility_s})
        source = source or self.events.source()
        return EventWatch(PIPELINE, source, settings, lambda: self._queue(settings), lambda: self.ledger, self._waits)

    def record_run(self, pipeline: str = PIPELINE, kind: Any = "ingest") -> str:
        """What take_turn writes when a run begins."""
        self.runs += 1
        run_id = f"ingest__{pipeline}/run-{self.runs}"
        self.ledger.runs.start(run_id, pipeline, kind)
        return run_id

    def _queue(self, settings: EventSettings) -> EventQueue:
        self.opened += 1
        credentials = self.events.credentials()
        chosen = S3Credentials(credentials.access_key, credentials.secret_key, None, self.endpoint, REGION)
        return EventQueue(settings.queue_url, chosen, settings.visibility_timeout_s)

    def _waits(self, recorded: Iterable[str]) -> bool:
        return bool(self.waiting - set(recorded))


@pytest.fixture
def watching(bucket_with_queue: BucketWithQueue, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    """Nothing waits, no run is recorded, and S3's test event is gone."""
    monkeypatch.setattr("include.embedding_etl.event_watch.LONG_POLL_S", 1)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True) as ledger:
        bucket_with_queue.sqs.purge_queue(QueueUrl=bucket_with_queue.queue_url)
        yield Watching(bucket_with_queue, ledger)


def looks(watch: EventWatch, until: Callable[[Look], bool], at_most: int = 30) -> list[Look]:
    """Look again and again until something shows."""
    seen: list[Look] = []
    for _ in range(at_most):
        seen.append(watch.look())
        if until(seen[-1]):
            return seen
    pytest.fail(f"nothing of it in {at_most} looks: {seen}")
