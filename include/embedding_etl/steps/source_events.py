"""What wakes ingest__<pipeline>: messages of the bucket's queue, in the triggerer; and the DAG's schedule with them.

Airflow's own trigger for SQS deletes messages when it receives them, and needs a library that does not fit beside ours.
This one deletes a message when a run that lists later is recorded: a crash anywhere loses no wake-up.
The class lives here because the triggerer cannot import DAG files. It is made anew in the triggerer from what
`serialize` says; when the pipeline file says something else, Airflow replaces it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, TransientError
from include.embedding_etl.metric_catalogue import EVENT_MESSAGES, WAKE_UPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from include.embedding_etl.event_watch import EventWatch, Look
    from include.embedding_etl.settings import PipelineSettings

log = structlog.get_logger()
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between attempts while the queue or the ledger does not answer
IDLE_PAUSE_S = 0.5  # some queues answer at once although they are asked to wait
CLOSE_WITHIN_S = 8.0  # a triggerer that stops is killed after ten


class SourceEventsTrigger(BaseEventTrigger):
    """Fires when messages about a pipeline's objects wait in its queue, once for all of them.

    Args:
        pipeline: Its name.
        source: Its source as JSON: of text alone Airflow makes the same trigger again.
    """

    def __init__(self, pipeline: str, source: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pipeline = pipeline
        self.source = source
        self._thread: ThreadPoolExecutor | None = None
        self._watch: EventWatch | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments, by which Airflow makes it again."""
        return f"{__name__}.{type(self).__name__}", {"pipeline": self.pipeline, "source": self.source}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """For ever. What does not answer is tried again and again; nothing here ends a watch but its triggerer."""
        # A thread of its own: the loop's are few, and this one waits most of the time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="source-events")
        self._watch = open_watch(self.pipeline, self.source)
        log.info("watching the queue of a bucket", pipeline=self.pipeline)
        pause_s = 0.0
        while True:
            try:
                look = await self._in_thread(self._watch.look)
            except EmbeddingEtlError as error:
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2 or FIRST_PAUSE_S)
                log.warning("the queue of a bucket is not watched", pipeline=self.pipeline, reason=str(error))
                await asyncio.sleep(pause_s)
                continue
            if pause_s:
                log.warning("the queue of a bucket is watched again", pipeline=self.pipeline)
                pause_s = 0.0
            tell(self.pipeline, look)
            if look.waking:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                yield TriggerEvent({"messages": look.waking, "at": now})  # type: ignore[no-untyped-call]
            elif not look.received:
                await asyncio.sleep(IDLE_PAUSE_S)

    async def cleanup(self) -> None:
        """Airflow's, when the trigger ends for whatever reason: show the messages in hand to whoever comes next."""
        if self._thread is None or self._watch is None:
            return
        try:
            await asyncio.wait_for(self._in_thread(self._watch.close), CLOSE_WITHIN_S)
        except (EmbeddingEtlError, TimeoutError) as error:
            log.warning("messages show again later", pipeline=self.pipeline, reason=str(error) or type(error).__name__)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def open_watch(pipeline: str, source_json: str) -> EventWatch:
    """A pipeline's watch. Nothing is asked of queue, ledger and Airflow yet.

    Raises:
        ConfigError: the source has no events.
    """
    from include.embedding_etl.event_queue import EventQueue
    from include.embedding_etl.event_watch import EventWatch
    from include.embedding_etl.ledger import Ledger
    from include.embedding_etl.places import Places
    from include.embedding_etl.s3_credentials import credentials_from
    from include.embedding_etl.settings import SourceSettings
    from include.embedding_etl.steps.connections import sqs_credentials

    source = SourceSettings.model_validate_json(source_json)
    settings, places = source.events, Places()
    if settings is None:
        raise ConfigError(f"pipeline {pipeline}: source.events: is required")
    connection_id = settings.connection_id or source.connection_id

    def open_queue() -> EventQueue:
        # Without a connection the queue's URL says where it is: ETL_S3_ENDPOINT says where S3 is.
        of_places = replace(credentials_from(places), endpoint=None)
        chosen = sqs_credentials(connection_id) if connection_id else of_places
        return EventQueue(settings.queue_url, chosen, settings.visibility_timeout_s)

    return EventWatch(
        pipeline,
        source,
        settings,
        open_queue,
        lambda: Ledger.open(places.ledger_url.get_secret_value(), migrate=True),
        lambda recorded: is_waiting(f"ingest__{pipeline}", recorded),
    )


def is_waiting(dag_id: str, recorded: Iterable[str]) -> bool:
    """Whether a run of a DAG is queued, or has begun but waits for its turn. To be called in a trigger's thread.

    Args:
        recorded: The ledger's runs: these have their turn already, or had it.
    Raises:
        TransientError: Airflow did not answer.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    count, states = RuntimeTaskInstance.get_dr_count, ["queued", "running"]
    have_turn = [run.removeprefix(f"{dag_id}/") for run in recorded if run.startswith(f"{dag_id}/")]
    try:
        active = count(dag_id=dag_id, states=states)
        begun = count(dag_id=dag_id, run_ids=have_turn, states=states) if active and have_turn else 0
    except AirflowRuntimeError as error:
        raise TransientError(f"Airflow did not say whether a run of {dag_id} waits: {error}") from error
    return active > begun


def tell(pipeline: str, look: Look) -> None:
    """Log and count what came: numbers only, and one line whatever number."""
    from airflow.observability import stats

    ignored = sum(look.ignored.values())
    for outcome, messages in (("kept", look.received - ignored), ("ignored", ignored)):
        if messages:
            stats.incr(EVENT_MESSAGES.name, messages, tags={"pipeline": pipeline, "outcome": outcome})
    if ignored:
        log.info("messages that wake nobody are deleted", pipeline=pipeline, reasons=dict(look.ignored))
    if look.waking:
        log.info("waking a run", pipeline=pipeline, messages=look.waking)
        stats.incr(WAKE_UPS.name, tags={"pipeline": pipeline})


def events_asset(pipeline: PipelineSettings) -> Asset | None:
    """What the pipeline's ingestion is scheduled on, if its source has events. No alias of a lane can have its name."""
    if pipeline.source.events is None:
        return None
    about = {"uri", "connection_id", "include", "exclude", "events"}  # a change of anything else replaces no watch
    trigger = SourceEventsTrigger(pipeline.name, pipeline.source.model_dump_json(include=about))
    return Asset(
        name=f"source-events/{pipeline.name}",
        uri=f"source-events://embedding-etl/{pipeline.name}",
        watchers=[AssetWatcher(name=f"queue of {pipeline.name}", trigger=trigger)],
    )
