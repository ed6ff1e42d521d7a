"""Credentials for an S3 store, as an Airflow connection, the settings or nobody gave them."""

from dataclasses import dataclass, field

from include.embedding_etl.settings import Places


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Keys, endpoint and region. What is None is left to the usual AWS chain. `repr` shows no secret."""

    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    region: str | None = None


def credentials_from(places: Places) -> S3Credentials:
    """What ETL_S3_ENDPOINT, ETL_S3_REGION and AWS_* say, in the environment or in .local/demo.env."""

    return S3Credentials(
        access_key=places.aws_access_key_id.get_secret_value() if places.aws_access_key_id else None,
        secret_key=places.aws_secret_access_key.get_secret_value() if places.aws_secret_access_key else None,
        token=places.aws_session_token.get_secret_value() if places.aws_session_token else None,
        endpoint=places.s3_endpoint,
        region=places.s3_region,
    )
