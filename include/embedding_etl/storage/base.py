"""What a source of objects must do. s3.py and local.py do it; tests/contract runs one suite over both."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from include.embedding_etl.types import ListedObject


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, read completely, as the version that was asked for."""

    body: (
        BinaryIO  # seekable, at position 0; in memory when small, else a temporary file that is never named after a key
    )
    size_bytes: int
    content_hash: str  # hex sha256 of the bytes
    meta: Mapping[str, str]  # user metadata


class Source(Protocol):
    """A bucket prefix or a directory."""

    def list(self, prefix: str = "") -> Iterator[ListedObject]:
        """All objects of the source, in the store's own order, page by page, with flat memory.

        Args:
            prefix: Only those whose whole key begins so.
        Raises:
            TransientError: the listing broke off after the retries were spent; what was yielded is not complete.
            IntegrityError: the store answered something that cannot be a complete listing.
            ConfigError: no such bucket or directory, no permission, or no key of the source begins with the prefix.
        """

    def read_head(self, listed: ListedObject, size_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        """The first bytes (at most `size_bytes`) of exactly the listed version, and its user metadata.

        Raises:
            ChangedMeanwhile: it is gone or another version by now.
            TransientError: the store did not answer.
            PoisonObject: it may not be read (forbidden, archived).
        """

    def read_range(self, listed: ListedObject, start: int, size_bytes: int) -> bytes:
        """A part of exactly the listed version, and no more of it is asked for; less only where the object ends.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as `read_head`.
        """

    def sign_link(self, listed: ListedObject, lifetime_s: int) -> str:
        """A link that lets a browser download the object as a file, for so long; "" where a source has no such links.

        The version is checked now. The link names it where the store keeps versions; else it names the key alone.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as `read_head`.
            ConfigError: no browser can ask for such a key.
        """

    def fetch(self, listed: ListedObject) -> AbstractContextManager[Fetched]:
        """All bytes of exactly the listed version, hashed while they are read. Leaving the context frees them.

        Raises:
            ChangedMeanwhile, TransientError, PoisonObject: as `read_head`; a body that breaks off is retried.
        """
