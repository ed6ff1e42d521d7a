"""`notify` and `freshness_target_h` of a pipeline file: mistakes are named, secrets are refused and never shown."""

from pathlib import Path

import pytest
import yaml

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.settings import PipelineSettings


def load(directory: Path, **keys: object) -> PipelineSettings:
    lanes = {"text": {"accepts": ["text/*"], "model": {"kind": "sentence-transformers", "id": "m"}}}
    document = {"name": "docs", "source": {"uri": "s3://bucket/prefix"}, "lanes": lanes, **keys}
    path = directory / "docs.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_pipeline(path)


def test_nobody_is_told_unless_the_file_says_so(tmp_path: Path) -> None:
    pipeline = load(tmp_path)
    assert (pipeline.notify.on_failure, pipeline.notify.digest, pipeline.freshness_target_h) == ((), "never", None)


def test_all_kinds_of_destinations(tmp_path: Path) -> None:
    destinations = ["mailto:ops@example.org", "env:SLACK_URL", "variable:team.hook", "connection:team-chat"]
    notify = load(tmp_path, notify={"on_failure": destinations, "digest": "daily"}, freshness_target_h=0.5).notify
    assert list(notify.on_failure) == destinations


@pytest.mark.parametrize(
    "address",
    [
        "slack://s3cret/s3cret/s3cret",
        "https://hooks.slack.com/services/s3cret",
        "jsons://user:s3cret@host/",
        "mailto://user:s3cret@example.org",
        "mailto:a@b.org?pass=s3cret",
        "mailto:user:s3cret@example.org",
        "env:a s3cret",
        "env:",
        "s3cret",
    ],
)
def test_addresses_with_room_for_a_secret_are_refused_and_not_shown(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, notify={"on_failure": ["env:FINE", address]})
    assert "docs.yaml: notify.on_failure: entry 2: allowed are mailto:person@example.org, env:NAME" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"notify": {"on_fail": []}}, "notify.on_fail: unknown key. Did you mean 'on_failure'? Allowed: digest"),
        ({"notify": {"digest": "weekly"}}, "notify.digest: Input should be 'daily' or 'never'"),
        ({"notify": {"digest": "daily"}}, "notify.digest_to: digest is daily, but neither digest_to nor on_failure"),
        ({"notify": {"on_failure": "env:X"}}, "notify.on_failure: Input should be a valid tuple"),
        ({"freshness_target_h": 0}, "freshness_target_h: Input should be greater than 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, keys: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **keys)
    assert words in str(caught.value)
