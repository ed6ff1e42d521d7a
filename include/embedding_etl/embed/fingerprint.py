"""The fingerprint: one hash over everything that changes a vector, and over nothing else."""

import hashlib
import json
from dataclasses import asdict

from include.embedding_etl.types import ChunkSettings, ModelInfo

# Raise a number when its code starts to give other values for the same input: every lane then needs a reindex, and
# vectors already stored are not reused. A fix that only turns a failure into a result does not need it.
EXTRACTOR_VERSION = 1  # include/embedding_etl/extract: text, pixels, samples or frames of the same object
CHUNKER_VERSION = 1  # include/embedding_etl/chunking.py: where chunks begin and end
EMBEDDER_VERSION = 1  # include/embedding_etl/embed: preprocessing, pooling, normalisation

_NORMALISATION = "l2"


def fingerprint(info: ModelInfo, chunk: ChunkSettings) -> str:
    """Hash what decides the vectors of a lane.

    Where the weights lie, the batch size, the origin and the licence do not: the same model on another machine has the
    same fingerprint.

    Args:
        info: The resolved model.
        chunk: The lane's chunk settings.
    Returns:
        64 hexadecimal digits.
    """
    model_input = asdict(info.input)
    del model_input["tokenizer_path"]
    decides = {
        "model_id": info.model_id,
        "revision": info.revision,
        "weights_hash": info.weights_hash,
        "dimension": info.dimension,
        "pooling": info.pooling,
        "normalisation": _NORMALISATION,
        "precision": info.precision,
        "input": model_input,
        "chunk": asdict(chunk),
        "versions": [EXTRACTOR_VERSION, CHUNKER_VERSION, EMBEDDER_VERSION],
    }
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
