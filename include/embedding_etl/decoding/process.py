"""The parent's side of the decoder processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
_OBJECTS_PER_PROCESS = 1_000  # native decoders leak a little
# Decoders read hostile files: credentials have no place in their environment.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}  # each reserves address space, which the memory limit counts


class DecoderPool:
    """Up to `count` decoder processes, started when first needed. `decode` may be called from many threads."""

    def __init__(self, count: int = 2) -> None:
        self._slots: LifoQueue[_Child | None] = LifoQueue()  # the last one used first: a few warm ones do most
        for _ in range(count):
            self._slots.put(None)
        self._children: set[_Child] = set()
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
            children = list(self._children)
        for child in children:
            child.stop()
        self._starter.shutdown()

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
        the start of a process.

        Args:
            body: Seekable. A real file is handed over as a descriptor, anything else is copied to a temporary file.
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
        child = self._slots.get()
        try:
            with descriptor_of(body) as descriptor:
                child = self._begin(child, job, descriptor)
                yield from self._chunks(child, job)
        finally:
            if child is not None and not child.idle:
                self._discard(child)
                child = None
            self._slots.put(child)

    def pids(self) -> list[int]:
        """Process ids of the living children, for status and tests."""
        with self._lock:
            return [child.process.pid for child in self._children]

    def _begin(self, child: "_Child | None", job: Job, descriptor: int) -> "_Child":
        """Give the job to a living child. One that died while it had nothing to do is nobody's fault: start another."""
        if child is not None:
            if child.jobs < _OBJECTS_PER_PROCESS:
                try:
                    child.begin(job, descriptor)
                except PeerGone:
                    pass
                else:
                    return child
            self._discard(child)
        child = self._starter.submit(_Child).result()
        with self._lock:
            if self._closed:
                child.stop()
                raise TransientError("the decoders were stopped")
            self._children.add(child)
        try:
            child.begin(job, descriptor)
        except PeerGone as error:
            raise _crashed(job.key, child.stop()) from error
        return child

    def _chunks(self, child: "_Child", job: Job) -> Iterator[Chunk]:
        try:
            yield from child.chunks(job)
        except TimeoutError as error:
            raise PoisonObject(
                job.key,
                "extract",
                "DecodeTimeout",
                f"nothing came out within limits.decode_timeout_s ({job.limits.decode_timeout_s:g} s)",
            ) from error
        except PeerGone as error:
            if self._closed:
                raise TransientError("the decoders were stopped") from error
            raise _crashed(job.key, child.stop()) from error

    def _discard(self, child: "_Child") -> None:
        child.stop()
        with self._lock:
            self._children.discard(child)


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
            status = self.stop()
            raise IntegrityError(f"a decoder process does not start (status {status}); its log says why") from error

    def begin(self, job: Job, descriptor: int) -> None:
        """Start a job. Raises PeerGone when the process has died."""
        if self.process.poll() is not None:
            raise PeerGone
        self.idle = False
        self.jobs += 1
        send_job(self._connection, job, descriptor)

    def chunks(self, job: Job) -> Iterator[Chunk]:
        """The job's chunks. Raises TimeoutError, PeerGone, and what the child reports."""
        while True:
            header, arrays = receive(self._connection, job.limits.decode_timeout_s, job.limits.decode_memory_bytes)
            if header["kind"] == "chunk":
                yield Chunk(header["ordinal"], header["start"], header["end"], header["text"], **arrays)
                continue
            self.idle = header.get("error_class") != "OutOfMemory"  # it ends itself after that
            _raise_reported(header)
            return

    def stop(self) -> int:
        """End the process, gently only when it is idle, and leave no zombie. Returns its exit status."""
        self._connection.close()
        if not self.idle:
            self.process.kill()
        try:
            return self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _raise_reported(header: Header) -> None:
    if header["kind"] == "poison":
        raise PoisonObject(header["key"], header["stage"], header["error_class"], header["message"])
    if header["kind"] == "config":
        raise ConfigError(header["message"])


def _crashed(key: str, status: int) -> PoisonObject:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return PoisonObject(key, "extract", "DecoderCrashed", f"the decoder process {how} while reading this object")
