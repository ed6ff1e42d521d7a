"""The parent's side of the decoder processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import BinaryIO, Self

from include.embedding_etl.decoding.body import descriptor_of
from include.embedding_etl.decoding.messages import Header, Job, PeerGone, receive, send_job
from include.embedding_etl.errors import ConfigError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput

_PROJECT_ROOT = Path(__file__).resolve().parents[3]
_START_TIMEOUT_S = 60.0  # of a machine under load; nobody's decode time
_STOP_TIMEOUT_S = 2.0
_CLOSED = "the decoders were stopped; a later run decodes this object again"
_OBJECTS_PER_PROCESS = 1_000  # native decoders leak a little
# Decoders read hostile files: credentials have no place in their environment.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}  # each reserves address space, which the memory limit counts


class DecoderPool:
    """Up to `count` decoder processes, started when first needed. `decode` may be called from many threads."""

    def __init__(self, count: int = 2) -> None:
        self._all = [_Slot() for _ in range(count)]
        self._free: LifoQueue[_Slot] = LifoQueue()  # the last one used first: a few warm processes do most of the work
        for slot in self._all:
            self._free.put(slot)
        self._lock = threading.Lock()
        self._closed = False
        # The kernel ends a child with the thread that started it, so this thread must live as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="decoder-starter")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
        self._starter.shutdown()
        for child in [slot.child for slot in self._all if slot.child]:
            child.end()
            if child.idle:  # else the thread that reads from it finds its end there, and closes it
                child.close()

    def decode(
        self,
        key: str,
        body: BinaryIO,
        media_type: str,
        model_input: ModelInput,
        chunk: ChunkSettings,
        limits: Limits,
    ) -> Iterator[Chunk]:
        """Decode one object in a child process and yield its chunks as they come.

        Waits for a free process, and holds it until the iterator is exhausted or closed. The child runs ahead by one
        chunk and what fits a socket's buffer; then it waits for us. `limits.decode_timeout_s` is the longest we wait
        for one chunk (or the end) while the child works: time the caller takes between two chunks does not count, nor
        does the start of a process.

        Args:
            body: A real file is handed over as a descriptor, anything else is copied to a temporary file.
        Raises:
            PoisonObject: as the extractor and the chunker raised it; DecodeTimeout, DecoderCrashed, OutOfMemory; or an
                error that nobody foresaw, under its own class name. Chunks yielded before are void then.
            ConfigError: the tokenizer cannot be read.
            TransientError: the pool was closed meanwhile, or there is no room for a temporary file.
            IntegrityError: a decoder process does not even start.
        """
        if model_input.tokenizer_path:  # the child has another working directory
            model_input = replace(model_input, tokenizer_path=str(Path(model_input.tokenizer_path).resolve()))
        job = Job(key, media_type, model_input, chunk, limits)
        slot = self._free.get()
        try:
            with descriptor_of(body) as descriptor:
                child = self._begin(slot, job, descriptor)
                yield from child.chunks(job)
        except PeerGone as error:
            if self._closed:
                raise TransientError(_CLOSED) from error
            raise _crashed(key, slot) from error
        except TimeoutError as error:
            raise PoisonObject(
                key,
                "extract",
                "DecodeTimeout",
                f"nothing came out within limits.decode_timeout_s ({limits.decode_timeout_s:g} s)",
            ) from error
        finally:
            if slot.child is not None and not slot.child.idle:
                slot.clear()
            self._free.put(slot)

    def pids(self) -> list[int]:
        """Process ids of the children, for status and tests."""
        return [slot.child.process.pid for slot in self._all if slot.child]

    def _begin(self, slot: "_Slot", job: Job, descriptor: int) -> "_Child":
        """Give the job to a living child."""
        if slot.child is not None and slot.child.jobs < _OBJECTS_PER_PROCESS:
            try:
                slot.child.begin(job, descriptor)
            except PeerGone:
                pass  # it died while it had nothing to do: nobody's fault
            else:
                return slot.child
        slot.clear()
        with self._lock:
            if self._closed:
                raise TransientError(_CLOSED)
            started = self._starter.submit(_Child)
        child = slot.child = started.result()
        child.begin(job, descriptor)
        return child


class _Child:
    """One decoder process. `idle` means that it waits for a job and may get one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "include.embedding_etl.decoding.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=_PROJECT_ROOT,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD | _FEW_ARENAS,
            )
        self._connection = ours
        self.jobs = 0
        self.idle = True
        try:
            receive(ours, _START_TIMEOUT_S, 0)
        except (TimeoutError, PeerGone) as error:
            status = self.end()
            self.close()
            raise IntegrityError(f"a decoder process does not start (status {status}); its log says why") from error

    def begin(self, job: Job, descriptor: int) -> None:
        """Hand a job over. Raises PeerGone when the process died before it took it, TimeoutError when it hangs."""
        self.idle = False
        self.jobs += 1
        send_job(self._connection, job, descriptor)
        receive(self._connection, job.limits.decode_timeout_s, 0)

    def chunks(self, job: Job) -> Iterator[Chunk]:
        """The job's chunks. Raises TimeoutError, PeerGone, and what the child reports."""
        while True:
            header, arrays = receive(self._connection, job.limits.decode_timeout_s, job.limits.decode_memory_bytes)
            if header["kind"] == "chunk":
                yield Chunk(header["ordinal"], header["start"], header["end"], header["text"], **arrays)
                continue
            self.idle = True
            _raise_reported(header)
            return

    def end(self) -> int:
        """End the process, gently only when it is idle, and leave no zombie. Returns its exit status.

        A thread that reads from it finds the end of the stream.
        """
        with suppress(OSError):  # closed by its reader in the meantime
            self._connection.shutdown(socket.SHUT_RDWR)
        if not self.idle:
            self.process.kill()
        try:
            return self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self) -> None:
        """Close our end. Only for the thread that reads from it."""
        self._connection.close()


@dataclass(slots=True)
class _Slot:
    """Room for one process. Held by one thread at a time."""

    child: _Child | None = None

    def clear(self) -> int:
        """End the child and forget it. Returns its exit status."""
        child, self.child = self.child, None
        if child is None:
            return 0
        status = child.end()
        child.close()
        return status


def _raise_reported(header: Header) -> None:
    if header["kind"] == "poison":
        raise PoisonObject(header["key"], header["stage"], header["error_class"], header["message"])
    if header["kind"] == "config":
        raise ConfigError(header["message"])


def _crashed(key: str, slot: _Slot) -> PoisonObject:
    status = slot.clear()
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return PoisonObject(key, "extract", "DecoderCrashed", f"the decoder process {how} while reading this object")
