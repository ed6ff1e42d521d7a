from dataclasses import replace

import pytest

from include.embedding_etl.embed import fingerprint as module
from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.types import ChunkSettings, ModelInfo, ModelInput

INFO = ModelInfo(
    model_id="m",
    revision="r",
    weights_path="/here/model",
    weights_hash="aa",
    dimension=4,
    pooling="mean",
    precision="fp32",
    pretrained=True,
    origin="PyPI m 1.0",
    licence="MIT",
    input=ModelInput(("text",), tokenizer_path="/here/tokenizer.json", max_tokens=254),
)
CHUNK = ChunkSettings()


def test_it_is_the_same_in_every_process_and_on_every_machine() -> None:
    assert fingerprint(INFO, CHUNK) == "0ecf23aaba9be38cfab856352d77645132e8236bebf1ff738e871b32c966b29d"


@pytest.mark.parametrize(
    "changed",
    [
        {"model_id": "n"},
        {"revision": "s"},
        {"weights_hash": "ab"},
        {"dimension": 5},
        {"pooling": "cls"},
        {"precision": "bf16"},
        {"input": replace(INFO.input, max_tokens=100)},
        {"input": replace(INFO.input, modalities=("text", "image"))},
        {"input": replace(INFO.input, sample_rate_hz=8_000)},
        {"input": replace(INFO.input, clip_samples=1)},
    ],
    ids=str,
)
def test_pain_08_whatever_changes_a_vector_changes_the_fingerprint(changed: dict) -> None:
    assert fingerprint(replace(INFO, **changed), CHUNK) != fingerprint(INFO, CHUNK)


@pytest.mark.parametrize(
    "chunk",
    [ChunkSettings(max_tokens=9), ChunkSettings(overlap_tokens=1), ChunkSettings(hop_ms=5), ChunkSettings(span_ms=900)],
    ids=str,
)
def test_pain_08_every_chunk_setting_changes_the_fingerprint(chunk: ChunkSettings) -> None:
    assert fingerprint(INFO, chunk) != fingerprint(INFO, CHUNK)


@pytest.mark.parametrize("version", ["EXTRACTOR_VERSION", "CHUNKER_VERSION", "EMBEDDER_VERSION"])
def test_pain_08_new_code_changes_the_fingerprint(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(INFO, CHUNK)
    monkeypatch.setattr(module, version, getattr(module, version) + 1)
    assert fingerprint(INFO, CHUNK) != before


@pytest.mark.parametrize(
    "changed",
    [
        {"weights_path": "/there/model"},
        {"origin": "hub m"},
        {"licence": "Apache-2.0"},
        {"pretrained": False},
        {"input": replace(INFO.input, tokenizer_path="/there/tokenizer.json")},
    ],
    ids=str,
)
def test_what_does_not_change_a_vector_does_not_change_the_fingerprint(changed: dict) -> None:
    assert fingerprint(replace(INFO, **changed), CHUNK) == fingerprint(INFO, CHUNK)
