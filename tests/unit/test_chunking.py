"""Text is cut to fit the model's window by the model's own tokenizer, and nothing of it is lost."""

import itertools
import random
import re
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from include.embedding_etl.chunking import MAX_CHUNK_BYTES, chunk
from include.embedding_etl.errors import ConfigError, PoisonObject
from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput, Segment


@pytest.fixture
def model_input(tokenizer_path: str) -> ModelInput:
    return ModelInput(("text",), tokenizer_path=tokenizer_path, max_tokens=62)


@pytest.fixture
def tokenizer(tokenizer_path: str) -> Tokenizer:
    loaded = Tokenizer.from_file(tokenizer_path)
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def cut(
    text: str, model_input: ModelInput, settings: ChunkSettings | None = None, limits: Limits | None = None
) -> list[Chunk]:
    segment = Segment(0, len(text), text=text)
    return list(chunk("a key", [segment], model_input, settings or ChunkSettings(overlap_tokens=8), limits or Limits()))


def write_text(sentences: int, seed: int = 3) -> str:
    draw = random.Random(seed)
    words = ["the", "night", "lighthouse", "of", "ships", "sextant", "and", "Käse", "12,5", "e-mail", "(sic)"]
    lines = (
        " ".join(draw.choices(words, k=draw.randint(3, 25))) + draw.choice([". ", ".\n", ".\n\n"])
        for _ in range(sentences)
    )
    return "".join(lines)


def test_pain_28_no_chunk_is_longer_than_the_model_reads_though_the_tokenizer_file_truncates(
    model_input: ModelInput, tokenizer: Tokenizer
) -> None:
    chunks = cut(write_text(2_000), model_input)
    counts = [len(tokenizer.encode(each.text, add_special_tokens=False).ids) for each in chunks]
    assert max(counts) <= 62
    assert np.mean(counts) > 40  # and the window is used
    assert len(chunks) > 200


@pytest.mark.parametrize(
    "text",
    [
        "".join(random.Random(1).choices(string.ascii_letters, k=30_000)),
        "漢字" * 6_000,
        "!" * 10_000,
        "😀" * 5_000,
        "word " * 20_000,
        "\n" * 5_000 + "end",
        "a" * 90 + " " + "ships\n\n" * 3_000,
    ],
    ids=["one word", "chinese", "marks", "emoji", "words", "blank lines", "short lines"],
)
def test_pain_28_every_character_of_any_text_is_in_some_chunk_that_fits(
    text: str, model_input: ModelInput, tokenizer: Tokenizer
) -> None:
    covered = 0
    for each in cut(text, model_input, ChunkSettings(overlap_tokens=0)):
        assert text[each.start : each.end] == each.text
        assert len(tokenizer.encode(each.text, add_special_tokens=False).ids) <= 62
        assert text[covered : each.start].strip() == ""
        covered = max(covered, each.end)
    assert text[covered:].strip() == ""


def test_offsets_are_absolute_over_all_segments_and_ordinals_count_on(model_input: ModelInput) -> None:
    pages = [write_text(40, seed) for seed in range(3)]
    whole = "\n\n".join(pages)
    segments, start = [], 0
    for page in pages:
        segments.append(Segment(start, start + len(page), text=page))
        start += len(page) + 2
    chunks = list(chunk("a key", segments, model_input, ChunkSettings(overlap_tokens=8), Limits()))
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))
    assert all(whole[each.start : each.end] == each.text for each in chunks)
    assert {segment.start for segment in segments} <= {each.start for each in chunks}


def test_neighbours_overlap_when_asked_also_where_blocks_meet(model_input: ModelInput) -> None:
    text = " ".join(f"w{number}" for number in range(3_000))
    overlapping = cut(text, model_input, ChunkSettings(overlap_tokens=16))
    apart = cut(text, model_input, ChunkSettings(overlap_tokens=0))
    pairs = list(itertools.pairwise(overlapping))
    assert len(text) > 5 * 2_000  # several blocks
    assert all(following.start < former.end for former, following in pairs)
    assert all(former.end <= following.start for former, following in itertools.pairwise(apart))


