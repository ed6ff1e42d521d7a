"""Real Milvus servers on free ports of 127.0.0.1.

`milvus_lite_uri` is one Milvus Lite server for the whole session: take collection names from `fresh_name()`, so that
tests do not meet. A test that stops or kills its server takes one of its own from `milvus_lite_factory`.
"""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def fresh_name(prefix: str = "test") -> str:
    """A collection or alias name that no other test uses."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def plain_client(uri: str, token: str = "") -> "MilvusClient":
    """A client of somebody who does not know about us, on a connection of its own that Milvus Lite does not close."""
    from pymilvus import MilvusClient

    from include.embedding_etl.vectorstore.milvus import CALM

    return MilvusClient(uri, token=token, dedicated=True, grpc_options=CALM)


@dataclass
class MilvusLiteServer:
    """One `milvus-lite server` process. It may be started again on the same port and data."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data_dir / "server.log"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the server; it is not ready yet when this returns."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [
            str(Path(sys.executable).with_name("milvus-lite")),
            "server",
            "--data-dir",
            str(self.data_dir / "data"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
            )

    def wait_until_it_answers(self, timeout_s: float = 90.0) -> None:
        """Wait for gRPC, not for the port alone: the server listens before it has read its data."""
        import grpc

        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            ready = grpc.channel_ready_future(channel)
            while time.monotonic() < deadline and self.process.poll() is None:
                with suppress(grpc.FutureTimeoutError):
                    ready.result(timeout=0.2)
                    return
        pytest.fail(f"Milvus Lite did not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def kill(self) -> None:
        """`kill -9`; quietly if it is not running."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def milvus_lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLiteServer]:
    """The session's Milvus Lite server. Never stop this one."""
    server = MilvusLiteServer(tmp_path_factory.mktemp("milvus"))
    try:
        server.start()
        yield server
    finally:
        server.kill()  # the data is thrown away: no need for the slow way


@pytest.fixture(scope="session")
def milvus_lite_uri(milvus_lite_server: MilvusLiteServer) -> str:
    """Where the session's Milvus Lite server answers."""
    return milvus_lite_server.uri


@pytest.fixture
def milvus_lite_factory(tmp_path: Path) -> Iterator[Callable[[], MilvusLiteServer]]:
    """Makes servers of the test's own, not started yet; they are ended with the test."""
    servers: list[MilvusLiteServer] = []

    def make() -> MilvusLiteServer:
        servers.append(MilvusLiteServer(tmp_path / f"milvus-{len(servers)}"))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def milvus_server_uri() -> Iterator[str]:
    """A real Milvus server of an old version, for tests marked milvus_server; token: tests.milvus_server.TOKEN."""
    from tests.milvus_server import MilvusServer

    if not MilvusServer.python().exists():
        pytest.fail(f"there is no {MilvusServer.python()}: run `make test-milvus-server`")
    server = MilvusServer()
    try:
        server.start()
        yield server.uri
    finally:
        server.stop()
