"""What wakes ingest__<pipeline>, as Airflow reads it from the DAG file; and the trigger, alone with a real queue."""

import asyncio
import json
import re
from typing import Any

import pytest
import yaml

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.steps import source_events
from include.embedding_etl.steps.connections import s3_credentials_of, sqs_credentials
from tests.dags.conftest import ROOT, parse_dags
from tests.fixtures_events import BucketWithQueue
from tests.fixtures_pipeline import Project

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/docs-events"
SCRIPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(sys.argv[1])
dag = bag.dags[sys.argv[2]]
timetable = dag.timetable
condition = getattr(timetable, "asset_condition", None)
assets = list(condition.objects) if condition else []
lanes = [outlet.name for task in dag.tasks for outlet in task.outlets]
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "kind": type(timetable).__name__,
    "cron": getattr(getattr(timetable, "timetable", timetable), "expression", None),
    "assets": [[asset.name, asset.uri] for asset in assets],
    "triggers": [list(watcher.trigger.serialize()) for asset in assets for watcher in asset.watchers],
    "lanes": lanes,
    "serialized": bool(DagSerialization.to_dict(dag)),
}))
"""


def parsed(environment: dict[str, str], project: Project) -> Any:
    return parse_dags(SCRIPT, environment, project, f"ingest__{project.name}")


def source(**events: Any) -> dict[str, Any]:
    return {"uri": "s3://bucket/docs/", "connection_id": "s3", "events": {"queue_url": QUEUE, **events}}


@pytest.mark.parametrize(
    ("schedule", "kind", "cron"),
    [(None, "AssetTriggeredTimetable", None), ("@hourly", "AssetOrTimeSchedule", "0 * * * *")],
)
def test_events_wake_the_dag_and_a_schedule_stays_as_the_sweep(
    airflow_environment: dict[str, str], project: Project, schedule: str | None, kind: str, cron: str | None
) -> None:
    project.configure(source=source(), schedule=schedule)
    found = parsed(airflow_environment, project)
    assert found["errors"] == {}
    assert (found["kind"], found["cron"]) == (kind, cron)
    assert found["assets"] == [[f"source-events/{project.name}", f"source-events://embedding-etl/{project.name}"]]
    assert found["lanes"] == [project.alias]
    ((classpath, arguments),) = found["triggers"]
    assert classpath == "include.embedding_etl.steps.source_events.SourceEventsTrigger"
    assert arguments["pipeline"] == project.name
    assert json.loads(arguments["source"])["events"]["queue_url"] == QUEUE


def test_without_events_the_schedule_is_as_before(airflow_environment: dict[str, str], project: Project) -> None:
    project.configure(schedule="@hourly")
    found = parsed(airflow_environment, project)
    assert (found["kind"], found["cron"], found["assets"]) == ("CronTriggerTimetable", "0 * * * *", [])


def test_a_change_of_the_queue_makes_another_trigger_and_other_changes_do_not(project: Project) -> None:
    def arguments(**changes: Any) -> dict[str, Any]:
        project.configure(**changes)
        asset = source_events.events_asset(load_pipeline(project.root / "pipelines" / f"{project.name}.yaml"))
        assert asset is not None
        return dict(asset.watchers[0].trigger.serialize()[1])

    first = arguments(source=source())
    assert first == arguments(source=source(), description="another", schedule="@daily")
    assert first != arguments(source=source(queue_url=f"{QUEUE}-2"))
    again = source_events.SourceEventsTrigger(**first)
    assert again.serialize()[1] == first


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"queue_url": "arn:aws:sqs:eu-west-1:1:q"}, "source.events.queue_url: allowed is the URL of an SQS queue"),
        ({"queue_url": "https://user:word@host/1/q"}, "source.events.queue_url: allowed is the URL"),
        ({"queue_url": f"{QUEUE}.fifo"}, "use a standard queue"),
        ({"queue": QUEUE}, "source.events.queue: unknown key. Did you mean 'queue_url'?"),
        ({"queue_url": QUEUE, "visibility_timeout_s": 5}, "source.events.visibility_timeout_s: "),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(project: Project, events: dict[str, Any], message: str) -> None:
    project.configure(source={"uri": "s3://bucket/", "events": events})
    with pytest.raises(ConfigError) as caught:
        load_pipeline(project.root / "pipelines" / f"{project.name}.yaml")
    assert message in str(caught.value)


def test_a_directory_has_no_events(project: Project) -> None:
    project.configure(source={"uri": "/some/where", "events": {"queue_url": QUEUE}})
    with pytest.raises(ConfigError, match=r"source\.events: only a bucket sends events"):
        load_pipeline(project.root / "pipelines" / f"{project.name}.yaml")


def test_the_example_of_the_document_is_valid(project: Project) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "events.md").read_text(), re.DOTALL)
    for commented in (example, re.sub(r"# (\w+: )", r"\1", example)):  # what is left out is spelled right too
        project.configure(**yaml.safe_load(commented))
        pipeline = load_pipeline(project.root / "pipelines" / f"{project.name}.yaml")
        assert pipeline.source.events is not None


def test_a_connection_says_for_each_service_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import Connection

    extra = {"endpoint_url": "http://all", "service_config": {"sqs": {"endpoint_url": "http://sqs"}}}
    document = {"conn_type": "aws", "login": "a", "password": "s", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_BOTH", json.dumps(document))
    assert sqs_credentials("both").endpoint == "http://sqs"
    assert s3_credentials_of(Connection.get("both")).endpoint == "http://all"
    monkeypatch.setenv("AIRFLOW_CONN_ONE", json.dumps({**document, "extra": {"endpoint_url": "http://all"}}))
    assert sqs_credentials("one").endpoint is None  # the queue's URL says it
    monkeypatch.setenv(
        "AIRFLOW_CONN_S3", json.dumps({**document, "extra": {"service_config": {"s3": {"endpoint_url": "http://s3"}}}})
    )
    assert s3_credentials_of(Connection.get("s3")).endpoint == "http://s3"


@pytest.fixture
def trigger(
    bucket_with_queue: BucketWithQueue, project: Project, monkeypatch: pytest.MonkeyPatch
) -> source_events.SourceEventsTrigger:
    """The trigger as the triggerer makes it, where Airflow says that no run waits."""
    server = bucket_with_queue.server
    variables = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    for name, value in {**project.environment, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(source_events, "is_waiting", lambda dag_id, recorded: False)
    monkeypatch.setattr("include.embedding_etl.event_watch.LONG_POLL_S", 1)
    return source_events.SourceEventsTrigger("docs", bucket_with_queue.source().model_dump_json())


def test_an_event_says_how_many_and_when_and_no_key(
    trigger: source_events.SourceEventsTrigger, bucket_with_queue: BucketWithQueue
) -> None:
    bucket_with_queue.put("docs/a secret.txt")

    async def first_event() -> Any:
        events = trigger.run()
        try:
            return await asyncio.wait_for(anext(events), 30)  # type: ignore[arg-type]
        finally:
            await trigger.cleanup()

    payload = asyncio.run(first_event()).payload
    assert payload.keys() == {"messages", "at"}
    assert payload["messages"] == 1
    assert bucket_with_queue.counts() == (1, 0)  # shown again to whoever comes next


def test_the_loop_of_the_triggerer_never_waits_for_the_queue(trigger: source_events.SourceEventsTrigger) -> None:
    async def longest_stop_s() -> float:
        watching = asyncio.ensure_future(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.sleep(1)  # imports
        loop, longest_s = asyncio.get_running_loop(), 0.0
        for _ in range(150):
            begun_s = loop.time()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, loop.time() - begun_s)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await trigger.cleanup()
        return longest_s

    assert asyncio.run(longest_stop_s()) < 0.9  # a look takes a second: it long-polls


def test_a_queue_that_does_not_answer_does_not_end_the_trigger(
    trigger: source_events.SourceEventsTrigger, bucket_with_queue: BucketWithQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_events, "LONGEST_PAUSE_S", 0.2)
    events = bucket_with_queue
    events.sqs.delete_queue(QueueUrl=events.queue_url)

    async def event_after_the_queue_is_back() -> Any:
        first = asyncio.ensure_future(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.sleep(2)
        assert not first.done()
        events.sqs.create_queue(QueueName=events.queue_url.rpartition("/")[2])
        events.put("docs/a.txt")
        try:
            return await asyncio.wait_for(first, 30)
        finally:
            await trigger.cleanup()

    assert asyncio.run(event_after_the_queue_is_back()).payload["messages"] == 1
