"""What embedding will cost, judged by the lane's recent runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from include.embedding_etl.batching import batched
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import ObjectRecord

RECENT_RUNS = 20
BYTES_PER_NUMBER = 4  # float32
_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of some objects of one lane."""

    objects: int = 0
    reusable: int = 0  # objects whose vectors the embedding store has
    bytes_to_read: int = 0  # of the others
    rows: int | None = None  # None = the lane has no run to judge by
    model_s: float | None = None  # at the speed of recent runs, whose model may be another one
    vector_bytes: int | None = None  # what Milvus will hold, without its index


@dataclass(frozen=True, slots=True)
class LaneRates:
    """What recent runs of a lane have shown; None where none embedded anything."""

    chunks_per_object: float | None
    model_s_per_chunk: float | None


def lane_rates(runtime: Runtime, lane: str) -> LaneRates:
    """Averages over the lane's recent runs."""
    objects = chunks = 0
    model_s = 0.0
    for run in runtime.ledger.runs.last(runtime.pipeline.name, RECENT_RUNS):
        for totals in run.totals():
            if totals.stage == "embed" and totals.lane == lane:
                objects += totals.counts.get("embedded", 0)
                chunks += totals.counts.get("chunks", 0)
                model_s += totals.model_s
    return LaneRates(chunks / objects if objects else None, model_s / chunks if chunks else None)


def estimate(
    runtime: Runtime, lane: str, fingerprint: str, dimension: int, records: Iterable[ObjectRecord]
) -> Estimate:
    """Judge what it takes to have rows of these objects, in flat memory.

    Args:
        lane: Whose speed.
        fingerprint: Vectors of it that are stored already cost nothing.
        dimension: Of one vector.
        records: The objects.
    """
    objects = reusable = known_rows = bytes_to_read = 0
    for batch in batched(records, _BATCH):
        hashes = [record.content_hash for record in batch if record.content_hash]
        known = runtime.ledger.vectors.known(fingerprint, hashes)
        objects += len(batch)
        reusable += sum(record.content_hash in known for record in batch)
        known_rows += sum(known[record.content_hash].rows for record in batch if record.content_hash in known)
        bytes_to_read += sum(record.size_bytes for record in batch if record.content_hash not in known)
    rates, missing = lane_rates(runtime, lane), objects - reusable
    if missing and rates.chunks_per_object is None:
        return Estimate(objects, reusable, bytes_to_read)
    chunks = round(missing * (rates.chunks_per_object or 0))
    rows = known_rows + chunks
    model_s = 0.0 if not chunks else None if rates.model_s_per_chunk is None else chunks * rates.model_s_per_chunk
    return Estimate(
        objects,
        reusable,
        bytes_to_read,
        rows,
        None if model_s is None else round(model_s, 1),
        rows * dimension * BYTES_PER_NUMBER,
    )
