"""Notices: destinations that fail, secrets that must not show, and freshness that misses its target."""

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.status.notices import Notice, freshness_problem
from include.embedding_etl.steps import notifications
from include.embedding_etl.steps.freshness_deadline import check_freshness, freshness_deadline, tell_missed_freshness
from tests.fixtures_monitoring import MailServer, Webhook
from tests.fixtures_pipeline import Project

NOTICE = Notice("a {{ subject }}", ("<b>bold</b> {{ 7 * 7 }}", "second line"))


@pytest.fixture(autouse=True)
def _places(project: Project, mail_server: MailServer, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**project.environment, "AIRFLOW_CONN_SMTP_DEFAULT": mail_server.connection, "TEST_HOOK": webhook.url}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_what_a_notice_quotes_is_neither_rendered_nor_markup(mail_server: MailServer, webhook: Webhook) -> None:
    notifications.deliver(NOTICE, ["mailto:ops@example.org", "env:TEST_HOOK"])
    (mail,), (posted,) = mail_server.messages, webhook.received
    assert mail["Subject"] == posted["title"] == "a {{ subject }}"
    body = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "&lt;b&gt;bold&lt;/b&gt; {{ 7 * 7 }}" in body
    assert posted["message"] == "<b>bold</b> {{ 7 * 7 }}\nsecond line"


def test_variables_and_connections_of_airflow_hold_addresses_too(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_HOOK", webhook.url)
    monkeypatch.setenv("AIRFLOW_CONN_HOOK", f'{{"conn_type": "generic", "password": "{webhook.url}"}}')
    notifications.deliver(NOTICE, ["variable:HOOK", "connection:hook"])
    assert len(webhook.received) == 2


def test_a_destination_that_fails_keeps_no_other_from_being_told(mail_server: MailServer, webhook: Webhook) -> None:
    mail_server.refuse = True
    with pytest.raises(IntegrityError, match=r"(?s)Not everybody was told.*mailto:ops@example.org") as caught:
        notifications.deliver(NOTICE, ["mailto:ops@example.org", "env:TEST_HOOK"])
    assert len(webhook.received) == 1
    assert "TEST_HOOK" not in str(caught.value)


def test_when_nobody_was_told_it_is_tried_again(webhook: Webhook) -> None:
    webhook.status = 503
    with pytest.raises(TransientError, match="env:TEST_HOOK: the service did not take the notice"):
        notifications.deliver(NOTICE, ["env:TEST_HOOK"])


@pytest.mark.parametrize("destination", ["env:NOT_SET", "variable:not_set", "connection:not_set"])
def test_an_address_that_is_not_set_is_named(destination: str) -> None:
    with pytest.raises(ConfigError, match=f"{destination}: is not set"):
        notifications.deliver(NOTICE, [destination])


def test_an_address_that_apprise_does_not_know_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WRONG", "slack://s3cret-token")
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError, match="env:WRONG: holds no URL") as caught:
        notifications.deliver(NOTICE, ["env:WRONG"])
    shown = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert "s3cret-token" not in shown


def test_freshness_is_missed_by_an_object_that_waits_and_by_runs_that_are_not_green(project: Project) -> None:
    project.configure(freshness_target_h=1 / 3600)
    project.put_many(2)
    with project.open() as runtime:
        assert freshness_problem(runtime) == "no ingestion has been green yet"
    project.run()
    time.sleep(1.1)
    with project.open() as runtime:
        assert freshness_problem(runtime).startswith("the last green ingestion ended")
    project.configure(freshness_target_h=1)
    with project.open() as runtime:
        assert freshness_problem(runtime) == ""
    _wait_since_yesterday(project)
    with project.open() as runtime:
        assert freshness_problem(runtime).startswith("lane text: an object has been waiting for 1 d")
    project.configure()
    with project.open() as runtime:
        assert freshness_problem(runtime) == ""  # no target, nothing to miss


def test_a_missed_target_is_told_once(project: Project, webhook: Webhook) -> None:
    project.configure(freshness_target_h=2, notify={"on_failure": ["env:TEST_HOOK"]})
    project.put_many(1)
    project.run()
    assert check_freshness(project.name) is False
    _wait_since_yesterday(project)
    asyncio.run(tell_missed_freshness(project.name))
    assert check_freshness(project.name) is False  # the next run that misses it
    (posted,) = webhook.received
    assert posted["title"] == f"{project.name}: freshness target missed"
    assert "misses its freshness target of 2 h: lane text: an object has been waiting" in posted["message"]


def test_the_deadline_is_set_where_there_is_a_target_and_somebody_to_tell(project: Project) -> None:
    def deadline(**keys: object) -> object:
        project.configure(**keys)
        return freshness_deadline(load_pipeline(project.root / "pipelines" / f"{project.name}.yaml"))

    assert deadline() is None
    assert deadline(freshness_target_h=6) is None
    found = deadline(freshness_target_h=6, notify={"on_failure": ["env:TEST_HOOK"]})
    assert found.interval.total_seconds() == 6 * 3600  # type: ignore[attr-defined]
    assert found.callback.path == "include.embedding_etl.steps.freshness_deadline.tell_missed_freshness"  # type: ignore[attr-defined]
    assert found.callback.kwargs == {"pipeline": project.name}  # type: ignore[attr-defined]


def _wait_since_yesterday(project: Project) -> None:
    """Make the ledger know an object of yesterday that is not indexed."""
    with project.open() as runtime:
        known = next(runtime.ledger.objects.stream(project.name))
        yesterday = int((time.time() - 90_000) * 1000)
        runtime.ledger.objects.put(project.name, [replace(known, key="new.txt", last_modified_ms=yesterday)])


def test_messages_go_to_no_place_that_a_file_could_leak(tmp_path: Path) -> None:
    path = tmp_path / "docs.yaml"
    path.write_text(
        "name: docs\nsource: {uri: s3://b/p}\nnotify: {on_failure: ['slack://s3cret-token']}\n"
        "lanes: {text: {accepts: [text/*], model: {kind: sentence-transformers, id: m}}}\n"
    )
    with pytest.raises(ConfigError, match=r"notify\.on_failure: entry 1: allowed are mailto:") as caught:
        load_pipeline(path)
    assert "s3cret-token" not in str(caught.value)
