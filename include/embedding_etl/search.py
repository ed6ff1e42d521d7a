"""Search one lane by a sentence, a picture, a sound or a film, with the same model that embedded the lane."""

import mimetypes
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.errors import ConfigError, PoisonObject
from include.embedding_etl.lane_collection import LaneCollection, find_live
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.media_types import modality, sniff_stream
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Chunk, Hit, Modality, ModelInfo

FIELDS = ("object_key", "media_type", "ordinal", "start", "end", "text", "size_bytes", "last_modified", "meta")


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a sentence, or a local file."""

    text: str = ""
    file: Path | None = None
    filter_expression: str = ""
    top: int = 10
    file_name: str = ""  # what people call the file, where that is not its path


def search(
    runtime: Runtime,
    lane: str,
    query: Query,
    load: Callable[[ModelSettings, ModelInfo], Embedder] = load_embedder,
    decoders: DecoderPool | None = None,
) -> list[Hit]:
    """Nearest rows through the lane's alias.

    Args:
        runtime: Of the pipeline.
        lane: With a live collection.
        query: What to look for.
        load: Loads the lane's model; a server that answers many searches keeps them.
        decoders: Decode the query's file; None = a process of its own.
    Raises:
        ConfigError: the lane has no collection yet, or its model cannot read this kind of query.
    """
    live = _live(runtime, lane)
    chunk = _text_chunk(live, query.text) if query.file is None else _file_chunk(runtime, live, query, decoders)
    vector = load(live.settings.model, live.info).embed([chunk])
    params = live.settings.index.search
    return runtime.store.search(live.alias, vector, query.top, query.filter_expression, FIELDS, params=params)[0]


def lanes_that_read(runtime: Runtime, wanted: Modality) -> list[str]:
    """Lanes whose model can read a query of this kind, those made for nothing else first."""
    lanes = [
        (len(live.info.input.modalities), lane)
        for lane in runtime.pipeline.lanes
        if (live := find_live(runtime, lane)) is not None and wanted in live.info.input.modalities
    ]
    return [lane for _, lane in sorted(lanes)]


def query_modality(file: Path, name: str = "") -> Modality:
    """What kind of query a local file is.

    Args:
        file: On this machine.
        name: What people call it; "" = its path.
    Raises:
        ConfigError: there is no such file, or nothing here can read it.
    """
    name = name or str(file)
    try:
        with file.open("rb") as body:
            media_type = sniff_stream(body, file.name)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    found = modality(media_type)
    if found is None:
        guess = mimetypes.guess_type(file.name)[0] or "unknown"
        raise ConfigError(
            f"{name}: is {media_type} (its name says {guess}); allowed are texts, pictures, sounds and films"
        )
    return found


def _live(runtime: Runtime, lane: str) -> LaneCollection:
    if lane not in runtime.pipeline.lanes:
        known = ", ".join(runtime.pipeline.lanes)
        raise ConfigError(f"pipeline {runtime.pipeline.name} has no lane {lane!r}; it has: {known}")
    live = find_live(runtime, lane)
    if live is None:
        raise ConfigError(f"lane {lane} has nothing indexed yet; run `etl run {runtime.pipeline.name}` first")
    return live


def _text_chunk(live: LaneCollection, text: str) -> Chunk:
    _require(live, "text")
    if not text.strip():
        raise ConfigError("the query is empty; write a sentence")
    return Chunk(0, 0, len(text), text)


def _file_chunk(runtime: Runtime, live: LaneCollection, query: Query, decoders: DecoderPool | None) -> Chunk:
    """The first chunk of the file: the first page, the picture, the first window of sound, the first span of film."""
    assert query.file is not None  # noqa: S101 - a query without a file is a sentence
    file, name = query.file, query.file_name or str(query.file)
    _require(live, query_modality(file, name))
    with ExitStack() as opened:
        body = opened.enter_context(file.open("rb"))
        media_type = sniff_stream(body, file.name)
        decoders = decoders or opened.enter_context(DecoderPool(1))
        chunks = decoders.decode(
            file.name, body, media_type, live.info.input, live.settings.chunk, runtime.pipeline.limits
        )
        try:
            return next(iter(chunks))
        except PoisonObject as error:
            raise ConfigError(f"{name}: {error.message}") from error


def _require(live: LaneCollection, wanted: Modality) -> None:
    if wanted not in live.info.input.modalities:
        allowed = " or ".join(live.info.input.modalities)
        raise ConfigError(f"lane {live.lane} is searched by {allowed}, not by {wanted}; choose another lane")
