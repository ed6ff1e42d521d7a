"""Make a bucket of a bundled S3 server, unless it exists: `python -m include.deployment.bucket NAME...`."""

import sys

from include.deployment.environment import required
from include.embedding_etl.errors import TransientError


def ensure_bucket(name: str) -> None:
    """Make the bucket at ETL_S3_ENDPOINT with the keys of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Raises:
        TransientError: the server does not answer, or refuses.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=required("ETL_S3_ENDPOINT"),
        region_name="us-east-1",
        aws_access_key_id=required("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
    )
    try:
        client.create_bucket(Bucket=name)
    except (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        return
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"bucket {name}: {error}") from error


if __name__ == "__main__":
    for bucket in sys.argv[1:]:
        ensure_bucket(bucket)
        sys.stdout.write(f"bucket {bucket} is there\n")
