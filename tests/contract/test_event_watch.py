"""A pipeline's watch on a real queue with the notifications of a real bucket, and a real ledger."""

import json
import time
from typing import Any

import pytest

from include.embedding_etl import event_watch
from include.embedding_etl.errors import ConfigError, TransientError
from include.embedding_etl.event_queue import EventQueue
from include.embedding_etl.event_watch import CLOCKS_DIFFER_MS, LISTED_SINCE, EventWatch
from include.embedding_etl.ledger.tables import runs
from include.embedding_etl.s3_events import FOREIGN_BUCKET, NOT_UNDERSTOOD, OTHER_KEYS, TEST_EVENT
from tests.fixtures_events import BucketWithQueue, Watching, looks
from tests.fixtures_storage import FaultyProxy, answered, reset, s3_error
from tests.ports import free_ports


def wakes(watch: EventWatch) -> int:
    """For how many messages it wakes a run, once it does."""
    return looks(watch, lambda look: bool(look.waking))[-1].waking


def stays_quiet(watch: EventWatch, for_looks: int = 3) -> bool:
    return not any(watch.look().waking for _ in range(for_looks))


def record(events: BucketWithQueue, bucket: str = "", key: str = "docs/a.txt") -> dict[str, Any]:
    s3 = {"bucket": {"name": bucket or events.bucket}, "object": {"key": key}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}]}


def test_put_overwrite_and_delete_each_wake_a_run(watching: Watching) -> None:
    events, watch = watching.events, watching.watch()
    changes = [
        lambda: events.put("docs/ä + b%.txt"),
        lambda: events.put("docs/ä + b%.txt", b"another"),
        lambda: events.s3.delete_object(Bucket=events.bucket, Key="docs/ä + b%.txt"),
    ]
    for change in changes:
        change()
        assert wakes(watch) == 1
        watching.record_run()
        looks(watch, lambda _: watch.in_hand == 0)
    assert events.counts() == (0, 0)


def test_a_message_stays_until_a_run_is_recorded_and_is_gone_then(watching: Watching) -> None:
    watching.events.put("docs/a.txt")
    watch = watching.watch()
    assert wakes(watch) == 1
    assert stays_quiet(watch)
    assert watching.events.counts() == (0, 1)
    watching.record_run(kind="backfill")  # lists a part only
    watching.record_run(kind="reindex")
    watching.record_run("another")
    assert stays_quiet(watch, 2)
    assert watching.events.counts() == (0, 1)
    watching.record_run()
    watch.look()
    assert watching.events.counts() == (0, 0)
    assert watch.in_hand == 0


def test_a_run_that_had_begun_before_a_message_came_does_not_serve_it(watching: Watching) -> None:
    watching.record_run()
    watching.events.put("docs/a.txt")
    watch = watching.watch()
    assert wakes(watch) == 1
    watch.look()
    assert watching.events.counts() == (0, 1)


def test_what_comes_after_a_run_began_wakes_another_one(watching: Watching) -> None:
    watch = watching.watch()
    watching.events.put("docs/a.txt")
    assert wakes(watch) == 1
    watching.record_run()
    watching.events.put("docs/b.txt")
    assert wakes(watch) == 1
    assert watching.events.counts() == (0, 1)
    watching.record_run()
    looks(watch, lambda _: watch.in_hand == 0)
    assert watching.events.counts() == (0, 0)


def test_pain_17_a_burst_of_ten_thousand_objects_wakes_one_run_at_a_time(watching: Watching) -> None:
    events, watch, count = watching.events, watching.watch(), 200  # messages of 50 objects: moto is slow with many
    for start in range(0, count, 10):
        entries = [
            {"Id": str(number), "MessageBody": json.dumps(burst(events, range(number * 50, number * 50 + 50)))}
            for number in range(start, start + 10)
        ]
        events.sqs.send_message_batch(QueueUrl=events.queue_url, Entries=entries)
    seen = looks(watch, lambda _: watch.in_hand == count, at_most=60)
    assert len(seen) < count / 10  # more than one reception of ten a look
    assert sum(bool(look.waking) for look in seen) == 1
    watching.record_run()
    after = looks(watch, lambda _: events.counts() == (0, 0), at_most=60)
    assert not any(look.waking for look in after)


def test_many_messages_wait_in_the_queue_until_others_have_served(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_watch, "HOLD_AT_MOST", 10)
    events, watch = watching.events, watching.watch()
    events.send(*[record(events)] * 25)
    looks(watch, lambda _: events.counts() == (15, 10))
    watch.look()
    assert watch.in_hand == 10
    watching.record_run()
    looks(watch, lambda _: events.counts() == (5, 10))
    watching.record_run()
    looks(watch, lambda _: events.counts() == (0, 5))


