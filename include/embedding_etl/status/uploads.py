"""A file that somebody searches with: taken in whole, within a limit, and gone when the answer is given."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from include.embedding_etl.errors import TransientError

MAX_BYTES = 20 << 20
_OTHER_FIELDS_BYTES = 64 << 10


def is_too_large(request: Request) -> bool:
    """Whether the request says that it is, or does not say how large it is. The server holds it to what it says."""
    length = request.headers.get("content-length", "")
    return not length.isdecimal() or int(length) > MAX_BYTES + _OTHER_FIELDS_BYTES


@contextmanager
def spooled(upload: UploadFile) -> Iterator[Path]:
    """A temporary file with the bytes; of its name only a plain extension is kept.

    Raises:
        TransientError: there is no room for it.
    """
    extension = re.search(r"\.[A-Za-z0-9]{1,8}$", upload.filename or "")
    try:
        with tempfile.NamedTemporaryFile(
            prefix="embedding-etl-", suffix=extension.group() if extension else ""
        ) as file:
            shutil.copyfileobj(upload.file, file, 1 << 20)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        raise TransientError(f"{tempfile.gettempdir()}: {error.strerror}: make room there") from error
