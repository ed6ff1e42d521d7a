"""What a message of an event queue says: whether it is about an object that the pipeline looks at. Pure.

A message only wakes a run, which lists the source and sees for itself. So nothing here has to be right to the last
detail: in doubt a message wakes, and one that cannot be understood is ignored; neither can do any harm.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

TEST_EVENT = "test event"
FOREIGN_BUCKET = "another bucket"
OTHER_KEYS = "keys that the pipeline does not look at"
NOT_UNDERSTOOD = "not a notification of S3"

MAX_BODY_CHARACTERS = 2 << 20  # SQS takes 1 MiB; whatever is larger is none of its messages
_MAX_WRAPPINGS = 3


@dataclass(frozen=True, slots=True)
class WatchedKeys:
    """Which objects a pipeline looks at."""

    bucket: str
    prefix: str
    accepts: Callable[[str], bool]  # the source's include and exclude

    def has(self, bucket: str, key: str) -> bool:
        """Whether an object is one of them."""
        return bucket == self.bucket and key.startswith(self.prefix) and self.accepts(key)


def reason_to_ignore(body: str, watched: WatchedKeys) -> str:
    """Why a message need not wake the pipeline.

    Understood are notifications of S3 as S3 sends them, through SNS (raw or not), and as EventBridge shapes them.

    Returns:
        "" where it is about an object of the pipeline's, else one of the reasons above: they carry no key.
    """
    document = _unwrapped(body)
    if not isinstance(document, dict):
        return NOT_UNDERSTOOD
    if document.get("Event") == "s3:TestEvent":
        return TEST_EVENT
    objects = list(_objects(document))
    if not objects:
        return NOT_UNDERSTOOD
    if any(watched.has(bucket, spelling) for bucket, key in objects for spelling in (unquote_plus(key), key)):
        return ""
    return OTHER_KEYS if any(bucket == watched.bucket for bucket, _ in objects) else FOREIGN_BUCKET


def _unwrapped(body: str) -> Any:
    """The document of S3 or EventBridge, without the envelopes of SNS."""
    document = _parsed(body)
    for _ in range(_MAX_WRAPPINGS):
        if not (isinstance(document, dict) and document.get("Type") == "Notification"):
            break
        document = _parsed(document.get("Message"))
    return document


def _parsed(body: Any) -> Any:
    if not isinstance(body, str) or len(body) > MAX_BODY_CHARACTERS:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # not JSON, a number of a million digits, or brackets in brackets
        return None


def _objects(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(bucket, key as it was spelled) of every object in a document."""
    records = document.get("Records")
    for record in records if isinstance(records, list) else [{"s3": document.get("detail")}]:
        bucket, key = _at(record, "s3", "bucket", "name"), _at(record, "s3", "object", "key")
        if isinstance(bucket, str) and isinstance(key, str):
            yield bucket, key


def _at(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document
