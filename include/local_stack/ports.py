"""Every port of a stack: its variable, its default, and whether somebody else has it."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

from include.embedding_etl.errors import ConfigError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Port:
    """One port that a component listens on, on 127.0.0.1 wherever the component can be told so."""

    name: str
    variable: str  # "" = nobody can choose another
    number: int


# One block of neighbours, away from the well-known ports that a developer's machine often has in use already.
EMBEDDED_PORTS: Mapping[str, tuple[str, int]] = {
    # name: (variable, default)
    "airflow": ("ETL_AIRFLOW_PORT", 18800),
    "s3": ("ETL_S3_PORT", 18801),
    "milvus": ("ETL_MILVUS_PORT", 18802),
    "s3-grpc": ("ETL_S3_GRPC_PORT", 18803),
    "seaweed-master": ("ETL_SEAWEED_MASTER_PORT", 18804),
    "seaweed-master-grpc": ("ETL_SEAWEED_MASTER_GRPC_PORT", 18805),
    "seaweed-volume": ("ETL_SEAWEED_VOLUME_PORT", 18806),
    "seaweed-volume-grpc": ("ETL_SEAWEED_VOLUME_GRPC_PORT", 18807),
    "seaweed-filer": ("ETL_SEAWEED_FILER_PORT", 18808),
    "seaweed-filer-grpc": ("ETL_SEAWEED_FILER_GRPC_PORT", 18809),
}
PORT_VARIABLES = tuple(variable for variable, _ in EMBEDDED_PORTS.values())


def read_ports(environment: Mapping[str, str], known: Mapping[str, tuple[str, int]]) -> dict[str, Port]:
    """All ports by name, from their variables or the defaults.

    Args:
        environment: Where the variables are.
        known: Name → variable and default.
    Raises:
        ConfigError: a variable is not a port number, or two components were given the same port.
    """
    ports = {}
    for name, (variable, default) in known.items():
        text = environment.get(variable) or str(default)
        if not text.isdecimal() or not 1 <= int(text) <= 65535:
            raise ConfigError(f"{variable}={text}: expected a port number from 1 to 65535")
        ports[name] = Port(name, variable, int(text))
    by_number: dict[int, Port] = {}
    for port in ports.values():
        other = by_number.setdefault(port.number, port)
        if other is not port:
            raise ConfigError(f"{other.variable} and {port.variable} are both {port.number}: give each its own port")
    return ports


def require_free(ports: Iterable[Port]) -> None:
    """Check that nobody listens on any of these ports.

    Raises:
        ConfigError: naming every port that is taken, its variable and, where the system tells, who has it.
    """
    taken = [port for port in ports if not is_free(port.number)]
    if taken:
        lines = [
            f"port {port.number} ({port.name}) is in use by {_holder(port.number)}; stop that"
            + (f", or choose another port with {port.variable}=…" if port.variable else ": this port is fixed")
            for port in taken
        ]
        raise ConfigError("\n".join(lines))


def is_free(number: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: without it, connections that were closed a moment ago would look like a holder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
        return True


def listening(number: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection((HOST, number), timeout=1):
            return True
    except OSError:
        return False


def _holder(number: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == number and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # the system does not tell other people's processes: the port and its variable are enough
    return "another program"
