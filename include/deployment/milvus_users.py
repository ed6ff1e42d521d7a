"""Make a Milvus server safe to use: no default password for root, and users with the roles of deploy/milvus/roles.yaml.

Run again, it changes nothing; with other passwords in the environment it sets those.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

from include.deployment.environment import required
from include.deployment.milvus_roles import PIPELINES, READERS, keep_role
from include.embedding_etl.errors import TransientError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DEFAULT_ROOT_PASSWORD = "Milvus"  # noqa: S105 - what every fresh server begins with
_PATIENCE_S = 120
_TIMEOUT_S = 10  # a refused password costs all of it


def secure_milvus(
    uri: str, root_password: str, user: str, password: str, database: str = "default", role: str = PIPELINES
) -> list[str]:
    """Set root's password, make database, role and user.

    Args:
        uri: Of a server with authorization switched on.
        root_password: What root's password is, or is to be.
        user: Whom the role is for.
        password: His password.
        database: Where he may work, and nowhere else.
        role: PIPELINES or READERS.
    Returns:
        Privileges of the role that the server does not know.
    Raises:
        TransientError: the server does not answer, or root has yet another password.
    """
    from pymilvus import MilvusException

    root = _as_root(uri, root_password)
    try:
        if database not in root.list_databases():
            root.create_database(database)
        _ensure_user(root, uri, user, password)
        unknown = keep_role(root, role, database)
        root.grant_role(user, role)
    except MilvusException as error:
        raise TransientError(f"Milvus at {uri}: {error.message}") from error
    finally:
        root.close()
    return unknown


def _as_root(uri: str, root_password: str) -> "MilvusClient":
    if (client := _log_in(uri, "root", root_password)) is not None:
        return client
    fresh = _log_in(uri, "root", DEFAULT_ROOT_PASSWORD)
    if fresh is None:
        raise TransientError(
            f"Milvus at {uri}: it does not answer, or root's password is neither MILVUS_ROOT_PASSWORD nor the default"
        )
    fresh.update_password("root", DEFAULT_ROOT_PASSWORD, root_password)
    fresh.close()
    # The server's proxies learn of it within seconds.
    deadline = time.monotonic() + _PATIENCE_S
    while (client := _log_in(uri, "root", root_password)) is None:
        if time.monotonic() > deadline:
            raise TransientError(f"Milvus at {uri}: root's new password is not accepted")
        time.sleep(1)
    return client


def _log_in(uri: str, user: str, password: str) -> "MilvusClient | None":
    """A client, or None: pymilvus tells a password that is refused and a server that is gone by the same error."""
    from pymilvus import MilvusClient, MilvusException

    try:
        return MilvusClient(uri, token=f"{user}:{password}", timeout=_TIMEOUT_S, dedicated=True)
    except MilvusException:
        return None


def _ensure_user(root: "MilvusClient", uri: str, user: str, password: str) -> None:
    if user in root.list_users():
        if (client := _log_in(uri, user, password)) is not None:
            client.close()
            return
        root.drop_user(user)  # his old password, which a change would ask for, is not known any more
    root.create_user(user, password)


def main() -> None:
    """As the environment says."""
    database = os.environ.get("ETL_MILVUS_DATABASE") or "default"
    uri, root_password = required("ETL_MILVUS_URI"), required("MILVUS_ROOT_PASSWORD")
    users = [(os.environ.get("MILVUS_USER") or "etl", required("MILVUS_PASSWORD"), PIPELINES)]
    if reader := os.environ.get("MILVUS_READER"):
        users.append((reader, required("MILVUS_READER_PASSWORD"), READERS))
    for user, password, role in users:
        unknown = secure_milvus(uri, root_password, user, password, database, role)
        sys.stdout.write(f"Milvus: {user} may use the database {database}, with the role {role}\n")
        if unknown:
            sys.stdout.write(f"Milvus: this server does not know {', '.join(unknown)}, and asks nobody for it\n")


if __name__ == "__main__":
    main()
