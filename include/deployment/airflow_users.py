"""The first users of Airflow under its FAB auth manager: an admin, and one whose token Prometheus scrapes with.

FAB's roles Viewer and User may not see plugins, so the status pages have a role of their own.
`airflow users create` would take the password as an argument, readable by everybody who may see processes.
"""

import os
import sys
from dataclasses import dataclass
from typing import Any

from include.deployment.environment import required
from include.embedding_etl.errors import ConfigError

PAGES_ROLE = "Embedding ETL"
_PAGES_PERMISSIONS = (("can_read", "Plugins"), ("menu_access", "Plugins"))


@dataclass(frozen=True, slots=True)
class User:
    """Who is to exist."""

    name: str
    password: str
    role: str  # Admin, Op, User, Viewer or PAGES_ROLE


def ensure_users(users: list[User]) -> list[str]:
    """Create those that do not exist. An existing user, his password included, stays as he is.

    Returns:
        Names of the created.
    Raises:
        ConfigError: there is no such role, or the user was refused.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    created = []
    with get_application_builder() as builder:
        security = builder.sm
        _ensure_pages_role(security)
        for user in users:
            if security.find_user(user.name):
                continue
            role = security.find_role(user.role)
            mail = f"{user.name}@localhost"
            if not role or not security.add_user(user.name, user.name, "", mail, role, user.password):
                raise ConfigError(f"user {user.name}: was not created with the role {user.role}; see the log above")
            created.append(user.name)
    return created


def _ensure_pages_role(security: Any) -> None:
    role = security.add_role(PAGES_ROLE)  # an existing one is returned
    for action, resource in _PAGES_PERMISSIONS:
        security.add_permission_to_role(role, security.create_permission(action, resource))


def main() -> None:
    """The users that the environment names."""
    created = ensure_users(
        [
            User(os.environ.get("AIRFLOW_ADMIN_USER") or "admin", required("AIRFLOW_ADMIN_PASSWORD"), "Admin"),
            User("metrics", required("AIRFLOW_METRICS_PASSWORD"), PAGES_ROLE),
        ]
    )
    sys.stdout.write(f"users created: {', '.join(created) or 'none, they exist'}\n")


if __name__ == "__main__":
    main()
