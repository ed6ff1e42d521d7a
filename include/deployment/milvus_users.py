"""Make a Milvus server safe to use: no default password for root, and a user for pipelines who may do little else.

Run again, it changes nothing; with other passwords in the environment it sets those.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

from include.deployment.environment import required
from include.embedding_etl.errors import TransientError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DEFAULT_ROOT_PASSWORD = "Milvus"  # noqa: S105 - what every fresh server begins with
ROLE = "etl_pipelines"
# (kind of object, privilege). Names are those that servers of 2.3 and later know.
PRIVILEGES = (
    *(("Global", name) for name in ("CreateCollection", "DropCollection", "DescribeCollection", "ShowCollections")),
    *(("Global", name) for name in ("CreateAlias", "DropAlias", "DescribeAlias", "ListAliases")),
    *(("Collection", name) for name in ("CreateIndex", "DropIndex", "IndexDetail", "Load", "Release")),
    *(("Collection", name) for name in ("GetLoadState", "GetLoadingProgress", "GetStatistics", "Flush")),
    *(("Collection", name) for name in ("Insert", "Upsert", "Delete", "Query", "Search", "Import")),
)
_PATIENCE_S = 120
_TIMEOUT_S = 10  # a refused password costs all of it


def secure_milvus(uri: str, root_password: str, user: str, password: str, database: str = "default") -> None:
    """Set root's password, make database, role and user.

    Args:
        uri: Of a server with authorization switched on.
        root_password: What root's password is, or is to be.
        user: The pipelines' user.
        password: His password.
        database: Where he may work, and nowhere else.
    Raises:
        TransientError: the server does not answer, or root has yet another password.
    """
    from pymilvus import MilvusException

    root = _as_root(uri, root_password)
    try:
        if database not in root.list_databases():
            root.create_database(database)
        _ensure_user(root, uri, user, password)
        if ROLE not in root.list_roles():
            root.create_role(ROLE)
        for kind, privilege in PRIVILEGES:
            _grant(root, kind, privilege, database)
        root.grant_role(user, ROLE)
    except MilvusException as error:
        raise TransientError(f"Milvus at {uri}: {error.message}") from error
    finally:
        root.close()


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


def _grant(root: "MilvusClient", kind: str, privilege: str, database: str) -> None:
    """Grant a privilege, unless the server is too old to know it: it then asks for none."""
    from pymilvus import MilvusException

    try:
        root.grant_privilege(ROLE, kind, privilege, "*", db_name=database)
    except MilvusException as error:
        if "not found" not in error.message and "not exist" not in error.message:
            raise


def main() -> None:
    """As the environment says."""
    user = os.environ.get("MILVUS_USER") or "etl"
    database = os.environ.get("ETL_MILVUS_DATABASE") or "default"
    uri = required("ETL_MILVUS_URI")
    secure_milvus(uri, required("MILVUS_ROOT_PASSWORD"), user, required("MILVUS_PASSWORD"), database)
    sys.stdout.write(f"Milvus: {user} may use the database {database}, with the role {ROLE}\n")


if __name__ == "__main__":
    main()
