"""What a running Airflow tells: metrics by UDP, failures and digests by mail and webhook, lineage into a file."""

import json
import os
import sqlite3
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

from include.embedding_etl.metric_catalogue import METRICS
from tests.fixtures_monitoring import MailServer, StatsdServer, Webhook
from tests.fixtures_pipeline import Project

RunDag = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
NOTIFY = {"on_failure": ["mailto:ops@example.org", "env:TEST_HOOK"], "digest": "daily"}


def installed_at(site: Path) -> Path:
    """A directory that says that the project is installed, with the provider's entry point as it is now."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = site / f"embedding_etl-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: embedding-etl\nVersion: {project['version']}\n")
    target = project["entry-points"]["apache_airflow_provider"]["provider_info"]
    (info / "entry_points.txt").write_text(f"[apache_airflow_provider]\nprovider_info = {target}\n")
    return site


def told(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_metrics_of_a_run_arrive_by_statsd(project: Project, run_airflow: RunDag, statsd_server: StatsdServer) -> None:
    project.configure(freshness_target_h=2)
    project.put_many(3)
    project.put("broken.txt", b"")
    project.put("bad.txt", "refuse this")
    project.endpoint.refused_word = "refuse"
    project.configure(thresholds={"max_failed_fraction": 1.0}, freshness_target_h=2)
    done = run_airflow("dags", "test", f"ingest__{project.name}", **statsd_server.environment)
    assert done.returncode == 0, told(done)[-4000:]
    ours = [line for line in statsd_server.lines() if line.startswith("airflow.embedding_etl.")]
    lane = f"pipeline={project.name},lane=text"

    def figures(metric: str) -> list[str]:
        return [
            line.split(":", 1)[1].split("|")[0]
            for line in ours
            if line.startswith(f"airflow.embedding_etl.{metric}:") and line.count(":") == 1
        ]

    assert figures(f"embedded_chunks_total,{lane}") == ["3"]
    assert figures(f"rows_written_total,{lane}") == ["3"]
    assert 0 < float(figures(f"model_seconds_total,{lane}")[0]) < 60
    assert figures(f"agreement,{lane}") == ["1.0"]
    assert figures(f"freshness_seconds,{lane}") == ["0.0"]
    assert figures(f"objects,{lane},state=indexed") == ["3"]
    assert figures(f"objects,{lane},state=dead") == ["1"]
    assert figures(f"dead_letters,{lane},error_class=InputRefused") == ["1"]
    assert figures(f"rows,{lane},place=milvus") == ["3"]
    assert figures(f"freshness_target_seconds,pipeline={project.name}") == ["7200.0"]
    names = {metric.name for metric in METRICS}
    assert {line.removeprefix("airflow.").split(",")[0] for line in ours} <= names
    assert not any("doc-00" in line or "bad.txt" in line for line in ours)


def test_one_failed_run_is_told_once_by_mail_and_by_webhook(
    project: Project,
    run_airflow: RunDag,
    airflow_environment: dict[str, str],
    mail_server: MailServer,
    webhook: Webhook,
) -> None:
    project.configure(notify=NOTIFY, freshness_target_h=6)
    project.put_many(3)
    project.put("bad.txt", "refuse this")
    project.endpoint.refused_word = "refuse"  # one of four: more than max_failed_fraction
    done = run_airflow(
        "dags",
        "test",
        f"ingest__{project.name}",
        AIRFLOW_CONN_SMTP_DEFAULT=mail_server.connection,
        TEST_HOOK=webhook.url,
        AIRFLOW__API__BASE_URL="http://airflow.example.org",
    )
    (mail,), (posted,) = mail_server.messages, webhook.received
    assert mail["To"] == "ops@example.org"
    assert mail["Subject"] == posted["title"] == f"{project.name}: ingest__{project.name} has failed"
    body = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    for text in (body, posted["message"]):
        assert "embedded 3 objects" in text
        assert "Dead letters of lane text: 1 InputRefused" in text
        assert f"http://airflow.example.org/dags/ingest__{project.name}/runs/manual__" in text
        assert f"http://airflow.example.org/embedding-etl/failures?pipeline={project.name}" in text
    assert "s3cret-token" not in told(done)
    # The deadline of the freshness target went with the DAG: the triggerer will find its callback.
    with sqlite3.connect(
        airflow_environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///")
    ) as database:
        alerts = database.execute("select callback_def from deadline_alert").fetchall()
    assert any(
        "freshness_deadline.tell_missed_freshness" in str(alert) and project.name in str(alert) for alert in alerts
    )


def test_a_green_run_is_not_told(project: Project, run_airflow: RunDag, webhook: Webhook) -> None:
    project.configure(notify={"on_failure": ["env:TEST_HOOK"]})
    project.put_many(1)
    assert run_airflow("dags", "test", f"ingest__{project.name}", TEST_HOOK=webhook.url).returncode == 0
    assert webhook.received == []


def test_the_digest_says_how_a_pipeline_stands(
    project: Project, run_airflow: RunDag, mail_server: MailServer, webhook: Webhook
) -> None:
    project.configure(notify=NOTIFY, freshness_target_h=1000, thresholds={"max_failed_fraction": 1.0})
    project.put_many(2)
    project.put("bad.txt", "refuse this")
    project.endpoint.refused_word = "refuse"
    project.run()
    done = run_airflow(
        "dags", "test", "digest", AIRFLOW_CONN_SMTP_DEFAULT=mail_server.connection, TEST_HOOK=webhook.url
    )
    assert done.returncode == 0, told(done)[-4000:]
    (mail,), (posted,) = mail_server.messages, webhook.received
    assert mail["Subject"] == posted["title"] == f"{project.name}: daily digest: all is well"
    for line in (
        "runs: 1 green, 0 red; objects: 3 new, 0 changed, 0 gone, 1 failed; 2 embedded, 0 reused.",
        "Lane text: 2 indexed, 0 pending, 1 dead, 0 dismissed, 0 deferred, 0 to delete; 2 rows.",
        "Lane text: storage, ledger and Milvus: agrees.",
        "No audit yet.",
        "Freshness target 1000 h: met.",
        "Dead letters of lane text: 1 InputRefused",
    ):
        assert line in posted["message"]
        assert line in mail.get_body(("html",)).get_content()  # type: ignore[union-attr]


def test_there_is_no_digest_where_nobody_wants_one(project: Project, run_airflow: RunDag) -> None:
    done = run_airflow("dags", "test", "digest")
    assert done.returncode != 0
    assert "digest" in told(done)
    assert "Traceback" not in told(done) or "could not be found" in told(done).lower()


def test_sync_tells_openlineage_what_it_read_and_wrote(project: Project, run_airflow: RunDag, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    project.put_many(2)
    transport = json.dumps({"type": "file", "log_file_path": str(events), "append": True})
    done = run_airflow(
        "dags",
        "test",
        f"ingest__{project.name}",
        AIRFLOW__OPENLINEAGE__TRANSPORT=transport,
        PYTHONPATH=os.pathsep.join([str(installed_at(tmp_path / "site")), str(ROOT)]),
    )
    assert done.returncode == 0, told(done)[-4000:]
    found = [json.loads(line) for line in events.read_text().splitlines()]
    (sync,) = [event for event in found if event["job"]["name"].endswith(".sync") and event["eventType"] == "COMPLETE"]
    with project.open() as runtime:
        collection = runtime.store.alias_target(project.alias)
    assert [(one["namespace"], one["name"]) for one in sync["inputs"]] == [("file", str(project.root / "source"))]
    server = project.milvus_uri.removeprefix("http://")
    assert [(one["namespace"], one["name"]) for one in sync["outputs"]] == [
        (f"milvus://{server}", f"default.{collection}")
    ]
