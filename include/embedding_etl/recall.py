"""How well a collection's index finds what an exact search finds: recall@10, over stored vectors as queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.types import Hit, Vectors

NEIGHBOURS = 10
_TIES = 32  # equal objects have equal vectors: which of them an index returns is nobody's fault
_EPSILON = 1e-5


@dataclass(slots=True)
class ExactSearch:
    """The nearest rows of some queries, from one pass over all vectors. Memory: the queries, and one page.

    The first rows of a pass become the queries: ids are hashes, so these are a uniform sample.
    """

    sample: int
    rows: int = 0
    off_norm: int = 0  # rows whose vector is not of unit norm
    ids: list[str] = field(default_factory=list)  # of the queries
    keys: list[str] = field(default_factory=list)  # object keys of the queries
    _queries: list[Vectors] = field(default_factory=list)
    _waiting: list[tuple[list[str], Vectors]] = field(default_factory=list)
    _best_ids: NDArray[np.str_] | None = None
    _best_scores: Vectors | None = None

    def see_page(self, page: Sequence[Mapping[str, Any]]) -> None:
        """Take one page of rows with `id`, `object_key` and `vector`."""
        if not page:
            return
        vectors = np.asarray([row["vector"] for row in page], np.float32)
        self.rows += len(page)
        norms = np.linalg.norm(vectors, axis=1)
        self.off_norm += int((~np.isfinite(norms) | (np.abs(norms - 1.0) > 1e-3)).sum())
        wanted = max(0, self.sample - len(self.ids))
        self.ids += [str(row["id"]) for row in page[:wanted]]
        self.keys += [str(row["object_key"]) for row in page[:wanted]]
        self._queries += list(vectors[:wanted])
        self._waiting.append(([str(row["id"]) for row in page], vectors))
        if len(self.ids) == self.sample:
            self._work_off()

    @property
    def queries(self) -> Vectors:
        """Shape (n, dimension)."""
        return np.stack(self._queries) if self._queries else np.empty((0, 0), np.float32)

    def recall(self, found: Sequence[Sequence[Hit]], metric: str) -> float:
        """The share of the nearest rows that were found; a query's own row does not count.

        Args:
            found: For each query NEIGHBOURS + 1 hits of the index.
            metric: COSINE, IP or L2: what a hit's score means.
        Returns:
            1.0 where there is nothing to find.
        """
        self._work_off()
        wanted = min(NEIGHBOURS, self.rows - 1)
        if wanted <= 0 or self._best_ids is None or self._best_scores is None:
            return 1.0
        hits_of_all = 0
        for number, hits in enumerate(found):
            least = float(self._best_scores[number, wanted - 1])
            near = self._best_scores[number] >= least - _EPSILON
            exact = set(self._best_ids[number][near].tolist())
            others = [hit for hit in hits if hit.id != self.ids[number]][:wanted]
            hits_of_all += sum(hit.id in exact or _similarity(hit, metric) >= least - _EPSILON for hit in others)
        return hits_of_all / (wanted * len(found)) if found else 1.0

    def _work_off(self) -> None:
        """Compare what has come with all queries."""
        waiting, self._waiting = self._waiting, []
        if not self.ids:
            return
        queries = self.queries
        own = np.asarray(self.ids)
        for ids, vectors in waiting:
            names = np.asarray(ids)
            scores = queries @ vectors.T
            scores[own[:, None] == names[None, :]] = -np.inf
            candidates = np.broadcast_to(names, scores.shape)
            if self._best_ids is not None and self._best_scores is not None:
                scores = np.concatenate([self._best_scores, scores], axis=1)
                candidates = np.concatenate([self._best_ids, candidates], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, : NEIGHBOURS + _TIES]
            self._best_scores = np.take_along_axis(scores, order, axis=1)
            self._best_ids = np.take_along_axis(candidates, order, axis=1)


def _similarity(hit: Hit, metric: str) -> float:
    """The cosine of two unit vectors, whatever the index calls their nearness."""
    return 1.0 - hit.score / 2.0 if metric == "L2" else hit.score