def test_a_stream_of_messages_does_not_keep_the_first_from_waking(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_watch, "RECEIVE_FOR_S", 0.0)
    watching.events.send(*[record(watching.events)] * 25)
    assert 0 < watching.watch().look().waking <= 10


def burst(events: BucketWithQueue, numbers: range) -> dict[str, Any]:
    return {"Records": [record(events, key=f"docs/{number}.txt")["Records"][0] for number in numbers]}


def test_pain_17_while_a_run_waits_no_other_one_is_asked_for(watching: Watching) -> None:
    watching.waiting.add("ingest__docs/run-1")
    watching.events.put("docs/a.txt")
    watch = watching.watch()
    assert not any(look.waking for look in looks(watch, lambda _: watch.in_hand == 1))
    assert stays_quiet(watch)
    assert watching.record_run() == "ingest__docs/run-1"  # a scheduled one serves as well
    assert stays_quiet(watch, 2)
    assert watching.events.counts() == (0, 0)


def test_pain_17_duplicates_and_messages_out_of_order_wake_no_run_more(watching: Watching) -> None:
    events, watch = watching.events, watching.watch()
    events.send(*[record(events, key=key) for key in ("docs/b", "docs/a", "docs/b", "docs/b")])
    wakes(watch)
    looks(watch, lambda _: watch.in_hand == 4)
    watching.record_run()
    assert stays_quiet(watch)
    assert events.counts() == (0, 0)


def test_what_is_not_ours_is_deleted_and_wakes_nobody(watching: Watching, bucket_with_queue: BucketWithQueue) -> None:
    events, watch = watching.events, watching.watch()
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": events.bucket}
    garbage = ["no JSON", "[" * 100_000, "7" * 200_000, '{"Records": [7, {"s3": {"bucket": []}}]}', "\U0001f600"]
    events.send(test_event, record(events, "another"), record(events, key="elsewhere/docs/a"), *garbage)
    seen = [watch.look() for _ in range(4)]
    totals: dict[str, int] = {}
    for look in seen:
        for reason, count in look.ignored.items():
            totals[reason] = totals.get(reason, 0) + count
    assert totals == {TEST_EVENT: 1, FOREIGN_BUCKET: 1, OTHER_KEYS: 1, NOT_UNDERSTOOD: len(garbage)}
    assert not any(look.waking for look in seen)
    assert events.counts() == (0, 0)


def test_the_test_event_that_the_bucket_sends_wakes_nobody(watching: Watching) -> None:
    events = watching.events
    settings = events.s3.get_bucket_notification_configuration(Bucket=events.bucket)
    wanted = {"QueueConfigurations": settings["QueueConfigurations"]}
    events.s3.put_bucket_notification_configuration(Bucket=events.bucket, NotificationConfiguration=wanted)
    assert [dict(look.ignored) for look in looks(watching.watch(), lambda look: bool(look.received))][-1] == {
        TEST_EVENT: 1
    }


def test_keys_that_the_globs_leave_out_wake_nobody(watching: Watching) -> None:
    watch = watching.watch(watching.events.source(exclude=("*.tmp",)))
    watching.events.put("docs/a.tmp")
    assert looks(watch, lambda look: bool(look.received))[-1].ignored == {OTHER_KEYS: 1}
    watching.events.put("docs/a.txt")
    assert wakes(watch) == 1


def test_a_watch_that_dies_loses_nothing(watching: Watching) -> None:
    watching.events.put("docs/a.txt")
    watching.visibility_s = 1
    assert wakes(watching.watch()) == 1
    time.sleep(1.2)  # nothing was closed: the process is gone
    assert wakes(watching.watch()) == 1
    assert watching.events.counts() == (0, 1)


def test_a_watch_that_ends_shows_its_messages_at_once(watching: Watching) -> None:
    watching.events.put("docs/a.txt")
    ending = watching.watch()
    assert wakes(ending) == 1
    ending.close()
    assert watching.events.counts() == (1, 0)
    assert wakes(watching.watch()) == 1


def test_a_watch_that_ends_deletes_what_wakes_nobody(watching: Watching) -> None:
    watching.events.send(record(watching.events, "another-bucket"))
    watch = watching.watch()
    looks(watch, lambda look: bool(look.ignored))
    watch.close()
    assert watching.events.counts() == (0, 0)


def test_a_message_in_hand_stays_hidden_however_long_its_run_takes(watching: Watching) -> None:
    watching.events.put("docs/a.txt")
    watching.visibility_s = 2
    watch = watching.watch()
    assert wakes(watch) == 1
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:
        watch.look()
        assert watching.events.counts() == (0, 1)
    watching.record_run()
    watch.look()
    assert watching.events.counts() == (0, 0)


