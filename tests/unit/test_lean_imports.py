"""A worker imports what its lane needs, and nothing else: seconds at every task, and gigabytes of image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.embedding_etl.places import PROJECT_ROOT
from tests.embedding_endpoint import DIMENSION
from tests.fixtures_models import SmallModels
from tests.fixtures_pipeline import Project

HEAVY = {"torch", "transformers", "sentence_transformers", "sklearn", "openai", "av", "PIL", "torchvision", "airflow"}
LOADED = f"""
import json, sys
print("RESULT" + json.dumps(sorted({HEAVY!r} & set(sys.modules))))
"""
EMBED_STAGE = """
import sys
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.converge import look_at_source
from include.embedding_etl.lane_collection import ensure_live
from include.embedding_etl.stages.route import route
from include.embedding_etl.stages.embed import embed
from include.embedding_etl.turn import take_turn
places = Places(_env_file=None)
with Runtime(find_pipeline(places.pipelines_dir, sys.argv[1]), places) as runtime:
    take_turn(runtime, "run-1")
    look_at_source(runtime, "run-1", lambda _: None)
    (shard,) = route(runtime, "run-1", ensure_live(runtime, "text"))
    assert embed(runtime, "run-1", shard)["embedded"] == 2
"""
LOAD_MODEL = """
import sys
from pathlib import Path
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.embed.load import load_embedder
settings = ModelSettings.model_validate_json(sys.argv[1])
load_embedder(settings, resolve_model(settings, Path(sys.argv[2])), "cpu")
"""


def loaded_by(script: str, *arguments: str, environment: dict[str, str] | None = None) -> set[str]:
    """The heavy packages that a process has loaded at the end of a script."""
    done = subprocess.run(
        [sys.executable, "-c", script + LOADED, *arguments],
        env={**os.environ, **(environment or {})},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rpartition("RESULT")[2]))


def test_embedding_by_an_endpoint_loads_its_client_and_no_model_library(project: Project) -> None:
    project.put("a.txt", "some words")
    project.put("b.txt", "and others")
    assert loaded_by(EMBED_STAGE, project.name, environment=project.environment) == {"openai"}


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("bert", {"openai", "av", "airflow"}),
        ("resnet", {"sentence_transformers", "sklearn", "openai", "av", "airflow"}),
        ("clip", {"sentence_transformers", "openai", "av", "airflow"}),
        ("whisper", {"sentence_transformers", "openai", "av", "airflow"}),
        ("perceiver", {"sentence_transformers", "openai", "av", "airflow"}),
    ],
)
def test_a_model_in_the_worker_loads_its_own_library_only(
    small_models: SmallModels, name: str, never: set[str], tmp_path: Path
) -> None:
    loaded = loaded_by(LOAD_MODEL, small_models.settings(name).model_dump_json(), str(tmp_path))
    assert "torch" in loaded
    assert loaded & never == set()


def test_a_lane_that_points_at_an_endpoint_is_known_by_its_settings_alone(tmp_path: Path) -> None:
    settings = {"kind": "openai", "id": "m", "weights": "remote", "base_url": "http://127.0.0.1:1/v1"}
    document = json.dumps({**settings, "dimension": DIMENSION, "max_tokens": 64})
    assert loaded_by(LOAD_MODEL, document, str(tmp_path)) == {"openai"}