def test_a_block_border_does_not_cut_a_word(model_input: ModelInput) -> None:
    text = " ".join(f"number{number}" for number in range(3_000))
    assert all(re.fullmatch(r"number\d+( number\d+)*", each.text) for each in cut(text, model_input))
    assert {word for each in cut(text, model_input) for word in each.text.split()} == set(text.split())


def test_the_smaller_of_the_two_limits_counts(model_input: ModelInput, tokenizer: Tokenizer) -> None:
    def longest(settings: ChunkSettings) -> int:
        chunks = cut(write_text(200), model_input, settings)
        return max(len(tokenizer.encode(each.text, add_special_tokens=False).ids) for each in chunks)

    assert longest(ChunkSettings(max_tokens=20)) <= 20
    assert 20 < longest(ChunkSettings(max_tokens=500)) <= 62


def test_a_large_overlap_is_capped_rather_than_refused(model_input: ModelInput) -> None:
    chunks = cut(write_text(100), model_input, ChunkSettings(max_tokens=20, overlap_tokens=500))
    assert chunks[-1].end > 1_000


def test_without_a_tokenizer_a_byte_counts_as_a_token() -> None:
    chunks = cut(write_text(100), ModelInput(("text",), max_tokens=200))
    assert max(len(each.text.encode()) for each in chunks) <= 200
    with pytest.raises(ConfigError, match="max_tokens"):
        cut("text", ModelInput(("text",)))


def test_a_chunk_fits_a_milvus_text_field_however_few_tokens_it_has(tokenizer_path: str) -> None:
    text = "x" * 150_000 + " " + "y" * 150_000  # a word of more than 100 characters is one unknown token
    chunks = cut(text, ModelInput(("text",), tokenizer_path=tokenizer_path, max_tokens=8_000))
    assert max(len(each.text.encode()) for each in chunks) <= MAX_CHUNK_BYTES
    assert sum(len(each.text) for each in chunks) >= 300_000


def test_pictures_sound_and_film_are_chunks_already(model_input: ModelInput) -> None:
    picture = Segment(0, 0, pixels=np.ones((2, 2, 3), np.uint8))
    film = Segment(5, 9, frames=np.ones((2, 2, 2, 3), np.uint8), samples=np.ones(4, np.float32))
    first, second = chunk("a key", [picture, film], model_input, ChunkSettings(), Limits())
    assert first.pixels is picture.pixels
    assert (second.ordinal, second.start, second.end) == (1, 5, 9)
    assert second.frames is film.frames
    assert second.samples is film.samples


def test_nothing_to_embed_is_an_error_and_not_an_empty_success(model_input: ModelInput) -> None:
    for segments in ([], [Segment(0, 3, text=" \n ")]):
        with pytest.raises(PoisonObject) as caught:
            list(chunk("a key", segments, model_input, ChunkSettings(), Limits()))
        assert (caught.value.key, caught.value.stage) == ("a key", "chunk")
        assert caught.value.error_class == "NothingToEmbed"


def test_more_chunks_than_allowed_are_refused(model_input: ModelInput) -> None:
    text = write_text(200)
    count = len(cut(text, model_input))
    assert len(cut(text, model_input, limits=Limits(max_chunks=count))) == count
    with pytest.raises(PoisonObject) as caught:
        cut(text, model_input, limits=Limits(max_chunks=count - 1))
    assert caught.value.error_class == "TooManyChunks"


def test_an_unreadable_tokenizer_is_a_configuration_error(model_input: ModelInput, tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    for path in (broken, tmp_path / "missing.json"):
        with pytest.raises(ConfigError, match=path.name):
            cut("text", replace(model_input, tokenizer_path=str(path)))
