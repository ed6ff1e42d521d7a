"""Memory and processor time of each component of a cluster while it works."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

Find = Callable[[], Mapping[str, psutil.Process]]  # component -> its main process


class Watch:
    """Looks every few seconds; a context.

    Memory is the proportional set size: what processes share is counted once, in parts. Processor time is that of the
    main process, its children, and all that they have waited for.
    """

    def __init__(self, find: Find, every_s: float = 2.0) -> None:
        self.peak_bytes: dict[str, int] = {}
        self.peak_total_bytes = 0
        self.cpu_s: dict[str, float] = {}
        self.own_cpu_s = 0.0  # what looking cost
        self._find = find
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)

    def __enter__(self) -> Self:
        self._before = {name: cpu_s(main) for name, main in self._find().items()}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for name, main in self._find().items():
            self.cpu_s[name] = cpu_s(main) - self._before.get(name, 0.0)

    def _look_again(self) -> None:
        while not self._ended.wait(self._every_s):
            now = {name: _memory(main) for name, main in self._find().items()}
            for name, size_bytes in now.items():
                self.peak_bytes[name] = max(size_bytes, self.peak_bytes.get(name, 0))
            self.peak_total_bytes = max(self.peak_total_bytes, sum(now.values()))
        self.own_cpu_s = time.thread_time()


def cpu_s(main: psutil.Process) -> float:
    """Seconds of processor of a process and its descendants, ended ones included."""
    total = 0.0
    for process in _family(main):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _memory(main: psutil.Process) -> int:
    total = 0
    for process in _family(main):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def _family(main: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [main, *main.children(recursive=True)]
    return []
