"""Roles of Milvus, exactly as deploy/milvus/roles.yaml says."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import yaml

from include.embedding_etl.places import PROJECT_ROOT

if TYPE_CHECKING:
    from pymilvus import MilvusClient

PIPELINES, READERS = "etl_pipelines", "etl_readers"


@cache
def privileges_of(role: str) -> frozenset[tuple[str, str]]:
    """(kind of object, privilege) of everything that a role may do."""
    document = yaml.safe_load((PROJECT_ROOT / "deploy" / "milvus" / "roles.yaml").read_text(encoding="utf-8"))
    kinds: Mapping[str, Sequence[str]] = document[role]
    return frozenset((kind, privilege) for kind, privileges in kinds.items() for privilege in privileges)


def keep_role(root: "MilvusClient", role: str, database: str = "default") -> list[str]:
    """Make the role what its file says: what is missing is granted, and what is too much is taken away.

    Args:
        root: Who may do that.
        role: PIPELINES or READERS.
        database: For all collections of this one.
    Returns:
        Privileges that this server does not know: it asks nobody for them.
    Raises:
        MilvusException: the server refused.
    """
    from pymilvus import MilvusException

    if role not in root.list_roles():
        root.create_role(role)
    wanted = privileges_of(role)
    granted = {
        (each["object_type"], each["privilege"])
        for each in root.describe_role(role)["privileges"]
        if each["db_name"] == database and each["object_name"] == "*"
    }
    unknown = []
    for kind, privilege in sorted(wanted - granted):
        try:
            root.grant_privilege(role, kind, privilege, "*", db_name=database)
        except MilvusException as error:
            if "not found the privilege" not in error.message:
                raise
            unknown.append(privilege)
    for kind, privilege in sorted(granted - wanted):
        root.revoke_privilege(role, kind, privilege, "*", db_name=database)
    return unknown
