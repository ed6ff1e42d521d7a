"""The two small models that the repository carries are as good as their cards say, on drawings they never saw."""

import json
import random
import re

import numpy as np
import pytest

from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.embed.weights import DEMO_MODELS
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk
from include.local_stack.drawings import Clip, Scene, draw_clip, draw_scene, scene_of
from scripts.demo_models.captions import paraphrase, vocabulary
from scripts.demo_models.clips import FRAMES, shrink
from scripts.demo_models.evaluation import measure_clips, measure_pictures

SETTINGS = {
    "clip": ModelSettings(kind="clip", id="clip-drawings", weights="repository", precision="fp32"),
    "perceiver": ModelSettings(kind="perceiver", id="perceiver-drawings", weights="repository", precision="fp32"),
}
MAX_BYTES = 6_000_000


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    def load_kind(kind):
        settings = SETTINGS[kind]
        return load_embedder(settings, resolve_model(settings, tmp_path_factory.mktemp("models")), "cpu")

    return load_kind


@pytest.fixture(scope="module")
def clip(load):
    return load("clip")


@pytest.fixture(scope="module")
def perceiver(load):
    return load("perceiver")


def stated(name):
    """The figures of a model card."""
    rows = re.findall(r"^\| ([^|]+) \| ([0-9.]+) \|", (DEMO_MODELS / name / "README.md").read_text(), re.MULTILINE)
    return {figure: float(value) for figure, value in rows}


def in_a_clip(clip, sound=None):
    return Chunk(0, 0, 0, frames=shrink(draw_clip(clip, 64, FRAMES)[0]), samples=sound)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_demo_model_is_small_and_says_that_it_is_not_pretrained(kind, tmp_path):
    info = resolve_model(SETTINGS[kind], tmp_path)
    directory = DEMO_MODELS / SETTINGS[kind].id
    assert (info.dimension, info.pretrained, info.licence) == (128, False, "Apache-2.0")
    assert (directory / "model.safetensors").stat().st_size < MAX_BYTES
    card = (directory / "README.md").read_text(encoding="utf-8")
    assert "Demo only" in card
    assert "Does not know" in card


def test_the_card_of_the_picture_model_holds_on_drawings_it_never_saw(clip):
    card, measured = stated("clip-drawings"), measure_pictures(clip, limit=100)
    assert measured["scenes"] == 100
    assert measured["recall@1"] >= card["recall@1"] - 0.05  # among fewer scenes than the card's: easier, if anything
    for figure in ("shape", "colour", "size", "place", "background"):
        assert measured[figure] >= card[figure] - 0.08, figure


def test_the_card_of_the_film_model_holds_on_clips_it_never_saw(perceiver):
    card, measured = stated("perceiver-drawings"), measure_clips(perceiver, limit=100)
    assert measured["clips"] == 100
    for figure in ("same motion first", "motion", "shape", "colour"):
        assert measured[figure] >= card[figure] - 0.1, figure


def test_a_sentence_finds_the_drawing_it_describes_and_not_its_neighbours(clip):
    scenes = [
        Scene(shape, colour, "large", "in the center", "white", variant=9_000_000)
        for shape in ("circle", "star", "moon", "heart")
        for colour in ("red", "blue", "yellow")
    ]
    pictures = clip.embed([Chunk(0, 0, 0, pixels=draw_scene(scene, 200)[0]) for scene in scenes])
    asked = clip.embed([Chunk(0, 0, 0, text=f"a {scene.colour} {scene.shape}") for scene in scenes])
    found = (asked @ pictures.T).argmax(axis=1)
    assert np.mean(found == np.arange(len(scenes))) >= 0.75


def test_capital_letters_and_unknown_words_do_not_lead_astray(clip):
    plain, shouted = clip.embed([Chunk(0, 0, 0, text=text) for text in ("a red star", "A RED Star")])
    assert np.allclose(plain, shouted)
    assert plain @ clip.embed([Chunk(0, 0, 0, text="a splendid red star")])[0] > 0.8


def test_the_tokenizer_knows_the_vocabulary_and_marks_both_ends():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DEMO_MODELS / "clip-drawings" / "tokenizer.json"))
    assert [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())] == vocabulary()
    assert tokenizer.encode("a red star").tokens == ["[BOS]", "a", "red", "star", "[EOS]"]
    text = json.loads((DEMO_MODELS / "clip-drawings" / "config.json").read_text())["text_config"]
    assert text["eos_token_id"] == tokenizer.token_to_id("[EOS]") != 2  # transformers pools elsewhere for id 2


def test_every_word_of_the_training_captions_is_in_the_vocabulary():
    rng = random.Random(1)
    words = {word for seed in range(2_000) for word in paraphrase(scene_of(seed), rng).text.split()}
    assert words <= set(vocabulary())
    assert len(words) > 80


def test_sound_does_not_move_the_vector_of_a_film(perceiver):
    clip = Clip("star", "red", "moving right", "white", variant=9_000_000)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 4_096).astype(np.float32)
    silent, loud, other = perceiver.embed(
        [in_a_clip(clip), in_a_clip(clip, noise), in_a_clip(Clip("star", "red", "growing", "white"))]
    )
    assert silent @ loud > 0.95
    assert silent @ loud > silent @ other
