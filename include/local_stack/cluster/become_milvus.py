"""Runs in the Milvus server's own environment: writes its configuration, unpacks it, and becomes it.

`python become_milvus.py DIRECTORY METRICS_PORT SETTING=PORT …`
"""

import os
import sys
from pathlib import Path

import milvus


def main() -> None:
    """Replace this process by the server."""
    directory, metrics_port, *settings = sys.argv[1:]
    ports = {name: int(number) for name, number in (setting.split("=") for setting in settings)}
    config = milvus.MilvusServerConfig(data_dir=directory, **ports)
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
