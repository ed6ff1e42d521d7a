"""A lane's vectors in two dimensions: the two directions in which a sample of them differs most."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import JsonValue

MAX_POINTS = 5_000
MAPS_KEPT = 16
FIELDS = ("vector", "object_key", "media_type", "ordinal")


@dataclass(frozen=True, slots=True)
class Point:
    """One row of the collection."""

    x: float
    y: float
    key: str
    media_type: str
    ordinal: int

    @property
    def prefix(self) -> str:
        """The first folder of its key; "/" where it is in none."""
        return self.key.partition("/")[0] + "/" if "/" in self.key else "/"


@dataclass(frozen=True, slots=True)
class VectorMap:
    """A sample of a collection's rows."""

    collection: str
    rows: int  # that the collection has, by the ledger
    shown_variance: float  # share of all differences that two dimensions can show
    points: tuple[Point, ...]


class Maps:
    """Maps of this process, until their collection changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[tuple[int, int, int], VectorMap]] = OrderedDict()

    def of_lane(self, runtime: Runtime, lane: str) -> VectorMap | None:
        """The map of the lane's live collection; None where nothing is indexed.

        Raises:
            TransientError: Milvus does not answer.
        """
        live = runtime.ledger.collections.live(runtime.pipeline.name, lane)
        if live is None:
            return None
        stamp = runtime.ledger.entries.stamp(live.name)
        with self._lock:  # somebody who waits for the same map finds it made
            kept = self._kept.get(live.name)
            if kept is None or kept[0] != stamp:
                kept = stamp, draw_map(runtime, live.name, rows=stamp[1])
                self._kept[live.name] = kept
            self._kept.move_to_end(live.name)
            while len(self._kept) > MAPS_KEPT:
                self._kept.popitem(last=False)
        return kept[1]


def draw_map(runtime: Runtime, collection: str, rows: int) -> VectorMap:
    """Read a sample and project it. Ids are hashes: the first ones in their order are a fair sample."""
    sample: list[dict[str, JsonValue]] = []
    for page in runtime.store.iterate(collection, FIELDS):
        sample += page[: MAX_POINTS - len(sample)]
        if len(sample) == MAX_POINTS:
            break
    vectors = np.asarray([row.pop("vector") for row in sample], np.float32)
    places, shown = project(vectors)
    points = tuple(
        Point(float(x), float(y), str(row["object_key"]), str(row["media_type"]), int(str(row["ordinal"])))
        for (x, y), row in zip(places, sample, strict=True)
    )
    return VectorMap(collection, rows, shown, points)


def project(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """The first two principal components.

    Args:
        vectors: Shape (n, dimension); n may be 0.
    Returns:
        Shape (n, 2), and the share of the variance that they show.
    Source:
        Pearson 1901; eigenvectors of the covariance matrix. Signs are set so that the same rows give the same map.
    """
    if len(vectors) == 0:
        return np.zeros((0, 2)), 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    first = directions[:, ::-1][:, :2]
    first = first * np.where(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])] < 0, -1.0, 1.0)
    places = np.zeros((len(vectors), 2))
    places[:, : first.shape[1]] = centred @ first
    total = float(variances.clip(min=0).sum())
    return places, float(variances[::-1][:2].clip(min=0).sum() / total) if total > 1e-12 else 0.0


def group_names(values: Sequence[str], most: int) -> list[str]:
    """The most frequent values, the most frequent first; what is not among them is "other"."""
    counted: dict[str, int] = {}
    for value in values:
        counted[value] = counted.get(value, 0) + 1
    return sorted(counted, key=lambda value: (-counted[value], value))[:most]
