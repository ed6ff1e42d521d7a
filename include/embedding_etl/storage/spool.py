"""Where an object's bytes wait while they are hashed and decoded: memory when small, else a temporary file."""

import hashlib
import io
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from include.embedding_etl.errors import TransientError
from include.embedding_etl.storage.base import Fetched

MEMORY_LIMIT_BYTES = 16 << 20


class Spool:
    """Takes an object's bytes in order and hashes them on the way.

    A large body is a real file (`body.name` is its path) so that a decoder process can open it. Its name is random:
    nothing of an object key ever reaches a path.
    """

    def __init__(self, size_bytes: int) -> None:
        self._file: IO[bytes]
        if size_bytes <= MEMORY_LIMIT_BYTES:
            self._file = io.BytesIO()
        else:
            try:
                self._file = tempfile.NamedTemporaryFile(prefix="embedding-etl-")  # noqa: SIM115 - closed in __exit__
            except OSError as error:
                raise _no_room(error) from error
        self.restart()

    def restart(self) -> None:
        """Forget everything written so far."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.written_bytes = 0

    def write(self, data: bytes) -> None:
        """Append and hash.

        Raises:
            TransientError: no room for a temporary file.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from error
        self._hash.update(data)
        self.written_bytes += len(data)

    def fetched(self, meta: Mapping[str, str]) -> Fetched:
        """The complete object, rewound."""
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error
        self._file.seek(0)
        return Fetched(cast(BinaryIO, self._file), self.written_bytes, self._hash.hexdigest(), meta)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _no_room(error: OSError) -> TransientError:
    return TransientError(f"{tempfile.gettempdir()}: {error.strerror}: make room there, or set TMPDIR to another place")
