"""The edge to SQS: receive, hide and delete messages. One client, one thread."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from include.embedding_etl.batching import batched
from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.s3_credentials import S3Credentials, is_distrust

BATCH = 10  # SQS takes and gives no more at once
_FOR_A_PERSON = re.compile(
    r"AccessDenied|NonExistentQueue|QueueDoesNotExist|InvalidClientTokenId|UnrecognizedClient|"
    r"SignatureDoesNotMatch|InvalidAddress|InvalidSecurity|AuthFailure|NotAuthorized"
)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """One message as it was received."""

    message_id: str
    handle: str
    body: str
    sent_ms: int | None  # by the queue's clock; None where the queue does not say


class EventQueue:
    """One queue of messages about a bucket."""

    def __init__(self, queue_url: str, credentials: S3Credentials, visibility_timeout_s: int) -> None:
        """Nothing is asked of the queue yet.

        Args:
            queue_url: Also says where the queue is, unless the credentials name an endpoint.
            credentials: Keys, region, and the endpoint of SQS, where it is another than the queue's URL says.
            visibility_timeout_s: For how long a received message is hidden from others.
        Raises:
            ConfigError: the credentials cannot be used.
        """
        self.queue_url = queue_url
        self.visibility_timeout_s = visibility_timeout_s
        origin = urlsplit(queue_url)
        named = re.search(r"(?:^|\.)sqs\.([a-z0-9-]+)\.", origin.hostname or "")
        with self._translated():
            session = boto3.Session(
                aws_access_key_id=credentials.access_key,
                aws_secret_access_key=credentials.secret_key,
                aws_session_token=credentials.token,
            )
            self._client: Any = session.client(
                "sqs",
                endpoint_url=credentials.endpoint or f"{origin.scheme}://{origin.netloc}",
                region_name=(named and named[1]) or credentials.region or session.region_name or "us-east-1",
                verify=credentials.trusted,
                config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2}),
            )

    def receive(self, wait_s: int) -> list[QueueMessage]:
        """Up to ten messages, hidden from others from now on.

        Args:
            wait_s: How long to wait for the first one.
        Raises:
            TransientError, ConfigError: the queue did not answer, or refused.
        """
        with self._translated():
            answer = self._client.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=self.visibility_timeout_s,
                MessageSystemAttributeNames=["SentTimestamp"],
            )
        return [
            QueueMessage(
                message["MessageId"],
                message["ReceiptHandle"],
                message.get("Body", ""),
                _whole_number(message.get("Attributes", {}).get("SentTimestamp")),
            )
            for message in answer.get("Messages", ())
        ]

    def delete(self, handles: Iterable[str]) -> int:
        """Delete messages. One that cannot be deleted comes back later, which does no harm.

        Returns:
            How many could not be deleted.
        Raises:
            TransientError, ConfigError: the queue did not answer, or refused.
        """
        return self._ask(self._client.delete_message_batch, handles)

    def hide(self, handles: Iterable[str], seconds: int) -> int:
        """Hide received messages for so long from now; 0 shows them at once. One that is gone is passed over.

        Returns:
            How many could not be hidden.
        Raises:
            TransientError, ConfigError: the queue did not answer, or refused.
        """
        return self._ask(self._client.change_message_visibility_batch, handles, VisibilityTimeout=seconds)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, of_a_batch: Callable[..., Any], handles: Iterable[str], **each: int) -> int:
        """The same of every message; how many it could not be done to."""
        failed = 0
        for some in batched(iter(handles), BATCH):
            entries = [{"Id": str(place), "ReceiptHandle": handle, **each} for place, handle in enumerate(some)]
            with self._translated():
                answer = of_a_batch(QueueUrl=self.queue_url, Entries=entries)
            failed += len(answer.get("Failed", ()))
        return failed

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn botocore's errors into ours."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            kind = ConfigError if _FOR_A_PERSON.search(code) else TransientError
            raise kind(f"the queue {self.queue_url} refused {error.operation_name}: {code}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ConfigError(f"the queue {self.queue_url}: there are no AWS credentials for it") from error
        except (BotoCoreError, ValueError) as error:
            if is_distrust(str(error)):
                raise ConfigError(f"the queue {self.queue_url}: its certificate is not trusted: {error}") from error
            raise TransientError(f"the queue {self.queue_url} did not answer: {type(error).__name__}") from error


def _whole_number(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None
