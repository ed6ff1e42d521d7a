"""Where a local model runs, in which number format, and what every answer goes through."""

import os
from typing import TYPE_CHECKING

import numpy as np

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.threads import limit_torch
from include.embedding_etl.types import ModelInfo, Vectors

if TYPE_CHECKING:
    import torch

_MIN_NORM = 1e-12


def choose_device(device: str | None) -> "torch.device":
    """The device that was asked for; None = a GPU when there is one. Also keeps torch to the task's share of cores."""
    import torch

    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        limit_torch(int(threads))
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def number_format(info: ModelInfo) -> "torch.dtype":
    """The torch type of the model's precision."""
    import torch

    return torch.bfloat16 if info.precision == "bf16" else torch.float32


def unit_vectors(answer: "torch.Tensor", info: ModelInfo) -> Vectors:
    """Bring a model's answer to unit L2 norm, in float32.

    Args:
        answer: Shape (n, dimension), any float type, on any device.
        info: Whose answer it is.
    Raises:
        IntegrityError: it has another shape, or a row is not finite or has no direction.
    """
    vectors: Vectors = answer.detach().float().cpu().numpy()
    return normalise(vectors, info)


def normalise(vectors: Vectors, info: ModelInfo) -> Vectors:
    """As `unit_vectors`, for arrays."""
    if vectors.ndim != 2 or vectors.shape[1] != info.dimension:
        raise IntegrityError(
            f"model {info.model_id} gave vectors of shape {vectors.shape}, expected (n, {info.dimension})"
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < _MIN_NORM).any():
        raise IntegrityError(f"model {info.model_id} gave a vector that is not finite or has no direction")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit
