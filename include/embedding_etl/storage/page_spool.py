"""Pages of a listing that were read ahead: a few in memory, the others in a temporary file that has no name."""

import json
import os
import tempfile
import threading
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import Self

from include.embedding_etl.errors import TransientError
from include.embedding_etl.types import ListedObject

_COMPRESSION = 1  # the fastest: a listing shrinks to a fifth


@dataclass(slots=True)
class HeldPage:
    """One page, in memory or in the file."""

    objects: Sequence[ListedObject] | None
    offset: int = 0
    size_bytes: int = 0


class PageSpool:
    """Keeps pages until they are wanted, with bounded memory. Safe to use from many threads at once."""

    def __init__(self, memory_pages: int) -> None:
        """The file is made when it is first needed.

        Args:
            memory_pages: So many are held in memory.
        """
        self._free_pages = memory_pages
        self._file = tempfile.TemporaryFile(prefix="embedding-etl-")  # noqa: SIM115 - closed by __exit__
        self._end = 0
        self._lock = threading.Lock()

    def hold(self, objects: Sequence[ListedObject]) -> HeldPage:
        """Keep a page.

        Raises:
            TransientError: no room for the temporary file.
        """
        with self._lock:
            if self._free_pages > 0:
                self._free_pages -= 1
                return HeldPage(objects)
        data = zlib.compress(json.dumps([astuple(listed) for listed in objects]).encode(), _COMPRESSION)
        with self._lock:
            held = HeldPage(None, self._end, len(data))
            self._end += len(data)
        try:
            written = os.pwrite(self._file.fileno(), data, held.offset)
        except OSError as error:
            raise TransientError(f"no room for the listing: {error}; set TMPDIR to another place") from error
        if written != len(data):
            raise TransientError("no room for the listing: set TMPDIR to another place")
        return held

    def take(self, held: HeldPage) -> Sequence[ListedObject]:
        """A page that was kept; once."""
        if held.objects is not None:
            with self._lock:
                self._free_pages += 1
            return held.objects
        data = os.pread(self._file.fileno(), held.size_bytes, held.offset)
        return [ListedObject(*fields) for fields in json.loads(zlib.decompress(data))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
