"""Models that stay loaded between searches: loading one takes seconds, asking it a tenth of one."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

MOST = 3  # a full-size one takes a gigabyte or two of the server's memory


class _Shared:
    """An embedder that many threads may ask: one after the other."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._lock = embedder, threading.Lock()
        self.dimension = embedder.dimension

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """As base.Embedder says."""
        with self._lock:
            return self._embedder.embed(chunks)


class LoadedModels:
    """The models that were used last. Safe to use from many threads.

    Args:
        most: How many are kept.
        load: How one is loaded.
    """

    def __init__(self, most: int = MOST, load: Callable[[ModelSettings, ModelInfo], Embedder] = load_embedder) -> None:
        self._most, self._load = most, load
        self._models: OrderedDict[tuple[str, str, str], _Shared] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # one at a time, while those that are loaded go on answering

    def get(self, settings: ModelSettings, info: ModelInfo) -> Embedder:
        """The model, loaded now or before.

        Raises:
            ConfigError: it cannot be loaded.
        """
        key = (settings.model_dump_json(), info.weights_hash, info.precision)
        if found := self._find(key):
            return found
        with self._loading:
            if found := self._find(key):
                return found
            loaded = _Shared(self._load(settings, info))
            with self._lock:
                self._models[key] = loaded
                while len(self._models) > self._most:
                    self._models.popitem(last=False)
        return loaded

    def _find(self, key: tuple[str, str, str]) -> _Shared | None:
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            return self._models.get(key)


MODELS = LoadedModels()
