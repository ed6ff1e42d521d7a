"""Credentials for an S3 store, as an Airflow connection, the settings or nobody gave them."""

import os
import re
from dataclasses import dataclass, field

from include.embedding_etl.places import Places

# A certificate is refused; the file of trusted authorities is missing, or holds none. curl's codes come from pyarrow.
_DISTRUST = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|SSL validation failed.*No such file|NO_CERTIFICATE_OR_CRL_FOUND|curlCode: (?:60|77)\b"
)


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Keys, endpoint and region. What is None is left to the usual AWS chain. `repr` shows no secret."""

    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    region: str | None = None
    ca_file: str | None = None  # certificates of the authorities that are trusted, as PEM; None = AWS_CA_BUNDLE
    public_endpoint: str | None = None  # of links for browsers; None = they can reach the endpoint

    @property
    def trusted(self) -> str | None:
        """The file of trusted authorities that all ways to the store share; None = those that the machine trusts."""
        return self.ca_file or os.environ.get("AWS_CA_BUNDLE") or None


def credentials_from(places: Places) -> S3Credentials:
    """What ETL_S3_* and AWS_* say, in the environment or in .local/demo.env."""

    return S3Credentials(
        access_key=places.aws_access_key_id.get_secret_value() if places.aws_access_key_id else None,
        secret_key=places.aws_secret_access_key.get_secret_value() if places.aws_secret_access_key else None,
        token=places.aws_session_token.get_secret_value() if places.aws_session_token else None,
        endpoint=places.s3_endpoint,
        region=places.s3_region,
        public_endpoint=places.s3_public_endpoint or None,
    )


def is_distrust(message: str) -> bool:
    """Whether a client's message says that a certificate is not trusted: only a person can change that."""
    return _DISTRUST.search(message) is not None
