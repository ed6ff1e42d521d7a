"""Milvus Lite as a server of its own process, so that every task of every run shares it."""

import os
import sys
from pathlib import Path

from include.local_stack.configuration import StackConfiguration
from include.local_stack.ports import HOST
from include.local_stack.process import Component

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


def milvus_component(configuration: StackConfiguration) -> Component:
    """The Milvus server."""
    paths, port = configuration.paths, configuration.ports["milvus"]
    paths.milvus.mkdir(parents=True, exist_ok=True)
    return Component(
        name="milvus",
        arguments=(
            str(Path(sys.executable).with_name("milvus-lite")),
            "server",
            *("--data-dir", str(paths.milvus)),
            *("--host", HOST),  # its default is every interface, without any authentication
            *("--port", str(port.number)),
        ),
        environment={"HOME": str(paths.milvus), "PYTHONUNBUFFERED": "1"},
        inherited={name: os.environ[name] for name in _INHERITED if name in os.environ},
        directory=paths.milvus,
        ports=(port,),
        healthy=lambda _: _answers(f"{HOST}:{port.number}"),
    )


def _answers(address: str) -> bool:
    """Whether a gRPC server answers there: an open port alone may be a server that is still reading its data."""
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=2)
        except grpc.FutureTimeoutError:
            return False
        return True
