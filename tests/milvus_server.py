"""A Milvus server 2.3.5 from PyPI, the oldest we work with: `python -m tests.milvus_server --start | --stop`.

Its package (tests/milvus-server.txt) carries the server itself with embedded etcd and local disk, and lives in an
environment of its own: `make test-milvus-server` makes it. The server listens on every interface and cannot be told
otherwise, so it is started with authorization.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_PYTHON = ROOT / ".venv-milvus" / "bin" / "python"
DEFAULT_DIR = ROOT / ".local" / "milvus-server"
TOKEN = "root:Milvus"  # what every fresh server begins with
ETCD_PEER_PORT = 2380  # the one port that cannot be changed: one such server on a machine


@dataclass
class MilvusServer:
    """One server. Its data are thrown away with every start; its unpacked programs are kept."""

    directory: Path = DEFAULT_DIR
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid_file(self) -> Path:
        return self.directory / "pid"

    @staticmethod
    def python() -> Path:
        """The interpreter that has the server's package."""
        return Path(os.environ.get("ETL_MILVUS_SERVER_PYTHON") or DEFAULT_PYTHON)

    def start(self) -> None:
        """Start it with nothing in it, and wait until it answers: about 15 s, more the first time."""
        self.stop()
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        self.launch()

    def launch(self, timeout_s: float = 90.0) -> None:
        """Start it with what it had, and wait until it answers."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", ETCD_PEER_PORT))
            except OSError as error:
                raise RuntimeError(f"port {ETCD_PEER_PORT} is in use: another Milvus or etcd runs here") from error
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ["--data", str(self.directory), "--proxy-port", str(self.port), "--authorization-enabled", "true"]
        with (self.directory / "launcher.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(self.python()), "-c", "import milvus; milvus.main()", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(str(self.process.pid))
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Milvus did not start: see {self.directory / 'logs'}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End the launcher and the server it started: the launcher leaves it behind when it is told to stop."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.killpg(int(self.pid_file.read_text()), signal.SIGKILL)
        self.pid_file.unlink(missing_ok=True)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        from pymilvus import MilvusClient, MilvusException

        try:
            client = MilvusClient(self.uri, token=TOKEN, timeout=2, dedicated=True)
        except MilvusException:
            return False
        try:
            client.list_collections()
        except MilvusException:
            return False
        finally:
            client.close()
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--stop", action="store_true")
    arguments = parser.parse_args()
    server = MilvusServer()
    if arguments.stop:
        server.stop()
    if arguments.start:
        server.start()
        sys.stdout.write(f"{server.uri} token {TOKEN}\n")


if __name__ == "__main__":
    main()
