"""`make demo`, as a user sees it: twice on one stack. The slowest test of all, and the one that matters most.

Between the two, runs that fail, and a search of everything that the stack has written for the secrets of its runs.
"""

import io
import shutil
import sys

import pytest
from rich.console import Console

from include.embedding_etl.places import PROJECT_ROOT
from include.local_stack.configuration import configure
from include.local_stack.corpus.catalogue import corpus_objects
from include.local_stack.demo import run_demo
from include.local_stack.embedded import embedded_stack
from include.local_stack.paths import DAGS_DIR_VARIABLE
from include.local_stack.process import kill_leftovers
from tests.fixtures_milvus import plain_client
from tests.fixtures_stack import stack_environment
from tests.secret_runs import ENDPOINT_KEY_VARIABLE, SecretRuns, fail_runs, write_failing_pipelines
from tests.secret_search import find_secrets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LANES = ("text", "image", "multimodal", "audio", "video")


def demo(configuration):
    """Whether it was green, and what it printed."""
    printed = io.StringIO()
    green = run_demo(embedded_stack(configuration), Console(file=printed, width=160))
    sys.stdout.write(printed.getvalue())  # pytest shows it when something fails
    return green, printed.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    environment = stack_environment(directory)
    configuration = configure({**environment, DAGS_DIR_VARIABLE: str(PROJECT_ROOT / "dags")})
    pipelines = directory / "pipelines"
    pipelines.mkdir()
    shutil.copy(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml", pipelines)
    with pytest.MonkeyPatch.context() as patch, SecretRuns.endpoint() as runs:
        write_failing_pipelines(pipelines, runs)
        patch.setenv("ETL_PIPELINES_DIR", str(pipelines))
        patch.setenv(ENDPOINT_KEY_VARIABLE, runs.endpoint_key)
        yield configuration, runs
        kill_leftovers(configuration.paths)


@pytest.fixture(scope="module")
def configuration(site):
    return site[0]


@pytest.fixture(scope="module")
def first(configuration):
    return demo(configuration)


@pytest.fixture(scope="module")
def milvus(configuration, first):
    client = plain_client(configuration.demo["ETL_MILVUS_URI"])
    yield client
    client.close()


def hits_below(printed, heading):
    """Keys of the three hits that the demo printed below a heading."""
    lines = printed.split(heading, 1)[1].splitlines()[1:4]
    return [line.split("  ")[2].strip() for line in lines]


def test_the_first_demo_is_green_and_shows_the_way_in(configuration, first):
    green, printed = first
    assert green
    assert "Green: the run succeeded" in printed
    for shown in ("ETL_AIRFLOW_URL", "ETL_AIRFLOW_USER", "ETL_AIRFLOW_PASSWORD", "ETL_S3_ENDPOINT", "ETL_MILVUS_URI"):
        assert configuration.demo[shown] in printed
    assert all(lane in printed for lane in LANES)


def test_searches_find_what_was_meant(first):
    printed = first[1]
    assert hits_below(printed, "text → text")[0] in ("texts/money/compound interest.docx", "texts/money/mortgage.txt")
    assert hits_below(printed, "text → picture")[0] == "drawings/yellow moon.webp"
    assert hits_below(printed, "sound → sound")[0].startswith("sounds/bell/")


@pytest.mark.parametrize("lane", LANES)
def test_every_good_object_is_searchable_through_its_alias_and_no_other_is(lane, milvus):
    expected = {item.key for item in corpus_objects() if lane in item.lanes and item.outcome == "ok"}
    rows = milvus.query(
        f"demo_{lane}",
        filter='id >= ""',
        output_fields=["object_key", "vector"],
        limit=1000,
        consistency_level="Strong",
    )
    assert {row["object_key"] for row in rows} == expected
    own = {row["object_key"]: row["vector"] for row in rows}
    key = sorted(expected)[0]
    found = milvus.search(f"demo_{lane}", data=[own[key]], limit=1, output_fields=["object_key"])
    assert found[0][0]["distance"] == pytest.approx(1.0, abs=1e-3)


def test_no_secret_of_any_run_stands_where_somebody_could_read_it(configuration, first, site):
    told = fail_runs(configuration, site[1])
    assert {name: secret for name, secret in site[1].all(configuration).items() if len(secret) < 12} == {}
    assert find_secrets(configuration, site[1].all(configuration), told) == []


def test_a_second_demo_calls_no_model_and_uploads_nothing(configuration, first):
    green, printed = demo(configuration)
    assert green
    assert "0 model calls: nothing had changed" in printed
    assert "everything is running already" in printed
    assert "0 written" in printed
