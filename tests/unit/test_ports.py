"""Ports of the embedded stack: from variables, checked before anything starts, and the message says what to do."""

import os
import socket

import pytest

from include.embedding_etl.errors import ConfigError
from include.local_stack.ports import EMBEDDED_PORTS, HOST, PORT_VARIABLES, Port, read_ports, require_free
from tests.ports import free_ports


def test_every_port_can_be_chosen_by_its_variable():
    wanted = dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))
    ports = read_ports({variable: str(number) for variable, number in wanted.items()}, EMBEDDED_PORTS)
    assert {port.variable: port.number for port in ports.values()} == wanted


def test_defaults_are_all_different():
    numbers = [port.number for port in read_ports({}, EMBEDDED_PORTS).values()]
    assert len(set(numbers)) == len(numbers) == len(PORT_VARIABLES)


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "80 80"])
def test_what_is_not_a_port_is_refused_by_name(text):
    with pytest.raises(ConfigError, match=f"ETL_S3_PORT={text}: expected a port number"):
        read_ports({"ETL_S3_PORT": text}, EMBEDDED_PORTS)


def test_two_components_on_one_port_are_refused():
    with pytest.raises(ConfigError, match="ETL_AIRFLOW_PORT and ETL_S3_PORT are both 4711"):
        read_ports({"ETL_AIRFLOW_PORT": "4711", "ETL_S3_PORT": "4711"}, EMBEDDED_PORTS)


def test_a_port_in_use_names_port_variable_and_holder():
    with socket.create_server((HOST, 0)) as server:
        number = server.getsockname()[1]
        ports = read_ports({"ETL_MILVUS_PORT": str(number)}, EMBEDDED_PORTS)
        with pytest.raises(ConfigError) as refused:
            require_free([ports["milvus"]])
    for expected in (str(number), "milvus", "ETL_MILVUS_PORT=", f"pid {os.getpid()}"):
        assert expected in str(refused.value)


def test_all_taken_ports_are_named_at_once():
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        numbers = [server.getsockname()[1] for server in (one, other)]
        ports = read_ports({"ETL_S3_PORT": str(numbers[0]), "ETL_AIRFLOW_PORT": str(numbers[1])}, EMBEDDED_PORTS)
        with pytest.raises(ConfigError) as refused:
            require_free(ports.values())
    assert all(str(number) in str(refused.value) for number in numbers)


def test_a_port_whose_server_has_just_gone_is_free():
    server = socket.create_server((HOST, 0))
    number = server.getsockname()[1]
    with socket.create_connection((HOST, number)) as client:
        accepted, _ = server.accept()
        accepted.close()  # closes first: this side keeps the port in TIME_WAIT
        client.recv(1)
    server.close()
    require_free([read_ports({"ETL_S3_PORT": str(number)}, EMBEDDED_PORTS)["s3"]])


def test_of_a_port_that_cannot_be_chosen_nobody_is_told_a_variable():
    with socket.create_server((HOST, 0)) as server:
        number = server.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"port {number} \(fixed\) is in use by .*; stop that: this port is fixed$"
        ):
            require_free([Port("fixed", "", number)])
