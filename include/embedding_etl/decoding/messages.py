"""The protocol between parent and child. No pickle: a decoder that was taken over can only send data.

Parent to child, one job: a JSON line, and the body's file descriptor beside it.
Child to parent, many messages: the length of a JSON header (4 bytes), the header, then the raw bytes of the arrays
whose shapes it gives. `kind` is ready, begun, chunk, end, poison or config.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput

_LENGTH = struct.Struct("!I")
_MAX_HEADER_BYTES = 64 << 20
_ARRAYS: dict[str, type[np.uint8] | type[np.float32]] = {
    "pixels": np.uint8,
    "samples": np.float32,
    "frames": np.uint8,
}

Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One object to decode."""

    key: str
    media_type: str
    model_input: ModelInput
    chunk: ChunkSettings
    limits: Limits


class PeerGone(Exception):
    """The other process has closed its end. An event between the two, which never leaves this package."""


def send_job(connection: socket.socket, job: Job, descriptor: int) -> None:
    """Hand a job and the body's file descriptor to a child.

    Raises:
        PeerGone: the child has died.
    """
    line = json.dumps(asdict(job)).encode() + b"\n"
    try:
        sent = socket.send_fds(connection, [line], [descriptor])
        connection.sendall(line[sent:])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise PeerGone from error


def receive_job(connection: socket.socket) -> tuple[Job, int] | None:
    """Wait for the next job and its descriptor; None when the parent has gone."""
    line = b""
    descriptors: list[int] = []
    while not line.endswith(b"\n"):
        try:
            part, received, _, _ = socket.recv_fds(connection, 1 << 16, 1)
        except ConnectionResetError:
            return None
        if not part:
            return None
        line += part
        descriptors += received
    fields = json.loads(line)
    model_input = fields["model_input"]
    model_input["modalities"] = tuple(model_input["modalities"])
    job = Job(
        fields["key"],
        fields["media_type"],
        ModelInput(**model_input),
        ChunkSettings(**fields["chunk"]),
        Limits(**fields["limits"]),
    )
    return job, descriptors[0]


def send(connection: socket.socket, header: Header, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Send one message; blocks while the parent does not read. OSError when it has gone."""
    shapes = {name: array.shape for name, array in (arrays or {}).items()}
    encoded = json.dumps({**header, "shapes": shapes}).encode()
    # Everything that takes memory comes before the first byte: a message that breaks off in the middle cannot be read.
    parts = [np.ascontiguousarray(array).data.cast("B") for array in (arrays or {}).values()]
    connection.sendall(_LENGTH.pack(len(encoded)) + encoded)
    for part in parts:
        connection.sendall(part)


def send_chunk(connection: socket.socket, chunk: Chunk) -> None:
    """Send one chunk; blocks while the parent does not read. OSError when it has gone."""
    header = {"kind": "chunk", "ordinal": chunk.ordinal, "start": chunk.start, "end": chunk.end, "text": chunk.text}
    arrays = {"pixels": chunk.pixels, "samples": chunk.samples, "frames": chunk.frames}
    send(connection, header, {name: array for name, array in arrays.items() if array is not None})


def receive(connection: socket.socket, timeout_s: float, max_bytes: int) -> tuple[Header, dict[str, NDArray[Any]]]:
    """Read one message whole.

    Args:
        timeout_s: For the whole message, from now on.
        max_bytes: The most its arrays may take.
    Raises:
        TimeoutError: it did not arrive in time.
        PeerGone: the child has died, or talks nonsense.
    """
    deadline = time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, deadline))
    if length > _MAX_HEADER_BYTES:
        raise PeerGone
    try:
        header = json.loads(_read(connection, length, deadline))
        shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
        size = sum(math.prod(shape) * np.dtype(_ARRAYS[name]).itemsize for name, shape in shapes.items())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise PeerGone from error
    if size > max_bytes:
        raise PeerGone
    arrays: dict[str, NDArray[Any]] = {}
    for name, shape in shapes.items():
        array = np.empty(shape, _ARRAYS[name])
        _read_into(connection, array.data.cast("B"), deadline)
        arrays[name] = array
    return header, arrays


def _read(connection: socket.socket, size: int, deadline: float) -> bytearray:
    data = bytearray(size)
    _read_into(connection, memoryview(data), deadline)
    return data


def _read_into(connection: socket.socket, view: memoryview, deadline: float) -> None:
    while view:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean "do not wait at all"
        try:
            count = connection.recv_into(view)
        except ConnectionResetError as error:
            raise PeerGone from error
        if count == 0:
            raise PeerGone
        view = view[count:]
