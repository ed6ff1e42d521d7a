"""What a model alone takes: [a lane's model, texts] as JSON on stdin, seconds on stdout."""

import json
import sys
import time

from include.embedding_etl.batching import batched
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.places import Places
from include.embedding_etl.threads import limit_threads
from include.embedding_etl.types import Chunk


def main() -> None:
    model, texts = json.load(sys.stdin)
    places, settings = Places(_env_file=None), ModelSettings(**model)
    limit_threads(places)
    embedder = load_embedder(settings, resolve_model(settings, places.models_dir))
    # As a task does: longest first, so that little is padded.
    chunks = [Chunk(0, 0, len(text), text) for text in sorted(texts, key=len, reverse=True)]
    embedder.embed(chunks[:1])  # the first call costs more
    began = time.perf_counter()
    for batch in batched(chunks, settings.batch_size):
        embedder.embed(list(batch))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
