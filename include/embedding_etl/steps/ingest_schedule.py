"""When ingest__<pipeline> runs: by its schedule, by events, or by either. Imported by DAG files only."""

from datetime import datetime
from typing import Any, cast

from airflow.sdk import DAG, AssetOrTimeSchedule
from airflow.sdk.bases.timetable import BaseTimetable

from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.steps.source_events import events_asset

BEGIN = datetime(2024, 1, 1)


def ingest_schedule(pipeline: PipelineSettings) -> Any:
    """What the DAG's `schedule` is to be: with events the schedule of the file stays as the sweep."""
    asset = events_asset(pipeline)
    if asset is None:
        return pipeline.schedule
    if pipeline.schedule is None:
        return [asset]
    # Airflow alone knows what it makes of a schedule without events, by its settings: it has to be the same with them.
    sweep = DAG("sweep", schedule=pipeline.schedule, start_date=BEGIN).timetable
    return AssetOrTimeSchedule(timetable=cast(BaseTimetable, sweep), assets=[asset])
