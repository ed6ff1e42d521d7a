"""`make demo`: from nothing to five kinds of searchable files, through Airflow, with figures that are checked."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pydantic import SecretStr
from rich.console import Console

from include.embedding_etl.errors import TransientError
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import PIPELINE, StackConfiguration
from include.local_stack.corpus.files import write_corpus, write_query_sound
from include.local_stack.demo_figures import read_figures, show_figures
from include.local_stack.demo_searches import show_searches
from include.local_stack.failure_reasons import failure_reasons
from include.local_stack.outcomes import unexpected_outcomes
from include.local_stack.process import read_run_file
from include.local_stack.run_progress import RunProgress
from include.local_stack.stack import Stack, start_stack, wait_until_healthy
from include.local_stack.upload import upload_corpus

DAG_ID = f"ingest__{PIPELINE}"
RUN_TIMEOUT_S = 1800.0


class Phases:
    """Announces each phase of the demo, and remembers how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """One phase; told when it begins and when it has ended."""
        self._console.print(f"[bold]{name}[/bold]")
        started_s = time.monotonic()
        with self._console.status(f"{name} …"):
            yield
        self._seconds[name] = time.monotonic() - started_s

    def show(self) -> None:
        """One line: seconds of each phase, and of all."""
        parts = [f"{name.lower()} {seconds:.0f} s" for name, seconds in self._seconds.items()]
        total_s = sum(self._seconds.values())
        self._console.print(f"Seconds: {', '.join(parts)}; in all {total_s:.0f} s", highlight=False)


def run_demo(stack: Stack, console: Console) -> bool:
    """Start the stack, upload the corpus, run the ingestion in Airflow, show figures and searches.

    Returns:
        Whether the run was green and every object became what it had to become.
    """

    def say(line: str) -> None:
        console.print(f"  {line}", markup=False, highlight=False)

    phases, configuration = Phases(console), stack.configuration
    with ThreadPoolExecutor(1) as pool:
        corpus = pool.submit(write_corpus, configuration.paths.corpus)  # while Airflow's database is made
        with phases.phase(f"Starting {stack.title}"):
            started = start_stack(stack, say)
            say(f"started {', '.join(started)}" if started else "everything is running already")
        with phases.phase("Uploading the sample corpus"):
            objects = corpus.result()
            wait_until_healthy(stack, say, stack.stores.names)
            uploaded = upload_corpus(configuration, configuration.paths.corpus, objects)
            types = len({item.media_type for item in objects} - {""})
            say(f"{len(objects)} objects of {types} media types: {uploaded.written} written, {uploaded.unchanged} kept")
    with phases.phase("Waiting for Airflow"):
        wait_until_healthy(stack, say, stack.airflow.names)
        console.print(_airflow_line(configuration), highlight=False)
    with AirflowClient(configuration) as client:
        with phases.phase("Waiting for the DAG"):
            for name, (slots, description) in stack.pools.items():
                client.keep_pool(name, slots, description)
            client.wait_for_dag(DAG_ID, _dag_processor_start_s(stack), timeout_s=120)
        with phases.phase(f"Running {DAG_ID}"):
            runs, state = _run(client, configuration, console)
    with phases.phase("Counting"), open_runtime(configuration) as runtime:
        figures = read_figures(runtime, [f"{DAG_ID}/{run}" for run in runs])
        problems = [*figures.problems, *(unexpected_outcomes(runtime, objects) if state == "success" else ())]
    green = state == "success" and not problems
    if green:
        with phases.phase("Searching"):
            query = write_query_sound(configuration.paths.local / "queries" / "a bell.wav")
            with open_runtime(configuration) as runtime:
                show_searches(runtime, console, query)
    show_figures(figures, console)
    if green and figures.model_calls == 0:
        console.print("0 model calls: nothing had changed since the last run.", highlight=False)
    phases.show()
    _show_verdict(console, state, problems, len(objects))
    _show_addresses(stack, console)
    return green


