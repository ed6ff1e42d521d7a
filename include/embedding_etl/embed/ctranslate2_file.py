"""Read the variables of a CTranslate2 model file (version 6): names, shapes and half-precision values."""

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.errors import IntegrityError

_VERSION = 6
_FLOAT16 = 4  # CTranslate2's number for the type; scalars of other types are settings that nobody here needs


def read_variables(body: bytes) -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Yield every half-precision variable.

    Raises:
        IntegrityError: the bytes are not such a file, or end early.
    """
    try:
        yield from _read(body)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise IntegrityError(f"not a CTranslate2 model file of version {_VERSION}: {error}") from error


def _read(body: bytes) -> Iterator[tuple[str, NDArray[np.float16]]]:
    position = 0

    def number(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", body, position)
        position += struct.calcsize(f"<{form}")
        return int(value)

    def name() -> str:
        nonlocal position
        length = number("H")
        position += length
        return body[position - length : position].rstrip(b"\0").decode("ascii")

    version = number("I")
    if version != _VERSION:
        raise IntegrityError(f"a CTranslate2 model file of version {version}, expected {_VERSION}")
    name()  # the specification's name
    number("I")  # and its revision
    for _ in range(number("I")):
        variable = name()
        shape = [number("I") for _ in range(number("B"))]
        kind, size_bytes = number("B"), number("I")
        if kind == _FLOAT16:
            yield variable, np.frombuffer(body, np.float16, size_bytes // 2, position).reshape(shape)
        position += size_bytes
