"""embed: turn one shard's objects into vectors in the embedding store. Milvus is not touched."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from include.embedding_etl.content_stream import (
    ContentStream,
    DecodeSettings,
    ObjectFailed,
    ObjectReused,
    ObjectUnavailable,
    SameContent,
)
from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.diff import CHANGED_MEANWHILE
from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import calls_at_once, load_embedder
from include.embedding_etl.embed_output import EmbedOutput
from include.embedding_etl.errors import ChangedMeanwhile, IntegrityError, TransientError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_collection import LaneCollection, open_collection
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.ledger.records import VectorFile
from include.embedding_etl.run_files import RunFiles, parse_shard
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.shard_files import EmbeddedObject, read_lease, read_work
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.threads import task_threads
from include.embedding_etl.types import Chunk, ObjectRecord, Vectors
from include.embedding_etl.vector_assembly import ObjectEmbedded, VectorAssembly
from include.embedding_etl.wording import counted

DECODERS = 2


def embed(runtime: Runtime, run_id: str, reference: str, last_try: bool = True) -> Figures:
    """Embed what the embedding store does not have, and write down where every object's vectors are.

    Args:
        reference: The shard, as route named it.
        last_try: No retry will follow: objects that could not be read are left to the next run instead of failing this
            task. The report says so and the run is red.
    Raises:
        TransientError: some objects could not be read now; what was embedded is kept, a retry goes on from there.
        IntegrityError: the collection was retired since route cut the shard.
    """
    lane, number = parse_shard(reference)
    files = RunFiles(runtime.pipeline.name, run_id)
    lease = read_lease(runtime.state, files.shard(reference))
    collection = open_collection(runtime, lease.collection)
    if collection.state == "retired":
        raise IntegrityError(f"lane {lane}: {collection.name} was retired meanwhile; start a new run")
    with stage(runtime, run_id, "embed", lane, number) as figures, ExitStack() as opened:
        opened.enter_context(Heartbeat(runtime.ledger, lease))
        output = opened.enter_context(EmbedOutput(runtime, collection, lease, run_id, reference, figures))
        unavailable = _embed_objects(runtime, collection, files.shard(reference), output, figures)
        if unavailable and not last_try:
            raise TransientError(
                f"lane {lane}: {counted(len(unavailable), 'object')} could not be read now; "
                f"the first is {unavailable[0]}"
            )
        figures["unavailable"] = len(unavailable)
    return figures


def _embed_objects(
    runtime: Runtime, collection: LaneCollection, path: str, output: EmbedOutput, figures: Figures
) -> list[str]:
    """Drive the stream of contents through the model. Returns what could not be read, one line each."""
    unavailable: list[str] = []
    waiting: list[ObjectRecord] = []
    with ExitStack() as opened:
        embedder = _LazyEmbedder(
            lambda: load_embedder(collection.settings.model, collection.info), collection.info.dimension
        )
        model = collection.settings.model
        assembly = VectorAssembly(embedder, model.batch_size, calls_at_once(model))
        decoders = opened.enter_context(DecoderPool(min(DECODERS, task_threads(runtime.places))))
        settings = DecodeSettings(collection.info.input, collection.settings.chunk, runtime.pipeline.limits)

        def known(content_hashes: Sequence[str]) -> Mapping[str, VectorFile]:
            return runtime.ledger.vectors.known(collection.fingerprint, content_hashes) if content_hashes else {}

        stream = opened.enter_context(
            ContentStream(runtime.source, decoders, settings, known, read_work(runtime.state, path))
        )
        output.on_stored = stream.stored
        for outcome in assembly.outcomes(stream):
            figures.model_s = assembly.model_s
            figures["model_calls"], figures["chunks"] = assembly.model_calls, assembly.embedded_chunks
            match outcome:
                case ObjectEmbedded(record, embedding):
                    output.add_embedded(record, embedding)
                case ObjectReused(record, file):
                    output.add_stored(EmbeddedObject(record, file.uri, file.rows))
                case SameContent(record):
                    waiting.append(record)
                case ObjectFailed(record, error):
                    output.add_failed(record, error)
                case ObjectUnavailable(record, ChangedMeanwhile()):
                    _defer(runtime, record)
                    figures["deferred"] += 1
                case ObjectUnavailable(record, error):
                    unavailable.append(f"{record.key!r}: {error}")
        figures.model_s = assembly.model_s
        figures["model_calls"], figures["chunks"] = assembly.model_calls, assembly.embedded_chunks
        output.flush()
        output.add_waiting(waiting)
    return unavailable


def _defer(runtime: Runtime, record: ObjectRecord) -> None:
    """Make the next run look at it again; rows of its former version stay."""
    with durable_write("objects"):
        runtime.ledger.objects.put(
            runtime.pipeline.name, [replace(record, etag="", content_hash="", skip_reason=CHANGED_MEANWHILE)]
        )


class _LazyEmbedder:
    """Loads the model at the first batch: a shard whose vectors are all in the store never pays for it."""

    def __init__(self, load: Callable[[], Embedder], dimension: int) -> None:
        self.dimension = dimension
        self._load = load
        self._loaded: Embedder | None = None
        self._loading = threading.Lock()

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """As the loaded model does."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
        return self._loaded.embed(chunks)
