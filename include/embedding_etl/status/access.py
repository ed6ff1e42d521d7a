"""Who may look, who may change. The app asks; Airflow's plugin or `etl ui` answers."""

from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who may look."""

    name: str
    session: str  # secret of the login; CSRF tokens are derived from it, nothing shows it
    user: Any = None  # as the host knows them


class Denied(Exception):
    """Not allowed.

    Args:
        status: 401 where a login would help, else 403.
        message: For the person.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class Host(Protocol):
    """What the app needs of the program that it runs in."""

    async def viewer(self, request: Request) -> Viewer:
        """The person behind a request.

        Raises:
            Denied: nobody, or somebody who may not look.
        """

    def may_trigger(self, viewer: Viewer, dag_id: str) -> bool:
        """Whether this person may start runs of a DAG."""

    def trigger(self, viewer: Viewer, dag_id: str, form: dict[str, Any]) -> str:
        """Start a run, as its form would, and return a link to it, or words that say how to start it.

        Raises:
            Denied: this person may not.
        """

    def run_link(self, run_id: str) -> str:
        """Where Airflow shows a run of ours ("dag_id/run_id"); "" where there is no Airflow."""

    def form_link(self, dag_id: str) -> str:
        """Where the form of a DAG is; "" where there is no Airflow."""
