"""A destination of a pipeline file as one of Airflow's notifiers: mail by its SMTP provider, all else by Apprise."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from include.embedding_etl.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.embedding_etl.status.notices import Notice


class NoticeNotifier:
    """What both kinds have: one call that sends a notice, and says by the destination's name what went wrong."""

    def __init__(self, destination: str, notifier: Any) -> None:
        self._destination = destination
        self._notifier = notifier

    def send(self, notice: Notice) -> None:
        """Send it now.

        Raises:
            ConfigError: the destination is not set up.
            TransientError: it did not take the notice.
        """
        from airflow.sdk.exceptions import AirflowException

        try:
            # The notice is a value of the context, not a template: what it quotes is never rendered.
            self._notifier({"notice": notice})
        except (OSError, ValueError, AirflowException) as error:
            reason = f"{type(error).__name__}: {error}"
            raise TransientError(f"{self._destination}: the notice could not be sent: {reason}") from error


class AppriseNotifier(BaseNotifier):
    """Slack, Teams, webhooks and a hundred more, by the URL that Apprise has for them."""

    def __init__(self, destination: str, urls: tuple[str, ...]) -> None:
        super().__init__()
        self._destination = destination
        self._urls = urls

    def notify(self, context: Any) -> None:
        """Send context["notice"].

        Raises:
            ConfigError: one of the URLs is not Apprise's.
            TransientError: the service did not take it.
        """
        from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

        with _silent_apprise():
            services = Apprise(asset=AppriseAsset(async_mode=False))
            for url in self._urls:
                if not services.add(url):
                    raise ConfigError(
                        f"{self._destination}: holds no URL that Apprise knows, such as slack://… or jsons://host/path"
                    )
            notice = context["notice"]
            taken = services.notify(
                notice.text, title=notice.subject, notify_type=NotifyType.INFO, body_format=NotifyFormat.TEXT
            )
        if not taken:
            raise TransientError(f"{self._destination}: the service did not take the notice")


def notifier_for(destination: str) -> NoticeNotifier:
    """The notifier of one destination.

    Raises:
        ConfigError: the variable or connection that it names does not exist or is empty.
    """
    kind, _, name = destination.partition(":")
    if kind == "mailto":
        return NoticeNotifier(destination, _mail(name))
    text = {"env": _environment, "variable": _variable, "connection": _connection}[kind](name)
    urls = tuple(text.replace(",", " ").split())
    if not urls:
        raise ConfigError(
            f"{destination}: is not set, or empty; put the URL of the service there, as Apprise spells it"
        )
    _mask(urls)
    return NoticeNotifier(destination, AppriseNotifier(destination, urls))


def _mail(address: str) -> Any:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    from airflow.sdk.configuration import conf

    return SmtpNotifier(
        to=address,
        from_email=conf.get("email", "from_email", fallback=None),  # None = what the connection says
        subject="{{ notice.subject }}",
        html_content="{{ notice.html }}",
    )


def _environment(name: str) -> str:
    return os.environ.get(name, "")


def _variable(name: str) -> str:
    from airflow.sdk import Variable

    return str(Variable.get(name, default=""))


def _connection(name: str) -> str:
    """The password holds the URL: it is the field that Airflow encrypts and never shows."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name).password or ""
    except AirflowNotFoundException:
        return ""


def _mask(urls: tuple[str, ...]) -> None:
    from airflow.sdk.log import mask_secret

    for url in urls:
        mask_secret(url)


@contextmanager
def _silent_apprise() -> Iterator[None]:
    """Apprise logs the tokens of URLs that it cannot read."""
    logger = logging.getLogger("apprise")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was
