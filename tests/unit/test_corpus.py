"""The sample corpus: broad enough, hostile enough, the same each time, and honest about what it is."""

import io
from collections import Counter

import pypdfium2
import pytest
from PIL import Image

from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.media_types import sniff_stream
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.places import PROJECT_ROOT
from include.embedding_etl.types import ChunkSettings, Limits, ModelInput
from include.local_stack.configuration import BUCKET
from include.local_stack.corpus.catalogue import corpus_objects
from include.local_stack.corpus.files import write_corpus
from include.local_stack.corpus.pdf import write_encrypted_pdf
from include.local_stack.corpus.sounds import KINDS, draw_sound

OBJECTS = corpus_objects()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory)
    return directory


@pytest.fixture(scope="module")
def decoders():
    with DecoderPool(1) as pool:
        yield pool


def bodies(directory):
    return {item.key: (directory / item.key).read_bytes() for item in OBJECTS if not item.is_marker}


def test_it_has_the_breadth_that_the_demo_promises():
    assert len(OBJECTS) >= 60
    assert len({item.media_type for item in OBJECTS if item.outcome == "ok"}) >= 15
    assert len([item for item in OBJECTS if item.key.startswith("hostile/")]) >= 8
    assert {lane for item in OBJECTS for lane in item.lanes} == {"text", "image", "multimodal", "audio", "video"}


def test_every_way_to_end_is_there():
    outcomes = Counter(item.outcome for item in OBJECTS)
    assert outcomes["dead letter"] >= 6
    assert outcomes["skipped"] >= 2
    assert outcomes["unrouted"] >= 1
    assert all(item.reason for item in OBJECTS if item.outcome in ("dead letter", "skipped"))


def test_keys_are_unique_and_include_the_awkward():
    keys = [item.key for item in OBJECTS]
    assert len(set(keys)) == len(keys)
    for awkward in (" ", "+", "%", "'", '"', "é", "望"):
        assert any(awkward in key for key in keys)


def test_two_runs_are_byte_identical(written, tmp_path):
    write_corpus(tmp_path)
    assert bodies(tmp_path) == bodies(written)


def test_what_is_there_is_not_made_again_and_what_was_lost_is(written):
    kept, lost = (written / OBJECTS[index].key for index in (0, 1))
    before, body = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    write_corpus(written)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == body


def test_a_file_that_somebody_changed_is_made_again(written):
    changed = written / OBJECTS[0].key
    body = changed.read_bytes()
    changed.write_bytes(body + b"!")
    write_corpus(written)
    assert changed.read_bytes() == body


@pytest.mark.parametrize("item", [item for item in OBJECTS if item.outcome != "skipped"], ids=lambda item: item.key)
def test_media_types_are_what_the_table_says(item, written):
    with (written / item.key).open("rb") as body:
        assert sniff_stream(body, item.key) == item.media_type


DEAD = [(item, lane) for item in OBJECTS if item.outcome == "dead letter" for lane in item.lanes]
INPUTS = {
    "text": ModelInput(("text",), max_tokens=254),  # no tokenizer: none of them gets as far as chunks
    "image": ModelInput(("image",), image_size=224),
    "multimodal": ModelInput(("image", "text"), image_size=64),
    "audio": ModelInput(("audio",), sample_rate_hz=16_000, window_ms=30_000),
    "video": ModelInput(("video",), frames=16, frame_size=32),
}


@pytest.mark.parametrize(("item", "lane"), DEAD, ids=lambda value: getattr(value, "key", value))
def test_hostile_objects_are_refused_with_the_class_that_the_table_says(item, lane, written, decoders):
    with (written / item.key).open("rb") as body, pytest.raises(PoisonObject) as refused:
        list(decoders.decode(item.key, body, item.media_type, INPUTS[lane], ChunkSettings(), Limits()))
    assert refused.value.error_class == item.reason


def test_objects_stay_small_enough_for_one_put(written):
    assert max(len(body) for body in bodies(written).values()) < 4 << 20  # above it, an ETag is no MD5 any more


def test_the_bomb_is_small_on_disk_and_huge_decoded(written):
    body = (written / "hostile/bomb.png").read_bytes()
    assert len(body) < 100_000
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(io.BytesIO(body)) as picture:
            assert picture.size == (20_000, 15_000)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def test_the_locked_pdf_opens_with_its_password_alone():
    body = write_encrypted_pdf(["Nobody may read this."], "a secret")
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(body)
    assert (
        pypdfium2.PdfDocument(body, password="a secret")[0].get_textpage().get_text_range() == "Nobody may read this."
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sound_of_another_seed_is_another_sound(kind):
    one, same, other = draw_sound(kind, 1, 1.0), draw_sound(kind, 1, 1.0), draw_sound(kind, 2, 1.0)
    assert (one == same).all()
    assert not (one == other).all()
    assert abs(one).max() == pytest.approx(0.8)


def test_the_demo_pipeline_routes_the_corpus_as_the_table_says():
    from include.embedding_etl.routing import lanes_for

    pipeline = load_pipeline(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml")
    assert pipeline.source.uri.removeprefix("s3://").rstrip("/") == BUCKET
    routed = {item.key: set(lanes_for(item.media_type, pipeline.lanes)) for item in OBJECTS if item.media_type}
    assert routed == {item.key: set(item.lanes) for item in OBJECTS if item.media_type}
