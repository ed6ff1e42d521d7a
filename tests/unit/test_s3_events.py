"""What messages mean, in every envelope that a bucket's notifications come in."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.s3_events import (
    FOREIGN_BUCKET,
    MAX_BODY_CHARACTERS,
    NOT_UNDERSTOOD,
    OTHER_KEYS,
    TEST_EVENT,
    WatchedKeys,
    reason_to_ignore,
)

WATCHED = WatchedKeys("bucket", "docs & more/", KeyFilter(("**",), ("*.tmp",)).accepts)
KEY = "docs & more/ä + b%41.txt"


def from_s3(key: str = KEY, bucket: str = "bucket", event: str = "ObjectCreated:Put") -> dict[str, Any]:
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), "size": 1}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": event, "s3": s3}]}


def from_event_bridge(key: str = KEY, bucket: str = "bucket") -> dict[str, Any]:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


def through_sns(document: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": json.dumps(document)}


SHAPES = [
    from_s3,
    from_event_bridge,
    lambda *a: through_sns(from_s3(*a)),
    lambda *a: through_sns(from_event_bridge(*a)),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_wakes_for_our_objects_only(shape: Any) -> None:
    assert reason_to_ignore(json.dumps(shape()), WATCHED) == ""
    assert reason_to_ignore(json.dumps(shape(KEY, "another")), WATCHED) == FOREIGN_BUCKET
    assert reason_to_ignore(json.dumps(shape("docs/a.txt")), WATCHED) == OTHER_KEYS
    assert reason_to_ignore(json.dumps(shape("docs & more/a.tmp")), WATCHED) == OTHER_KEYS


@pytest.mark.parametrize("event", ["ObjectRemoved:Delete", "ObjectRestore:Completed", "LifecycleExpiration:Delete"])
def test_whatever_happened_to_an_object_wakes(event: str) -> None:
    assert reason_to_ignore(json.dumps(from_s3(event=event)), WATCHED) == ""


def test_one_of_ours_among_others_wakes() -> None:
    records = [from_s3(bucket="another")["Records"][0], 7, {}, from_s3()["Records"][0]]
    assert reason_to_ignore(json.dumps({"Records": records}), WATCHED) == ""


def test_the_test_event_wakes_nobody() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bucket"}
    assert reason_to_ignore(json.dumps(event), WATCHED) == TEST_EVENT
    assert reason_to_ignore(json.dumps(through_sns(event)), WATCHED) == TEST_EVENT


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "null",
        "[]",
        '"text"',
        "{}",
        "[" * 100_000,
        "1" * 10_000,
        '{"Records": {}}',
        '{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": "k"}}}]}',
        '{"Records": [{"s3": [{"bucket": "bucket"}]}]}',
        '{"Type": "Notification"}',
        '{"Type": "Notification", "Message": "no JSON"}',
        '{"detail": "text"}',
    ],
)
def test_garbage_wakes_nobody_and_raises_nothing(body: str) -> None:
    assert reason_to_ignore(body, WATCHED) == NOT_UNDERSTOOD


def test_envelopes_within_envelopes_and_huge_bodies_come_to_an_end() -> None:
    document = from_s3()
    for _ in range(6):
        document = through_sns(document)
    assert reason_to_ignore(json.dumps(document), WATCHED) == NOT_UNDERSTOOD
    assert reason_to_ignore(json.dumps({**from_s3(), "x": "y" * MAX_BODY_CHARACTERS}), WATCHED) == NOT_UNDERSTOOD


def test_a_key_that_was_spelled_either_way_wakes() -> None:
    assert reason_to_ignore(json.dumps({"Records": [{"s3": from_event_bridge()["detail"]}]}), WATCHED) == ""
