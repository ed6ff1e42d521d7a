"""The first users of Airflow under its FAB auth manager: an admin, and a viewer whose token Prometheus scrapes with.

`airflow users create` would take the password as an argument, readable by everybody who may see processes.
"""

import os
import sys
from dataclasses import dataclass

from include.deployment.environment import required
from include.embedding_etl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class User:
    """Who is to exist."""

    name: str
    password: str
    role: str  # Admin, Op, User or Viewer


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
        for user in users:
            if security.find_user(user.name):
                continue
            role = security.find_role(user.role)
            mail = f"{user.name}@localhost"
            if not role or not security.add_user(user.name, user.name, "", mail, role, user.password):
                raise ConfigError(f"user {user.name}: was not created with the role {user.role}; see the log above")
            created.append(user.name)
    return created


def main() -> None:
    """The users that the environment names."""
    created = ensure_users(
        [
            User(os.environ.get("AIRFLOW_ADMIN_USER") or "admin", required("AIRFLOW_ADMIN_PASSWORD"), "Admin"),
            User("metrics", required("AIRFLOW_METRICS_PASSWORD"), "Viewer"),
        ]
    )
    sys.stdout.write(f"users created: {', '.join(created) or 'none, they exist'}\n")


if __name__ == "__main__":
    main()
