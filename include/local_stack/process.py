"""Starts components as detached processes and stops them again, whatever happened in between.

A component is known by two things. Its run file says pid and start time, so that a pid which the system gave to
somebody else is never touched. And every process of a stack, children included, carries the stack's marker in its
environment, so that nothing is left behind even where a run file was lost or a parent was killed.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from include.local_stack.paths import StackPaths
from include.local_stack.ports import Port

MARKER = "ETL_STACK_MARKER"
COMPONENT_MARKER = "ETL_STACK_COMPONENT"
_started: list[
    subprocess.Popen[bytes]
] = []  # Python warns of children that outlive their Popen object: ours are meant to


@dataclass(frozen=True, slots=True)
class Component:
    """One server of the stack: how to start it, where it listens, how to ask whether it is well."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]  # what decides how it behaves: a change of it means starting it again
    inherited: Mapping[str, str]  # what it gets of the caller's environment beside that; differs from shell to shell
    directory: Path
    ports: tuple[Port, ...]
    healthy: Callable[["RunFile"], bool]
    stop_timeout_s: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def digest(self) -> str:
        """Changes when the component would be started differently: then it has to be started again."""
        document = json.dumps([self.arguments, sorted(self.environment.items())])
        return hashlib.sha256(document.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunFile:
    """What is written down about a started component."""

    pid: int
    created_s: float  # when the process started, as the system tells it
    digest: str


def read_run_file(paths: StackPaths, name: str) -> RunFile | None:
    """The component's run file if the very process it names is alive; stale or damaged files count as none."""
    try:
        run_file = RunFile(**json.loads((paths.run / f"{name}.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return run_file if _alive(run_file) else None


def start(paths: StackPaths, component: Component) -> RunFile:
    """Start a component in a session of its own, its output appended to its log file."""
    paths.run.mkdir(parents=True, exist_ok=True)
    paths.logs.mkdir(parents=True, exist_ok=True)
    environment = {
        **component.inherited,
        **component.environment,
        MARKER: str(paths.local),
        COMPONENT_MARKER: component.name,
        "SPT_NOENV": "1",  # else setproctitle, which Airflow uses, overwrites the environment that carries the marker
    }
    with log_path(paths, component.name).open("ab") as log:
        process = subprocess.Popen(
            component.arguments,
            cwd=component.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    run_file = RunFile(process.pid, psutil.Process(process.pid).create_time(), component.digest)
    temporary = paths.run / f".{component.name}.json"
    temporary.write_text(json.dumps(asdict(run_file)), encoding="utf-8")
    temporary.replace(paths.run / f"{component.name}.json")
    return run_file


def log_path(paths: StackPaths, name: str) -> Path:
    """The component's log file."""
    return paths.logs / f"{name}.log"


def stop(paths: StackPaths, components: Iterable[Component]) -> list[int]:
    """Stop components and everything they started: first as each wants to be told, then with SIGKILL what is left.

    Returns:
        Pids of the processes that were ended.
    """
    for started in _started:
        started.poll()  # else one that was killed still has its pid, and PostgreSQL would not start beside it
    components = sorted(components, key=lambda component: component.stop_timeout_s)
    members = {component.name: _members(paths, component.name) for component in components}
    for component in components:
        run_file, processes = read_run_file(paths, component.name), members[component.name]
        main = [process for process in processes if run_file and process.pid == run_file.pid]
        # Only the main process: it stops its children in order. Without it, all of them are orphans.
        for process in main or processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(component.stop_signal)
    started_s = time.monotonic()
    for component in components:
        left_s = max(0.0, component.stop_timeout_s - (time.monotonic() - started_s))
        _, alive = psutil.wait_procs(members[component.name], timeout=left_s)
        _kill({*alive, *_members(paths, component.name)})
        (paths.run / f"{component.name}.json").unlink(missing_ok=True)
    return sorted({process.pid for processes in members.values() for process in processes})


def marked_processes(paths: StackPaths) -> list[psutil.Process]:
    """Every living process that carries this stack's marker."""
    return [process for process in psutil.process_iter() if _marker(process) == str(paths.local)]


def kill_leftovers(paths: StackPaths) -> list[int]:
    """End whatever still carries the stack's marker, of any component, even of one that exists no more."""
    leftovers = marked_processes(paths)
    _kill(leftovers)
    return [process.pid for process in leftovers]


def _members(paths: StackPaths, name: str) -> list[psutil.Process]:
    """The component's main process and all that carries its marker."""
    processes = {
        process.pid: process for process in marked_processes(paths) if _marker(process, COMPONENT_MARKER) == name
    }
    run_file = read_run_file(paths, name)
    if run_file is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(run_file.pid)
            processes |= {process.pid: process for process in [main, *main.children(recursive=True)]}
    return list(processes.values())


def _kill(processes: Iterable[psutil.Process]) -> None:
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil compares the start time first: a reused pid is not touched
    psutil.wait_procs(processes, timeout=10)


def _marker(process: psutil.Process, variable: str = MARKER) -> str | None:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(variable)
    except (psutil.Error, OSError):
        return None  # gone meanwhile, or somebody else's


def _alive(run_file: RunFile) -> bool:
    try:
        process = psutil.Process(run_file.pid)
        # A second of tolerance: start times are rounded to clock ticks and shift when the system's clock is corrected.
        return abs(process.create_time() - run_file.created_s) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
