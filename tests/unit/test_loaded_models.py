"""Models that stay loaded between searches."""

import threading
from typing import Any

import numpy as np
import pytest

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.status.loaded_models import LoadedModels
from include.embedding_etl.types import Chunk, ModelInfo, ModelInput


class CountingEmbedder:
    """Notes how many threads are inside at once."""

    dimension = 2

    def __init__(self) -> None:
        self.inside = self.most_inside = 0

    def embed(self, chunks: Any) -> Any:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        threading.Event().wait(0.02)
        self.inside -= 1
        return np.ones((len(chunks), 2), np.float32)


def settings(name: str) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "clip", "id": name, "weights": "path"})


def info(weights_hash: str = "h") -> ModelInfo:
    return ModelInfo("m", "r", "", weights_hash, 2, "mean", "fp32", True, "", "", ModelInput(("text",)))


def make(most: int = 2) -> tuple[LoadedModels, list[str], list[CountingEmbedder]]:
    loads: list[str] = []
    embedders: list[CountingEmbedder] = []

    def load(wanted: ModelSettings, _: ModelInfo) -> CountingEmbedder:
        loads.append(wanted.id)
        embedders.append(CountingEmbedder())
        threading.Event().wait(0.02)
        return embedders[-1]

    return LoadedModels(most, load), loads, embedders


def test_a_model_is_loaded_once_and_the_least_used_one_goes() -> None:
    models, loads, _ = make(most=2)
    for name in ("a", "a", "b", "a", "c", "a", "b"):
        models.get(settings(name), info())
    assert loads == ["a", "b", "c", "b"]


def test_other_weights_are_another_model() -> None:
    models, loads, _ = make()
    first, second = models.get(settings("a"), info("h1")), models.get(settings("a"), info("h2"))
    assert (first is second, loads) == (False, ["a", "a"])


def test_many_threads_load_it_once_and_ask_it_one_after_the_other() -> None:
    models, loads, embedders = make()

    def ask() -> None:
        models.get(settings("a"), info()).embed([Chunk(0, 0, 1, "x")])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (loads, embedders[0].most_inside) == (["a"], 1)


def test_a_model_that_cannot_be_loaded_is_tried_again() -> None:
    outcomes: list[Exception | None] = [ConfigError("no such weights"), None]

    def load(_: ModelSettings, __: ModelInfo) -> CountingEmbedder:
        if outcome := outcomes.pop(0):
            raise outcome
        return CountingEmbedder()

    models = LoadedModels(2, load)
    with pytest.raises(ConfigError, match="no such weights"):
        models.get(settings("a"), info())
    assert models.get(settings("a"), info()).dimension == 2
