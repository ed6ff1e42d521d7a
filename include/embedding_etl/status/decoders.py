"""The decoder processes of this server process: started when first needed, shared by previews and uploads."""

from functools import lru_cache

from include.embedding_etl.decoding.process import DecoderPool


@lru_cache(maxsize=1)
def decoders() -> DecoderPool:
    """They end with this process."""
    return DecoderPool(2)
