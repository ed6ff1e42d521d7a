"""Which source a pipeline reads, by the scheme of its URI."""

from pathlib import Path
from urllib.parse import unquote

import boto3

from include.embedding_etl.key_range import check_prefix
from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.s3_credentials import S3Credentials, credentials_from
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.storage.base import Source
from include.embedding_etl.storage.local import LocalSource
from include.embedding_etl.storage.s3 import S3Source

__all__ = ["S3Credentials", "check_source_prefix", "open_source"]


def check_source_prefix(settings: SourceSettings, prefix: str) -> None:
    """Whether keys of a pipeline's source can begin so. Nothing is asked of the source.

    Raises:
        ConfigError: they cannot.
    """
    named = settings.uri.removeprefix("s3://").partition("/")[2] if settings.uri.startswith("s3://") else ""
    check_prefix(prefix, named)


def open_source(settings: SourceSettings, places: Places, credentials: S3Credentials | None = None) -> Source:
    """The source that a pipeline's `source.uri` names. Nothing is read yet.

    Args:
        settings: The pipeline's `source`.
        places: ETL_S3_* and AWS_*, used when there are no credentials of a connection.
        credentials: Of the Airflow connection, and then all that counts: what it leaves out, the usual AWS chain says.
    Raises:
        ConfigError: the URI is not usable.
    """
    if not settings.uri.startswith("s3://"):
        path = unquote(settings.uri.removeprefix("file://")) if settings.uri.startswith("file://") else settings.uri
        return LocalSource(PROJECT_ROOT / Path(path))  # ./path is relative to the project, not to a worker's directory
    chosen = credentials or credentials_from(places)
    session = boto3.Session(
        aws_access_key_id=chosen.access_key,
        aws_secret_access_key=chosen.secret_key,
        aws_session_token=chosen.token,
        region_name=chosen.region,
    )
    return S3Source(
        settings.uri,
        session,
        chosen.endpoint,
        chosen.region,
        listing_streams=settings.listing.parallel,
        ca_file=chosen.trusted,
        public_endpoint=chosen.public_endpoint,
    )
