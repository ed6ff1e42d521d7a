"""Pipeline files: what is wrong is said with file, key and what is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import LaneSettings
from include.embedding_etl.pipeline_files import find_pipeline, load_pipeline, pipeline_files
from include.embedding_etl.places import Places

GOOD = {
    "name": "docs",
    "source": {"uri": "s3://bucket/prefix"},
    "lanes": {"text": {"accepts": ["text/*"], "model": {"kind": "sentence-transformers", "id": "m"}}},
}


def write(directory: Path, change: object = None, name: str = "docs") -> Path:
    document = yaml.safe_load(yaml.safe_dump(GOOD))
    if callable(change):
        change(document)
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def index(**keys: object) -> Callable[[dict[str, Any]], None]:
    """Changes the index of the lane."""
    return lambda document: document["lanes"]["text"].update(index=keys)


def test_a_minimal_file_is_enough(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path))
    assert pipeline.alias("text") == "docs_text"
    assert pipeline.lanes["text"].index.type == "HNSW"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(lane=1), ["lane", "unknown key", "Did you mean 'lanes'", "thresholds"]),
        (lambda d: d["source"].update(conection_id="x"), ["source.conection_id", "Did you mean 'connection_id'"]),
        (lambda d: d["lanes"]["text"].update(chunk={"max_token": 1}), ["lanes.text.chunk.max_token", "max_tokens"]),
        (lambda d: d.update(limits={"max_pixel": 1}), ["limits.max_pixel", "max_pixels"]),
        (lambda d: d.update(limits={"max_pixels": 0}), ["limits.max_pixels", "greater than 0"]),
        (lambda d: d["source"].update(uri="ftp://x"), ["source.uri", "s3://bucket/prefix"]),
        (lambda d: d["lanes"]["text"]["model"].update(kind="bert"), ["lanes.text.model.kind", "'clip'", "'whisper'"]),
        (lambda d: d["lanes"]["text"].update(accepts=["txt"]), ["lanes.text.accepts", "media type"]),
        (lambda d: d["lanes"]["text"].update(index={"type": "DISKANN"}), ["lanes.text.index.type", "'HNSW'"]),
        (index(type="IVF_FLAT", params={"M": 8}), ["index.params: IVF_FLAT: 'M' is unknown; allowed are: nlist"]),
        (index(params={"nlist": 8}), ["index.params: HNSW: 'nlist' is unknown; allowed are: M, efConstruction"]),
        (index(type="FLAT", params={"nlist": 8}), ["index.params: FLAT: 'nlist' is unknown; allowed are: none"]),
        (index(params={"M": "many"}), ["index.params: HNSW: M has to be a whole number, 1 or more, not 'many'"]),
        (index(search={"nprobe": 8}), ["index.search: HNSW: 'nprobe' is unknown; allowed are: ef"]),
        (index(search={"M": 16, "efConstruction": 200}), ["index.search: HNSW: 'M' is unknown; allowed are: ef"]),
        (index(type="IVF_SQ8", search={"ef": 8}), ["index.search: IVF_SQ8: 'ef' is unknown; allowed are: nprobe"]),
        (index(type="AUTOINDEX", search={"ef": 8}), ["index.search: AUTOINDEX: 'ef' is unknown; allowed are: none"]),
        (index(search={"ef": 0}), ["index.search: HNSW: ef has to be a whole number, 1 or more, not 0"]),
        (lambda d: d.pop("source"), ["source", "is required"]),
        (lambda d: d.update(name="Docs!"), ["name"]),
        (lambda d: d["lanes"].update(text_en=d["lanes"]["text"]), ["lanes.text_en", "[a-z][a-z0-9]{0,39}"]),
        (lambda d: d.update(name="other"), ["name", "must equal the file's name"]),
        (lambda d: d["lanes"]["text"]["model"].update(trust_remote_code=True), ["trust_remote_code", "unknown key"]),
    ],
)
def test_a_typo_is_named_with_file_key_and_what_is_allowed(tmp_path: Path, change: object, words: list[str]) -> None:
    path = write(tmp_path, change)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "params", "search"),
    [
        ({}, {"M": 16, "efConstruction": 200}, {}),
        ({"params": {"M": 8}, "search": {"ef": 64}}, {"M": 8}, {"ef": 64}),
        ({"type": "IVF_FLAT", "params": {"nlist": 9}, "search": {"nprobe": 3}}, {"nlist": 9}, {"nprobe": 3}),
        ({"type": "FLAT", "params": {}, "search": {}}, {}, {}),
        ({"type": "FLAT"}, {"M": 16, "efConstruction": 200}, {}),
    ],
)
def test_an_index_is_read_and_is_the_same_after_it_was_recorded(
    tmp_path: Path, keys: dict[str, object], params: dict[str, object], search: dict[str, object]
) -> None:
    read = load_pipeline(write(tmp_path, index(**keys))).lanes["text"]
    assert (read.index.params, read.index.search) == (params, search)
    assert LaneSettings.model_validate(read.model_dump(mode="json")) == read


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, lambda d: (d.update(a=1), d.update(b=2)))
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("content", ["a: [", "- just\n- a list", "", "\x00"])
def test_what_is_not_a_mapping_of_yaml_is_a_config_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "docs.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=str(path)):
        load_pipeline(path)


@pytest.mark.parametrize("name", ["missing", "../docs", "docs.yaml"])
def test_an_unknown_pipeline_lists_those_that_exist(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match="there are: docs"):
        find_pipeline(tmp_path, name)


def test_yaml_files_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path, name="b")
    write(tmp_path, name="a")
    (tmp_path / "notes.txt").write_text("no")
    assert [file.stem for file in pipeline_files(tmp_path)] == ["a", "b"]


def test_secrets_do_not_show_when_places_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    monkeypatch.setenv("ETL_LEDGER_URL", "postgresql://u:very-secret-value@h/d")
    places = Places()
    assert places.aws_secret_access_key is not None
    assert places.aws_secret_access_key.get_secret_value() == "very-secret-value"
    assert "very-secret-value" not in repr(places)


def test_the_shipped_pipelines_are_valid() -> None:
    assert {load_pipeline(file).name for file in pipeline_files(Places().pipelines_dir)} >= {"demo", "media"}
