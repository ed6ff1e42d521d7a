"""Is a file shorter than it says? Asked when a decoder gives up without saying why."""

import io
from typing import BinaryIO

_SMALLEST_BOX_BYTES = 8
_UNKNOWN_SIZE = 0xFFFFFFFF  # written to a pipe


def is_cut_off(body: BinaryIO) -> bool:
    """Whether a RIFF file (WebP, AVI) or an ISO base media file (HEIC, AVIF, MP4) ends before it says."""
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    head = body.read(12)
    if head[:4] == b"RIFF":
        said = int.from_bytes(head[4:8], "little")
        return said != _UNKNOWN_SIZE and said + 8 > size
    return head[4:8] == b"ftyp" and _boxes_end(body, size) > size


def _boxes_end(body: BinaryIO, size: int) -> int:
    """Where the last of the outermost boxes says that it ends. ISO/IEC 14496-12, 4.2."""
    position = 0
    while position < size:
        body.seek(position)
        head = body.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # "to the end of the file"
            return size
        if length < _SMALLEST_BOX_BYTES:
            return size
        position += length
    return position
