"""An object's bytes across the process border: always a file descriptor, never a path and never bytes in a message."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from typing_extensions import Buffer

from include.embedding_etl.errors import TransientError


@contextmanager
def descriptor_of(body: BinaryIO) -> Iterator[int]:
    """A descriptor of all of the body's bytes. A body in memory is written to an unnamed temporary file first.

    Raises:
        TransientError: no room for the temporary file.
    """
    try:
        descriptor = body.fileno()
    except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
        descriptor = -1
    if descriptor >= 0:
        yield descriptor
        return
    with tempfile.TemporaryFile() as file:
        body.seek(0)
        try:
            shutil.copyfileobj(body, file, 1 << 20)
            file.flush()
        except OSError as error:
            raise TransientError(
                f"{tempfile.gettempdir()}: {error.strerror}: make room there, or set TMPDIR to another place"
            ) from error
        yield file.fileno()


class DescriptorReader(io.RawIOBase):
    """Reads a descriptor from position 0 without moving its offset, which the other process shares."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0
        self._size = os.fstat(descriptor).st_size

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """As in io.RawIOBase."""
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As in io.RawIOBase."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """As in io.RawIOBase."""
        return self._position

    def close(self) -> None:
        """Close the descriptor too: it was made for us."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