def test_a_wake_up_that_brought_no_run_is_repeated(watching: Watching) -> None:
    watching.events.put("docs/a.txt")
    watch = watching.watch()
    watch._wake_ups.repeat_after_s = 2
    begun_s = time.monotonic()
    assert wakes(watch) == 1
    assert wakes(watch) == 1
    assert 2 <= time.monotonic() - begun_s < 10


def test_wake_ups_keep_their_distance(watching: Watching) -> None:
    watch = watching.watch(min_interval_s=2)
    watching.events.put("docs/a.txt")
    assert wakes(watch) == 1
    begun_s = time.monotonic()
    watching.record_run()
    watching.events.put("docs/b.txt")
    assert wakes(watch) == 1
    assert time.monotonic() - begun_s >= 1.5


def test_a_backlog_that_the_newest_run_has_seen_wakes_nobody(watching: Watching, monkeypatch: Any) -> None:
    monkeypatch.setattr(event_watch, "CLOCKS_DIFFER_MS", 500)
    watching.events.put("docs/a.txt")
    time.sleep(1)
    watching.record_run()
    watch = watching.watch()
    assert looks(watch, lambda look: bool(look.received))[-1].ignored == {LISTED_SINCE: 1}
    watch.look()
    assert watching.events.counts() == (0, 0)


@pytest.mark.parametrize("minutes", [-1, 0, 60])
def test_clocks_that_differ_lose_no_message(watching: Watching, minutes: int) -> None:
    run = watching.record_run()
    watching.events.put("docs/a.txt")
    while watching.events.counts() == (0, 0):
        time.sleep(0.02)
    # 0: by its worker's clock the run has begun after the message came, and nobody sees that it has not.
    set_start(watching, run, time.time_ns() // 1_000_000 + minutes * 60_000)
    assert CLOCKS_DIFFER_MS == 300_000
    watch = watching.watch()
    assert wakes(watch) == 1
    late = watching.record_run()
    set_start(watching, late, 1)  # by a worker whose clock says 1970
    watch.look()
    assert watch.in_hand == 0


def set_start(watching: Watching, run_id: str, started_at_ms: int) -> None:
    with watching.ledger._database.writing() as connection:
        connection.execute(runs.update().where(runs.c.run_id == run_id).values(started_at_ms=started_at_ms))


def test_a_queue_that_was_deleted_is_watched_again_when_it_is_back(watching: Watching) -> None:
    events, watch = watching.events, watching.watch()
    events.sqs.delete_queue(QueueUrl=events.queue_url)
    with pytest.raises(ConfigError, match=r"the queue .* refused ReceiveMessage: .*NonExistentQueue"):
        watch.look()
    events.sqs.create_queue(QueueName=events.queue_url.rpartition("/")[2])
    events.send(record(events))
    assert wakes(watch) == 1


def test_a_queue_that_refuses_or_does_not_answer_is_watched_again_with_fresh_credentials(
    watching: Watching, faulty_proxy: FaultyProxy
) -> None:
    watching.endpoint, watching.visibility_s = faulty_proxy.endpoint, 1  # a spoiled reply holds a message
    watch = watching.watch()
    watching.events.put("docs/a.txt")
    refusal = sqs_error("AccessDeniedException")
    for fault, kind in ((refusal, ConfigError), (s3_error(503, "ServiceUnavailable"), TransientError)):
        faulty_proxy.always = fault
        with pytest.raises(kind):
            watch.look()
    faulty_proxy.always = reset
    with pytest.raises(TransientError, match="did not answer"):
        watch.look()
    faulty_proxy.always = None
    opened = watching.opened
    assert wakes(watch) == 1
    assert watching.opened == opened + 1


def sqs_error(code: str) -> Any:
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "m"})
    return answered(400, body.encode(), Content_Type="application/x-amz-json-1.0")


def test_while_the_queue_is_down_nothing_in_hand_is_lost(watching: Watching, faulty_proxy: FaultyProxy) -> None:
    watching.endpoint = faulty_proxy.endpoint
    watch = watching.watch()
    watching.events.put("docs/a.txt")
    assert wakes(watch) == 1
    watching.record_run()
    faulty_proxy.always = reset
    with pytest.raises(TransientError):
        watch.look()
    faulty_proxy.always = None
    looks(watch, lambda _: watching.events.counts() == (0, 0))


def test_nobody_listens_at_the_endpoint(bucket_with_queue: BucketWithQueue) -> None:
    (port,) = free_ports(1)
    queue = EventQueue(f"http://127.0.0.1:{port}/1/q", bucket_with_queue.credentials(), 30)
    with pytest.raises(TransientError, match="did not answer"):
        queue.receive(0)