def open_runtime(configuration: StackConfiguration) -> Runtime:
    """The demo pipeline's ledger, state and Milvus, at this stack's places."""
    places = places_of(configuration)
    return Runtime(find_pipeline(places.pipelines_dir, PIPELINE), places)


def places_of(configuration: StackConfiguration) -> Places:
    """This stack's ledger, state, Milvus and S3."""
    demo = configuration.demo
    return Places(
        ledger_url=SecretStr(demo["ETL_LEDGER_URL"]),
        state_uri=demo["ETL_STATE_URI"],
        milvus_uri=demo["ETL_MILVUS_URI"],
        milvus_token=SecretStr(demo.get("ETL_MILVUS_TOKEN", "")),
        s3_endpoint=demo["ETL_S3_ENDPOINT"],
        aws_access_key_id=SecretStr(demo["AWS_ACCESS_KEY_ID"]),
        aws_secret_access_key=SecretStr(demo["AWS_SECRET_ACCESS_KEY"]),
    )


def _run(client: AirflowClient, configuration: StackConfiguration, console: Console) -> tuple[list[str], str]:
    """Run the DAG, after the runs that are in its way: one that is due by schedule, one that an earlier demo left.

    Returns:
        The ids of all of them, our own last; and the state in which our own ended.
    """
    own = client.trigger(DAG_ID)
    client.unpause(DAG_ID)
    runs = []
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    while client.run_state(DAG_ID, own) == "queued" and time.monotonic() < deadline_s:
        other = client.running_run(DAG_ID)
        if other is None or other == own:
            time.sleep(0.5)
            continue
        console.print(f"  {other} goes first: it was due, or had been started before", highlight=False, soft_wrap=True)
        client.follow(DAG_ID, other, RUN_TIMEOUT_S, RunProgress(console).report)
        runs.append(other)
    state = client.follow(DAG_ID, own, RUN_TIMEOUT_S, RunProgress(console).report)
    if state != "success":
        logs = configuration.paths.logs / "airflow" / f"dag_id={DAG_ID}" / f"run_id={own}"
        for reason in failure_reasons(logs, client.task_states(DAG_ID, own)):
            console.print(f"  {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    return [*runs, own], state


def _dag_processor_start_s(stack: Stack) -> float:
    run_file = read_run_file(stack.paths, "dag-processor")
    if run_file is None:
        raise TransientError("the dag-processor has ended; run the same command again")
    return run_file.created_s


def _show_verdict(console: Console, state: str, problems: list[str], objects: int) -> None:
    if state != "success":
        console.print(f"Red: the run ended as {state!r}.", style="red")
    for problem in problems[:20]:
        console.print(f"Red: {problem}", style="red", markup=False)
    if len(problems) > 20:
        console.print(f"… and {len(problems) - 20} more", style="red")
    if state == "success" and not problems:
        console.print(
            f"Green: the run succeeded, all counts agree, all {objects} objects of the corpus ended as they should.",
            style="green",
        )


def _show_addresses(stack: Stack, console: Console) -> None:
    configuration, demo = stack.configuration, stack.configuration.demo
    lines = (
        _airflow_line(configuration),
        f"S3       {demo['ETL_S3_ENDPOINT']}   bucket {demo['ETL_BUCKET']}, keys in {configuration.paths.env_file}",
        f"Milvus   {demo['ETL_MILVUS_URI']}",
        stack.hint,
        f"It goes on running: `{stack.status_command}` shows it, `{stack.down_command}` stops it; all data is kept.",
    )
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _airflow_line(configuration: StackConfiguration) -> str:
    demo = configuration.demo
    login = f"user {demo['ETL_AIRFLOW_USER']}, password {demo['ETL_AIRFLOW_PASSWORD']}"
    return f"Airflow  {demo['ETL_AIRFLOW_URL']}   {login}"
