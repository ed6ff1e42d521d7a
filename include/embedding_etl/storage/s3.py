"""A bucket prefix as a source.

Listing and downloading go through the same signed requests (s3_requests.py), so there is one spelling of keys, one
set of retries and one meaning of errors. Everything is asked for with the ETag that was listed.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from functools import partial

import boto3

from include.embedding_etl.errors import ChangedMeanwhile, ConfigError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.key_range import check_prefix
from include.embedding_etl.storage.base import Fetched
from include.embedding_etl.storage.s3_listing import Page, parse_page
from include.embedding_etl.storage.s3_parallel import list_in_parallel
from include.embedding_etl.storage.s3_refusals import bucket_refusal, error_code, object_refusal
from include.embedding_etl.storage.s3_requests import Bucket, Response, retried
from include.embedding_etl.storage.spool import Spool
from include.embedding_etl.types import ListedObject

_READ_BYTES = 256 << 10
_ERROR_BYTES = 64 << 10
_META_PREFIX = "x-amz-meta-"


class S3Source:
    """The objects of one bucket whose keys begin with a prefix. Safe to use from many threads at once."""

    def __init__(
        self,
        uri: str,
        session: boto3.Session,
        endpoint_url: str | None = None,
        region: str | None = None,
        backoff_s: float = 0.25,
        listing_streams: int = 1,
        ca_file: str | None = None,
        public_endpoint: str | None = None,
    ) -> None:
        """Nothing is asked of the store yet.

        Args:
            uri: s3://bucket/prefix, taken literally: `docs` also finds `docs-old/a`; write `docs/` to mean a folder.
            session: Where the credentials come from.
            endpoint_url: For stores other than AWS.
            region: None = what the session says; a redirect to another region is followed.
            backoff_s: The first wait before a retry is random below this.
            listing_streams: By how many streams a big bucket is listed at once.
            ca_file: Of the authorities that are trusted; None = those that the machine trusts.
            public_endpoint: Where those who get a link find the store; None = at endpoint_url.
        Raises:
            ConfigError: the URI is not one of S3.
        """
        match = re.fullmatch(r"s3://([^/]+)/?(.*)", uri, re.DOTALL)
        if match is None:
            raise ConfigError(f"source.uri: {uri!r} is not s3://bucket/prefix")
        self.uri = uri
        self._prefix = match.group(2)
        self._bucket = Bucket(match.group(1), session, endpoint_url, region, ca_file, public_endpoint)
        self._backoff_s = backoff_s
        self._listing_streams = listing_streams

    def list(self, prefix: str = "") -> Iterator[ListedObject]:
        """All objects under the prefix, in the store's order, with pages on their way while one is consumed.

        Raises:
            TransientError, IntegrityError, ConfigError: as base.Source says.
        """
        check_prefix(prefix, self._prefix)
        prefix = prefix or self._prefix
        if self._listing_streams > 1:
            serial = partial(self._list_on, prefix)
            return list_in_parallel(self._page, serial, prefix, self._listing_streams, self.uri)
        return self._list_on(prefix, None)

    def _list_on(self, prefix: str, token: str | None) -> Iterator[ListedObject]:
        """By one stream: from the beginning, or from a continuation token."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="s3-listing")
        tokens: set[str] = set()
        try:
            pending = executor.submit(self._page, prefix, _after(token))
            while True:
                page = pending.result()
                if page.next_token is not None:
                    if page.next_token in tokens:
                        raise IntegrityError(
                            f"{self.uri}: the listing goes in circles: a continuation token came twice"
                        )
                    tokens.add(page.next_token)
                    pending = executor.submit(self._page, prefix, _after(page.next_token))
                yield from page.objects
                if page.next_token is None:
                    return
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def read_head(self, listed: ListedObject, size_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        """The first bytes of exactly the listed version, and its user metadata.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        return retried(lambda: self._read_once(listed, "identify", 0, size_bytes), self._backoff_s)

    def read_range(self, listed: ListedObject, start: int, size_bytes: int) -> bytes:
        """A part of exactly the listed version.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        return retried(lambda: self._read_once(listed, "fetch", start, size_bytes), self._backoff_s)[0]

    def sign_link(self, listed: ListedObject, lifetime_s: int) -> str:
        """A link that downloads the object as a file, whatever its type.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject, ConfigError: as base.Source says.
        """
        if any(part in (".", "..") for part in listed.key.split("/")):
            raise ConfigError("no browser can ask for a key with the part . or ..: use the command line of your store")
        version = retried(lambda: self._version_once(listed), self._backoff_s)
        query = {"response-content-disposition": "attachment", "response-content-type": "application/octet-stream"}
        return self._bucket.sign(listed.key, {**query, **version}, lifetime_s)

    @contextmanager
    def fetch(self, listed: ListedObject) -> Iterator[Fetched]:
        """All bytes of exactly the listed version. A body that breaks off is taken up where it ended.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as base.Source says.
        """
        with Spool(listed.size_bytes) as spool:
            meta = retried(lambda: self._download_once(listed, spool), self._backoff_s)
            yield spool.fetched(meta)

    def _page(self, prefix: str, more: Mapping[str, str]) -> Page:
        return retried(lambda: self._page_once(prefix, more), self._backoff_s)

    def _page_once(self, prefix: str, more: Mapping[str, str]) -> Page:
        # Keys may hold characters that XML 1.0 cannot: encoding-type=url is the only way to get them exactly.
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, **more}
        with self._bucket.get("", query, {}) as response:
            document = response.read(None if response.status == 200 else _ERROR_BYTES)
            if response.status != 200:
                raise bucket_refusal(self.uri, response.status, error_code(document))
        page = parse_page(document, self.uri, prefix)
        if page.folders and "delimiter" not in more:
            raise IntegrityError(f"{self.uri}: the store puts keys together, which was not asked for")
        return page

    def _read_once(
        self, listed: ListedObject, stage: str, start: int, size_bytes: int
    ) -> tuple[bytes, Mapping[str, str]]:
        wanted = max(0, min(size_bytes, listed.size_bytes - start))
        ranged = {"Range": f"bytes={start}-{start + wanted - 1}"} if 0 < wanted < listed.size_bytes else {}
        with self._object(listed, stage, ranged) as response:
            # A store that does not know Range sends more: what is before is thrown away, what is behind is not read.
            before = start if wanted and response.status == 200 else 0
            while before > 0 and (passed := response.read(min(before, _READ_BYTES))):
                before -= len(passed)
            part = response.read(wanted)
            if len(part) != wanted:
                raise TransientError(f"{listed.key!r}: {len(part)} bytes came instead of {wanted}")
            return part, _user_metadata(response.headers)

    def _version_once(self, listed: ListedObject) -> Mapping[str, str]:
        """The version as a link names it; nothing where the store keeps none, or does not let us ask for one."""
        first = {"Range": "bytes=0-0"} if listed.size_bytes else {}
        with self._object(listed, "fetch", first) as response:
            version_id = response.headers.get("x-amz-version-id", "null")
        if version_id == "null":
            return {}
        version = {"versionId": version_id}
        try:
            with self._object(listed, "fetch", first, version):
                return version
        except PoisonObject:  # s3:GetObjectVersion is a permission of its own
            return {}

    def _download_once(self, listed: ListedObject, spool: Spool) -> Mapping[str, str]:
        ranged = {"Range": f"bytes={spool.written_bytes}-"} if 0 < spool.written_bytes < listed.size_bytes else {}
        with self._object(listed, "fetch", ranged) as response:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {spool.written_bytes}-"):
                spool.restart()
            announced_bytes = spool.written_bytes + int(response.headers.get("Content-Length", listed.size_bytes))
            while data := response.read(_READ_BYTES):
                spool.write(data)
                if spool.written_bytes > listed.size_bytes:
                    break
            if spool.written_bytes < announced_bytes and spool.written_bytes < listed.size_bytes:
                raise TransientError(f"{listed.key!r}: the body broke off after {spool.written_bytes} bytes")
            if spool.written_bytes != listed.size_bytes:
                message = f"it was listed with {listed.size_bytes} bytes, but the store sends {announced_bytes}"
                raise PoisonObject(listed.key, "fetch", "LengthMismatch", message)
            return _user_metadata(response.headers)

    @contextmanager
    def _object(
        self, listed: ListedObject, stage: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> Iterator[Response]:
        """Ask for exactly the listed version.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject, ConfigError: no such answer.
        """
        with self._bucket.get(listed.key, query or {}, {"If-Match": f'"{listed.etag}"', **headers}) as response:
            if response.status not in (200, 206):
                code = error_code(response.read(_ERROR_BYTES))
                raise object_refusal(self.uri, listed.key, stage, response.status, code)
            etag = response.headers.get("ETag", "").strip('"')
            if etag and etag != listed.etag:  # a store that does not know If-Match
                raise ChangedMeanwhile(f"{listed.key!r} has another version by now")
            yield response


def _after(token: str | None) -> Mapping[str, str]:
    return {} if token is None else {"continuation-token": token}


def _user_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """`x-amz-meta-…` without the prefix, names in lower case as S3 keeps them."""
    return {
        name.lower().removeprefix(_META_PREFIX): _decode_header(value)
        for name, value in headers.items()
        if name.lower().startswith(_META_PREFIX)
    }


def _decode_header(value: str) -> str:
    """AWS sends a non-ASCII value as RFC 2047 says, others as plain UTF-8, which http.client reads as Latin-1."""
    try:
        value = value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (HeaderParseError, UnicodeError, LookupError):
        return value
