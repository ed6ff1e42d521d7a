"""Puts the corpus into the bucket, and only what the bucket does not hold already."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from include.embedding_etl.errors import TransientError
from include.local_stack.configuration import StackConfiguration
from include.local_stack.corpus.model import CorpusObject


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload did."""

    written: int
    unchanged: int


def upload_corpus(configuration: StackConfiguration, directory: Path, objects: list[CorpusObject]) -> Uploaded:
    """Upload the objects whose bytes the bucket does not hold; others keep their LastModified.

    Objects that somebody else put into the bucket are left alone.

    Raises:
        TransientError: the S3 server refused or broke off.
    """
    bucket = configuration.demo["ETL_BUCKET"]
    client = _client(configuration)
    keep_bucket(configuration, bucket)
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        present = {found["Key"]: found for page in pages for found in page.get("Contents", [])}
        written = 0
        for item in objects:
            body = b"" if item.is_marker else (directory / item.key).read_bytes()
            if not _holds(present.get(item.key), body, item.is_marker):
                client.put_object(Bucket=bucket, Key=item.key, Body=body, Metadata=dict(item.meta))
                written += 1
    except (ClientError, BotoCoreError) as error:
        raise TransientError(f"the upload to bucket {bucket} failed: {error}") from error
    return Uploaded(written, len(objects) - written)


def keep_bucket(configuration: StackConfiguration, bucket: str) -> None:
    """Make the bucket unless there is one.

    Raises:
        TransientError: the S3 server refused or broke off.
    """
    client = _client(configuration)
    try:
        if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
    except (ClientError, BotoCoreError) as error:
        raise TransientError(f"the bucket {bucket} could not be made: {error}") from error


def _holds(present: dict[str, Any] | None, body: bytes, is_marker: bool) -> bool:
    if present is None or is_marker:
        return present is not None
    # Only for objects that we wrote in one piece ourselves: in general an ETag is no hash.
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return bool(present["Size"] == len(body)) and present["ETag"].strip('"') == etag


def _client(configuration: StackConfiguration) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=configuration.demo["ETL_S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=configuration.demo["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=configuration.demo["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 5}),
    )
