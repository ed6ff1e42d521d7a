"""Starts, stops and describes a whole stack. Starting is idempotent: only what does not run is started."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.errors import TransientError
from include.local_stack.configuration import StackConfiguration
from include.local_stack.paths import StackPaths
from include.local_stack.ports import require_free
from include.local_stack.process import (
    Component,
    RunFile,
    kill_leftovers,
    log_path,
    marked_processes,
    read_run_file,
    start,
    stop,
)

Say = Callable[[str], None]
START_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Group:
    """Components that start together, after those of the groups before."""

    components: tuple[Component, ...]
    # Whatever they need before they start. Called whenever anything of the stack is started: it must be quick to see
    # that there is nothing to do.
    prepare: Callable[[Say], None] = lambda _: None

    @property
    def names(self) -> tuple[str, ...]:
        """Of its components."""
        return tuple(component.name for component in self.components)


@dataclass(frozen=True, slots=True)
class Stack:
    """A configuration, and what is made of it: the stores first, then all that works with them."""

    title: str  # for people: what is started
    hint: str  # what to try when it runs
    status_command: str
    down_command: str
    configuration: StackConfiguration
    stores: Group
    airflow: Group
    pools: Mapping[str, tuple[int, str]]  # of Airflow: slots and description
    clean_up: Callable[[], None] = lambda: None  # after everything has ended

    @property
    def paths(self) -> StackPaths:
        """Its directories and files."""
        return self.configuration.paths

    @property
    def groups(self) -> tuple[Group, ...]:
        """In the order of their start."""
        return self.stores, self.airflow

    @property
    def components(self) -> tuple[Component, ...]:
        """All of them, in the order of their start."""
        return tuple(component for group in self.groups for component in group.components)


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """What `make status` says about one component."""

    name: str
    pid: int | None  # None: it does not run
    ports: tuple[int, ...]
    healthy: bool
    log: Path


def start_stack(stack: Stack, say: Say) -> list[str]:
    """Start what is not running; return before everything has become healthy.

    Args:
        stack: The stack.
        say: Told what happens.
    Returns:
        Names of the components that were started.
    Raises:
        ConfigError: a port is in use; nothing was started.
        TransientError: something that Airflow needs could not be prepared.
    """
    paths, everything = stack.paths, stack.components
    running = {component.name: read_run_file(paths, component.name) for component in everything}
    outdated = [component for component in everything if _is_outdated(component, running[component.name])]
    if outdated:
        say(f"restarting, their settings have changed: {', '.join(component.name for component in outdated)}")
    missing = [component for component in everything if component in outdated or running[component.name] is None]
    # What a dead parent left behind holds ports and locks, and an outdated component's old ports come free.
    stop(paths, missing)
    require_free(port for component in missing for port in component.ports)
    for group in stack.groups if missing else ():
        group.prepare(say)
        for component in group.components:
            if component in missing:
                start(paths, component)
    return [component.name for component in missing]


def wait_until_healthy(stack: Stack, say: Say, names: tuple[str, ...] = ()) -> None:
    """Wait for components (all of them, unless some are named) to answer, telling of each as it does.

    Raises:
        TransientError: one ended, or did not become healthy in time; the message shows the end of its log.
    """
    waiting = {component.name: component for component in stack.components if not names or component.name in names}
    started_s = time.monotonic()
    while waiting:
        for component in list(waiting.values()):
            run_file = read_run_file(stack.paths, component.name)
            log = log_path(stack.paths, component.name)
            if run_file is None:
                raise TransientError(f"{component.name} ended soon after its start; see {log}\n{_tail(log)}")
            if component.healthy(run_file):
                say(f"{component.name} is up after {time.monotonic() - started_s:.0f} s")
                del waiting[component.name]
        if waiting and time.monotonic() - started_s > START_TIMEOUT_S:
            name = next(iter(waiting))
            log = log_path(stack.paths, name)
            raise TransientError(f"{name} did not answer within {START_TIMEOUT_S:.0f} s; see {log}\n{_tail(log)}")
        time.sleep(0.3)


def stop_stack(stack: Stack) -> list[int]:
    """Stop everything, Airflow first so that no task writes into a store that is going away.

    Returns:
        Pids of the processes that were ended; empty if nothing ran.
    """
    ended = [pid for group in reversed(stack.groups) for pid in stop(stack.paths, group.components)]
    ended += kill_leftovers(stack.paths)
    stack.clean_up()
    return sorted(set(ended))


def stack_status(stack: Stack) -> list[ComponentStatus]:
    """One entry a component, in the order they start."""
    with ThreadPoolExecutor(len(stack.components)) as pool:
        return list(pool.map(lambda component: _status(stack.paths, component), stack.components))


def left_running(stack: Stack) -> list[int]:
    """Pids of all processes that belong to this stack."""
    return sorted(process.pid for process in marked_processes(stack.paths))


def _status(paths: StackPaths, component: Component) -> ComponentStatus:
    run_file = read_run_file(paths, component.name)
    return ComponentStatus(
        name=component.name,
        pid=run_file.pid if run_file else None,
        ports=tuple(port.number for port in component.ports),
        healthy=run_file is not None and component.healthy(run_file),
        log=log_path(paths, component.name),
    )


def _is_outdated(component: Component, run_file: RunFile | None) -> bool:
    return run_file is not None and run_file.digest != component.digest


def _tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return "(no log yet)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
