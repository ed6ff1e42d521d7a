"""The child: decodes one object after another, and may be killed at any moment.

Started by process.py with the number of a connected socket. Never imports torch.
"""

import ctypes
import io
import logging
import resource
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import BinaryIO, cast

from include.embedding_etl.chunking import chunk
from include.embedding_etl.decoding.body import DescriptorReader
from include.embedding_etl.decoding.messages import Job, receive_job, send, send_chunk
from include.embedding_etl.errors import ConfigError, PoisonObject
from include.embedding_etl.extract.dispatch import find_extractor
from include.embedding_etl.extract.opened import OpenObject

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_MESSAGE_CHARACTERS = 500


def main() -> None:
    """Serve jobs until the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in order
    _die_with_parent()
    logging.disable()  # what libraries say about a broken file comes back as its error, once
    warnings.simplefilter("ignore")
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        send(connection, {"kind": "ready"})
        while (received := receive_job(connection)) is not None:
            job, descriptor = received
            send(connection, {"kind": "begun"})  # from now on our death is the object's doing
            with io.BufferedReader(DescriptorReader(descriptor), 1 << 16) as body:
                _serve(connection, job, cast(BinaryIO, body))


def _serve(connection: socket.socket, job: Job, body: BinaryIO) -> None:
    try:
        _decode(connection, job, body)
        send(connection, {"kind": "end"})
    except PoisonObject as error:
        _send_poison(connection, error)
    except ConfigError as error:
        send(connection, {"kind": "config", "message": str(error)})
    except ConnectionError:
        sys.exit(0)  # the parent has gone, or has lost interest in this object
    except MemoryError:
        _limit_memory(None)
        _send_poison(
            connection,
            PoisonObject(
                job.key,
                "extract",
                "OutOfMemory",
                f"needs more memory than limits.decode_memory_bytes ({job.limits.decode_memory_bytes:,}) allows",
            ),
        )
        sys.exit(0)  # nobody knows what was left half done
    except Exception as error:  # noqa: BLE001 - what no decoder's author foresaw must cost one object, not the shard
        traceback.print_exc()
        reason = str(error)[:_MESSAGE_CHARACTERS] or "the decoder gave no reason"
        _send_poison(connection, PoisonObject(job.key, "extract", type(error).__name__, reason))


def _decode(connection: socket.socket, job: Job, body: BinaryIO) -> None:
    opened = OpenObject(job.key, body, job.media_type, job.model_input, job.chunk, job.limits)
    extract = find_extractor(opened)
    _limit_memory(job.limits.decode_memory_bytes)  # after the import: a limit for the object, not for libraries
    for piece in chunk(job.key, extract(opened), job.model_input, job.chunk, job.limits):
        send_chunk(connection, piece)


def _send_poison(connection: socket.socket, error: PoisonObject) -> None:
    fields = {"key": error.key, "stage": error.stage, "error_class": error.error_class, "message": error.message}
    send(connection, {"kind": "poison", **fields})


def _limit_memory(more_bytes: int | None) -> None:
    """Allow this much address space beyond what is in use now; None lifts the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/statm")
    if more_bytes is None or not status.exists():
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return
    soft = int(status.read_text().split()[0]) * resource.getpagesize() + more_bytes
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _die_with_parent() -> None:
    """Let the kernel kill us with the parent, even while a decoder hangs. Elsewhere the closed socket ends us."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    main()
