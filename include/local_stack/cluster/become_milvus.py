"""Runs in the Milvus server's own environment: writes its configuration, unpacks it, and becomes it.

`python become_milvus.py DIRECTORY METRICS_PORT SETTING=PORT …`
"""

import os
import socket
import sys
from pathlib import Path

import milvus


class Configuration(milvus.MilvusServerConfig):  # type: ignore[misc]
    """The package's, but looks whether a port is free as servers do.

    Its own look takes connections that a killed server left behind for a server: for a minute it would not start again.
    """

    def try_bind_port(self, port: int) -> socket.socket | None:
        """A socket that listens there, or None."""
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            probe.close()
            return None
        return probe


def main() -> None:
    """Replace this process by the server."""
    directory, metrics_port, *settings = sys.argv[1:]
    ports = {name: int(number) for name, number in (setting.split("=") for setting in settings)}
    config = Configuration(data_dir=directory, **ports)
    config.set("authorization_enabled", True)
    config.resolve()
    milvus._initialize_data_files(config.base_data_dir)
    programs = Path(directory) / "bin"
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": metrics_port,
        "MILVUS_RUN_DIR": str(Path(directory) / "run"),
        "LD_LIBRARY_PATH": str(programs),
    }
    os.chdir(directory)
    os.execve(programs / "milvus", ["milvus", "run", "standalone"], environment)  # noqa: S606 - our own words


if __name__ == "__main__":
    main()
