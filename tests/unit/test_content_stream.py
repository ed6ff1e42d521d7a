"""What the stream asks of the ledger, and what it reads, for many small objects."""

import hashlib
from pathlib import Path

import pytest

from include.embedding_etl import content_stream
from include.embedding_etl.content_stream import (
    ContentEnded,
    ContentStream,
    DecodeSettings,
    ObjectReused,
    SameContent,
)
from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.ledger.records import VectorFile
from include.embedding_etl.storage.local import LocalSource
from include.embedding_etl.types import ChunkSettings, Limits, ModelInput, ObjectRecord

SETTINGS = DecodeSettings(ModelInput(("text",), max_tokens=64), ChunkSettings(overlap_tokens=0), Limits())


class Store:
    """Which contents have vectors; `asked` is every question."""

    def __init__(self, *texts: str) -> None:
        self.asked: list[list[str]] = []
        self._known = {hashed(text): VectorFile("a.parquet", 1) for text in texts}

    def known(self, content_hashes):
        self.asked.append(list(content_hashes))
        return {each: self._known[each] for each in content_hashes if each in self._known}


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def read(tmp_path: Path):
    """Write texts as objects, and return the stream's events without the chunks, in the order of their keys."""

    def events(texts: list[str], store: Store, identified: bool = True):
        for number, text in enumerate(texts):
            (tmp_path / f"{number:04d}.txt").write_text(text)
        source = LocalSource(tmp_path)
        records = [
            ObjectRecord(
                each.key,
                each.etag,
                each.size_bytes,
                each.last_modified_ms,
                "text/plain",
                hashed(text) if identified else "",
            )
            for each, text in zip(source.list(), texts, strict=True)
        ]
        with (
            DecoderPool(1) as decoders,
            ContentStream(source, decoders, SETTINGS, store.known, iter(records)) as stream,
        ):
            ended = [event for event in stream if hasattr(event, "record")]
        return sorted(ended, key=lambda event: event.record.key)

    return events


def test_contents_that_were_identified_are_looked_up_many_at_a_time(read, monkeypatch):
    monkeypatch.setattr(content_stream, "LOOKUP_OBJECTS", 4)
    store = Store("text 3", "text 8")
    events = read([f"text {number}" for number in range(10)], store)
    assert [len(asked) for asked in store.asked if asked] == [4, 4, 2]
    assert [type(event) for event in events].count(ObjectReused) == 2
    assert [event.record.key for event in events if isinstance(event, ObjectReused)] == ["0003.txt", "0008.txt"]


def test_a_content_that_nobody_had_hashed_is_looked_up_when_it_was_read(read):
    store = Store("text 1")
    first, second = read(["text 0", "text 1"], store, identified=False)
    assert isinstance(first, ContentEnded)
    assert isinstance(second, ObjectReused)
    assert [second.record.content_hash] in store.asked


def test_a_content_is_forgotten_when_it_is_stored_and_nobody_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(content_stream, "LOOKUP_OBJECTS", 2)
    texts = ["one", "the same", "the same", "two"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    source = LocalSource(tmp_path)
    records = [
        ObjectRecord(each.key, each.etag, each.size_bytes, each.last_modified_ms, "text/plain", hashed(text))
        for each, text in zip(source.list(), texts, strict=True)
    ]
    with DecoderPool(1) as decoders:
        stream = ContentStream(source, decoders, SETTINGS, Store().known, iter(records))
        with stream:
            for event in stream:
                if isinstance(event, ContentEnded):
                    stream.stored(event.record.content_hash)
        assert not stream._claimed
        assert not stream._stored


def test_of_many_objects_with_the_same_bytes_one_is_embedded_and_the_others_wait(read):
    events = read(["the same"] * 6, Store())
    assert sorted(type(event).__name__ for event in events) == ["ContentEnded"] + ["SameContent"] * 5
    assert {event.record.content_hash for event in events} == {hashed("the same")}
    assert any(isinstance(event, SameContent) for event in events)
