"""Chunks of many objects into batches, and vectors back to their objects."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from include.embedding_etl.content_stream import ChunkReady, ContentEnded, Event, ObjectFailed
from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.types import Chunk, ObjectRecord, Vectors
from include.embedding_etl.vector_assembly import ObjectEmbedded, VectorAssembly


class LengthEmbedder:
    """Encodes each text's number, so that a mixed-up vector is seen. Refuses texts that say so."""

    dimension = 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        self.batches.append(len(chunks))
        if any("refuse" in chunk.text for chunk in chunks):
            raise PoisonObject("", "embed", "Refused", "the model refuses it")
        angles = np.array([float("nan") if "nan" in c.text else int(c.text.split()[0]) / 1000 for c in chunks])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def record(name: str) -> ObjectRecord:
    return ObjectRecord(f"{name}.txt", "v", 1, 0, "text/plain", name)


def events(objects: dict[str, list[str]]) -> Iterator[Event]:
    for name, texts in objects.items():
        for ordinal, text in enumerate(texts):
            yield ChunkReady(name, Chunk(ordinal, ordinal, ordinal + 1, text))
        yield ContentEnded(record(name))


def assemble(objects: dict[str, list[str]], batch_size: int = 4) -> tuple[dict[str, object], VectorAssembly]:
    assembly = VectorAssembly(LengthEmbedder(), batch_size)
    outcomes = list(assembly.outcomes(events(objects)))
    assert len(outcomes) == len(objects)
    return {outcome.record.key[:-4]: outcome for outcome in outcomes}, assembly  # type: ignore[union-attr]


def test_every_vector_comes_back_to_its_own_chunk() -> None:
    objects = {f"o{n}": [f"{n * 10 + i} {'x' * ((n * 7 + i * 3) % 40)}" for i in range(n % 4 + 1)] for n in range(60)}
    outcomes, assembly = assemble(objects)
    for name, texts in objects.items():
        outcome = outcomes[name]
        assert isinstance(outcome, ObjectEmbedded)
        assert [chunk.text for chunk in outcome.embedding.chunks] == texts
        numbers = np.arctan2(outcome.embedding.vectors[:, 1], outcome.embedding.vectors[:, 0]) * 1000
        assert [round(float(number)) for number in numbers] == [int(text.split()[0]) for text in texts]
    assert assembly.embedded_chunks == sum(map(len, objects.values()))


def test_chunks_of_different_objects_share_batches() -> None:
    _, assembly = assemble({f"o{n}": [f"{n} text"] for n in range(64)}, batch_size=16)
    assert assembly.model_calls == 4


@pytest.mark.parametrize(("text", "error_class"), [("3 refuse", "Refused"), ("3 nan", "BadVector")])
def test_one_bad_chunk_fails_its_object_only(text: str, error_class: str) -> None:
    outcomes, _ = assemble({"a": ["1 x"], "bad": ["2 fine", text], "c": ["4 x", "5 y"]}, batch_size=8)
    failed = outcomes["bad"]
    assert isinstance(failed, ObjectFailed)
    assert failed.error.error_class == error_class
    assert isinstance(outcomes["a"], ObjectEmbedded)
    assert isinstance(outcomes["c"], ObjectEmbedded)


def test_an_object_that_fails_half_way_leaves_nothing_behind() -> None:
    def stream() -> Iterator[Event]:
        yield ChunkReady("bad", Chunk(0, 0, 1, "1 x"))
        yield ObjectFailed(record("bad"), PoisonObject("bad.txt", "extract", "Truncated", "cut off"))
        yield from events({"good": ["2 x"]})

    embedder = LengthEmbedder()
    outcomes = list(VectorAssembly(embedder, 4).outcomes(stream()))
    assert [type(outcome) for outcome in outcomes] == [ObjectFailed, ObjectEmbedded]
    assert sum(embedder.batches) == 1


def test_an_object_without_chunks_is_a_failure_not_a_silent_success() -> None:
    outcomes, _ = assemble({"empty": []})
    failed = outcomes["empty"]
    assert isinstance(failed, ObjectFailed)
    assert failed.error.error_class == "NothingToEmbed"
