"""What an S3 store's refusals mean for us: the one place where its error codes become our errors."""

import re

from include.embedding_etl.errors import (
    ChangedMeanwhile,
    ConfigError,
    EmbeddingEtlError,
    IntegrityError,
    PoisonObject,
    TransientError,
)

_HINTS = {
    "NoSuchBucket": "there is no such bucket: check `source.uri`, the endpoint and the region",
    "InvalidBucketName": "this is not a valid bucket name: check `source.uri`",
    "AccessDenied": "not allowed: the credentials need s3:ListBucket on the bucket and s3:GetObject on its objects",
    "AllAccessDisabled": "all access to this bucket is disabled",
    "InvalidAccessKeyId": "the store does not know this access key: check the connection or AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is not this access key's: check the connection or AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session token has expired: renew the credentials",
    "InvalidToken": "the session token is not valid: renew the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
}
_TRANSIENT_CODES = {
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "OperationAborted",
    "TemporaryRedirect",
}
_TRANSIENT_STATUSES = {307, 408, 425, 429}


def error_code(body: bytes) -> str:
    """The code in an S3 error document, or "" where there is none. No XML parser: this may be anybody's answer."""
    found = re.search(rb"<Code>([A-Za-z0-9.]{1,80})</Code>", body)
    return found.group(1).decode("ascii") if found else ""


def bucket_refusal(where: str, status: int, code: str) -> EmbeddingEtlError:
    """What to raise when the store refuses to list.

    Args:
        where: The source's URI, for the message.
        status: HTTP status; 200 when an error document came with it.
        code: As `error_code` found it.
    """
    if code in _HINTS:
        return ConfigError(f"{where}: {_HINTS[code]} ({code})")
    if code in _TRANSIENT_CODES or status >= 500 or status in _TRANSIENT_STATUSES or (status == 200 and code):
        return TransientError(f"{where}: the store answered {status} {code}".rstrip())
    if status == 403:
        return ConfigError(f"{where}: {_HINTS['AccessDenied']} (403)")
    if status == 200:
        return IntegrityError(f"{where}: the answer is not a listing; is the endpoint an S3 store?")
    return ConfigError(f"{where}: the store refuses to list: {status} {code}; check the URI, endpoint and region")


def object_refusal(where: str, key: str, stage: str, status: int, code: str) -> EmbeddingEtlError:
    """What to raise when the store refuses to hand out one object.

    Args:
        where: The source's URI, for the message.
        key: The object's key.
        stage: For a dead letter: identify or fetch.
        status: HTTP status.
        code: As `error_code` found it.
    """
    if status == 412 or (status == 404 and code != "NoSuchBucket"):
        return ChangedMeanwhile(f"{key!r} is gone or has another version by now")
    if code == "InvalidObjectState":
        return PoisonObject(key, stage, "Archived", "the object is in an archive tier: restore it, then run again")
    if code == "AccessDenied" or (status == 403 and not code):
        return PoisonObject(key, stage, "Forbidden", "not allowed to read it: the credentials need s3:GetObject on it")
    general = bucket_refusal(where, status, code)
    if isinstance(general, ConfigError) and code not in _HINTS:
        return PoisonObject(key, stage, "RefusedByStore", f"the store answered {status} {code}".rstrip())
    return general
