"""A second reading position in one body, so that two demuxers can read the same object side by side."""

import io
from typing import BinaryIO

from typing_extensions import Buffer


class BodyView(io.RawIOBase):
    """Reads from `body` at a position of its own. Not for threads: each read moves the body's position."""

    def __init__(self, body: BinaryIO) -> None:
        super().__init__()
        self._body = body
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """As in io.RawIOBase."""
        view = memoryview(buffer)
        self._body.seek(self._position)
        data = self._body.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As in io.RawIOBase."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = self._body.seek(offset, whence) if base is None else base + offset
        return self._position

    def tell(self) -> int:
        """As in io.RawIOBase."""
        return self._position
