"""Signed requests to one bucket: botocore finds the address, the credentials and the signature, and sends.

boto3's own calls cost 1.8 ms of processor time a GET and 0.1 ms for each listed key; a request that is only signed and
sent costs 0.7 ms and keeps every key exactly as it is: `//`, `../` and a leading slash included.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import boto3
import tenacity
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.s3_credentials import is_distrust

ATTEMPTS = 6
_MAX_BACKOFF_S = 10.0
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 10, 60
_CONNECTIONS = 64
_DEFAULT_REGION = "us-east-1"
_Answer = TypeVar("_Answer")


class Response:
    """A store's answer whose body has not been read yet."""

    def __init__(self, answer: Any) -> None:
        self.status: int = answer.status_code
        self.headers: Mapping[str, str] = answer.headers  # names in any case
        self._raw = answer.raw

    def read(self, size_bytes: int | None = None) -> bytes:
        """The rest of the body, or at most so many bytes of it.

        Raises:
            TransientError: the body broke off.
        """
        try:
            return bytes(self._raw.read(size_bytes))
        except (HTTPError, OSError) as error:
            raise TransientError(f"the answer broke off: {type(error).__name__}") from error

    def close(self) -> None:
        """Give the connection up; one whose body was read to the end has gone back to the pool already."""
        self._raw.close()


class Bucket:
    """Sends GET requests to one bucket. Safe to use from many threads at once."""

    def __init__(
        self,
        name: str,
        session: boto3.Session,
        endpoint_url: str | None,
        region: str | None,
        ca_file: str | None = None,
        public_endpoint: str | None = None,
    ) -> None:
        """Nothing is sent, and no credentials are asked for, before the first request.

        Args:
            name: The bucket.
            session: Where the credentials come from. They are taken anew for each request, so they may be refreshed.
            endpoint_url: For stores other than AWS.
            region: None = what the session says, else us-east-1; a redirect to another region is followed.
            ca_file: Of the authorities that are trusted; None = those that the machine trusts.
            public_endpoint: The store's address for those who get a signed URL; None = endpoint_url.
        """
        self.name = name
        self._ca_file = ca_file
        self._session = session
        self._endpoint_url = endpoint_url
        self._address: tuple[str, str] | None = None  # (URL of the bucket, region), replaced as one
        self._public_endpoint = public_endpoint
        self._public_base: str | None = None
        self._region = region or session.region_name or _DEFAULT_REGION
        self._http: Any = None
        self._credentials: Any = None
        self._lock = threading.Lock()  # boto3's sessions may not be used by several threads at once

    @contextmanager
    def get(self, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Response]:
        """Ask once. Leaving the context closes what was not read.

        Args:
            key: Exact key, or "" for the bucket itself.
            query: Unencoded.
            headers: Beside those of the signature.
        Raises:
            TransientError: no answer.
            ConfigError: no credentials, an impossible address, or a certificate that is not trusted.
        """
        response = self._send(key, query, headers)
        home = response.headers.get("x-amz-bucket-region")
        if response.status in (301, 307, 400) and home and home != self._region:
            response.close()
            self._region, self._address = home, None
            response = self._send(key, query, headers)
        try:
            yield response
        finally:
            response.close()

    def sign(self, key: str, query: Mapping[str, str], lifetime_s: int) -> str:
        """The URL of a key with a signature in it: whoever has it may GET it for so long. Nothing is sent.

        Args:
            key: Exact key.
            query: Unencoded; part of what is signed.
            lifetime_s: From now on. Temporary credentials may end sooner.
        Raises:
            ConfigError: no credentials, or an impossible address.
        """
        try:
            base, region = self._locate_publicly()
            request = AWSRequest(method="GET", url=_url_of(base, key, query))
            frozen = self._credentials.get_frozen_credentials()
            S3SigV4QueryAuth(frozen, "s3", region, expires=lifetime_s).add_auth(request)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise ConfigError(f"s3://{self.name}: {error}") from error
        return str(request.url)

    def _send(self, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        try:
            url, region = self._locate(key, query)
            request = AWSRequest(method="GET", url=url, headers=dict(headers), stream_output=True)
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", region).add_auth(request)
            return Response(self._http.send(request.prepare()))
        except (HTTPClientError, NoConnectionError) as error:
            if is_distrust(str(error)):
                raise ConfigError(f"s3://{self.name}: the endpoint's certificate is not trusted: {error}") from error
            raise TransientError(f"s3://{self.name}: {error}") from error
        except (BotoCoreError, ClientError, ValueError) as error:
            raise ConfigError(f"s3://{self.name}: {error}") from error

    def _locate(self, key: str, query: Mapping[str, str]) -> tuple[str, str]:
        """The URL of a key, and the region that a signature has to name."""
        with self._lock:
            base, region = self._address or self._find_address()
        return _url_of(base, key, query), region

    def _locate_publicly(self) -> tuple[str, str]:
        """The URL of the bucket for those outside, which a signature covers, and the region that it has to name."""
        with self._lock:
            base, region = self._address or self._find_address()
            if self._public_endpoint is None:
                return base, region
            if self._public_base is None:
                client = self._session.client("s3", endpoint_url=self._public_endpoint, region_name=region)
                self._public_base = _address_of(client, self.name)
            return self._public_base, region

    def _find_address(self) -> tuple[str, str]:
        """Let botocore apply its rules: partitions, virtual hosts, dots in names, AWS_ENDPOINT_URL, access points."""
        self._credentials = self._credentials or self._session.get_credentials()
        if self._credentials is None:
            raise ConfigError(f"s3://{self.name}: no AWS credentials: give the pipeline a connection, or set AWS_*")
        client = self._session.client("s3", endpoint_url=self._endpoint_url, region_name=self._region)
        base = _address_of(client, self.name)
        self._http = self._http or _new_connections(base, self._ca_file)
        self._address = (base, client.meta.region_name)
        return self._address


def _url_of(base: str, key: str, query: Mapping[str, str]) -> str:
    url = f"{base}/{quote(key, safe='/-_.~')}"
    return f"{url}?{urlencode(query, quote_via=quote, safe='-_.~')}" if query else url


def _address_of(client: Any, bucket: str) -> str:
    """The URL that botocore would send a request for this bucket to. Its request is caught before it is sent."""
    urls: list[str] = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        empty = HTTPResponse(BytesIO(b"<ListBucketResult/>"), status=200, preload_content=False)
        return AWSResponse(request.url, 200, HTTPHeaders(), empty)

    client.meta.events.register("before-send.s3.ListObjectsV2", catch)
    client.list_objects_v2(Bucket=bucket)
    parts = urlsplit(urls[0])
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _new_connections(url: str, ca_file: str | None) -> Any:
    verify: Any = ca_file or True
    timeout: Any = (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)
    return URLLib3Session(
        verify=verify, proxies=get_environ_proxies(url), timeout=timeout, max_pool_connections=_CONNECTIONS
    )


def retried(ask: Callable[[], _Answer], backoff_s: float) -> _Answer:
    """Call until it raises something other than TransientError, at most ATTEMPTS times.

    Args:
        ask: One complete attempt.
        backoff_s: The first wait is random below this, each next one below twice as much.
    Raises:
        TransientError: the last attempt's.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=backoff_s, max=_MAX_BACKOFF_S),
        retry=tenacity.retry_if_exception_type(TransientError),
        reraise=True,
    )
    return retrying(ask)
