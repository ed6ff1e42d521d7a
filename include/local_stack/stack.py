"""Starts, stops and describes the whole stack. Starting is idempotent: only what does not run is started."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.errors import TransientError
from include.local_stack.airflow import airflow_components, prepare_airflow
from include.local_stack.configuration import StackConfiguration
from include.local_stack.milvus import milvus_component
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
from include.local_stack.seaweed import remove_sockets, seaweed_component

Say = Callable[[str], None]
START_TIMEOUT_S = 180.0
STORES = ("s3", "milvus")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """What `make status` says about one component."""

    name: str
    pid: int | None  # None: it does not run
    ports: tuple[int, ...]
    healthy: bool
    log: Path


def components(configuration: StackConfiguration) -> list[Component]:
    """All components of the stack, storage first."""
    return [seaweed_component(configuration), milvus_component(configuration), *airflow_components(configuration)]


def start_stack(configuration: StackConfiguration, say: Say) -> list[str]:
    """Start what is not running; return at once, before anything has become healthy.

    Args:
        configuration: The stack.
        say: Told what happens.
    Returns:
        Names of the components that were started.
    Raises:
        ConfigError: a port is in use; nothing was started.
        TransientError: Airflow's database could not be prepared.
    """
    everything = components(configuration)
    running = {component.name: read_run_file(configuration.paths, component.name) for component in everything}
    outdated = [component for component in everything if _is_outdated(component, running[component.name])]
    if outdated:
        say(f"restarting, their settings have changed: {', '.join(component.name for component in outdated)}")
    missing = [component for component in everything if component in outdated or running[component.name] is None]
    # What a dead parent left behind holds ports and locks, and an outdated component's old ports come free.
    stop(configuration.paths, {component.name: component.stop_timeout_s for component in missing})
    require_free(port for component in missing for port in component.ports)
    airflow = [component for component in missing if component.name in AIRFLOW]
    for component in missing:
        if component not in airflow:
            start(configuration.paths, component)
    if airflow:
        prepare_airflow(configuration)
        for component in airflow:
            start(configuration.paths, component)
    return [component.name for component in missing]


def wait_until_healthy(configuration: StackConfiguration, say: Say, names: tuple[str, ...] = ()) -> None:
    """Wait for components (all of them, unless some are named) to answer, telling of each as it does.

    Raises:
        TransientError: one ended, or did not become healthy in time; the message shows the end of its log.
    """
    waiting = {
        component.name: component for component in components(configuration) if not names or component.name in names
    }
    started_s = time.monotonic()
    while waiting:
        for component in list(waiting.values()):
            run_file = read_run_file(configuration.paths, component.name)
            log = log_path(configuration.paths, component.name)
            if run_file is None:
                raise TransientError(f"{component.name} ended soon after its start; see {log}\n{_tail(log)}")
            if component.healthy(run_file):
                say(f"{component.name} is up after {time.monotonic() - started_s:.0f} s")
                del waiting[component.name]
        if waiting and time.monotonic() - started_s > START_TIMEOUT_S:
            name = next(iter(waiting))
            log = log_path(configuration.paths, name)
            raise TransientError(f"{name} did not answer within {START_TIMEOUT_S:.0f} s; see {log}\n{_tail(log)}")
        time.sleep(0.3)


def stop_stack(configuration: StackConfiguration) -> list[int]:
    """Stop everything, Airflow first so that no task writes into a store that is going away.

    Returns:
        Pids of the processes that were ended; empty if nothing ran.
    """
    everything = {component.name: component.stop_timeout_s for component in components(configuration)}
    stores = {name: everything.pop(name) for name in STORES}
    ended = stop(configuration.paths, everything) + stop(configuration.paths, stores)
    ended += kill_leftovers(configuration.paths)
    remove_sockets(configuration)
    return sorted(set(ended))


def stack_status(configuration: StackConfiguration) -> list[ComponentStatus]:
    """One entry a component, in the order they start."""
    everything = components(configuration)
    with ThreadPoolExecutor(len(everything)) as pool:
        return list(pool.map(lambda component: _status(configuration, component), everything))


def left_running(configuration: StackConfiguration) -> list[int]:
    """Pids of all processes that belong to this stack."""
    return sorted(process.pid for process in marked_processes(configuration.paths))


def _status(configuration: StackConfiguration, component: Component) -> ComponentStatus:
    run_file = read_run_file(configuration.paths, component.name)
    return ComponentStatus(
        name=component.name,
        pid=run_file.pid if run_file else None,
        ports=tuple(port.number for port in component.ports),
        healthy=run_file is not None and component.healthy(run_file),
        log=log_path(configuration.paths, component.name),
    )


def _is_outdated(component: Component, run_file: RunFile | None) -> bool:
    return run_file is not None and run_file.digest != component.digest


def _tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return "(no log yet)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
