"""Load an architecture of transformers from local files: safetensors only, no code of others, no network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.types import ModelInfo


def load_pretrained(model_class: Any, info: ModelInfo, not_needed: str = "", **options: Any) -> Any:
    """A model of `model_class` with all its weights, ready to run, in fp32 on the CPU.

    Args:
        model_class: A class of transformers.
        info: The resolved model.
        not_needed: Beginning of the names of weights that may be missing, since no vector depends on them.
        options: For its from_pretrained.
    Raises:
        ConfigError: the files cannot be loaded, or lack some of the weights.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    with loading(info):
        model, notes = model_class.from_pretrained(
            info.weights_path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    # What is missing would be filled with random numbers.
    missing = [name for name in notes["missing_keys"] if not (not_needed and name.startswith(not_needed))]
    if wrong := sorted([*missing, *map(str, notes["mismatched_keys"])]):
        raise ConfigError(f"{info.weights_path}: has no fitting weights for {wrong[0]} and {len(wrong) - 1} more")
    return model.eval()


@contextmanager
def loading(info: ModelInfo) -> Iterator[None]:
    """Translate what goes wrong while files of a model are read."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigError(f"{info.weights_path}: cannot be loaded as {info.model_id}: {error}") from error
