"""Old checkpoints exist only as pickles. They become safetensors once, while they are pulled, and never run code."""

from pathlib import Path

from include.embedding_etl.errors import ConfigError

PICKLE = "pytorch_model.bin"


def convert_pickle(directory: Path) -> None:
    """Replace pytorch_model.bin by model.safetensors with the same tensors.

    Raises:
        ConfigError: the file holds anything but tensors.
    """
    import pickle  # for the class of its error only

    import torch
    from safetensors.torch import save_file

    pickled, target = directory / PICKLE, directory / "model.safetensors"
    try:
        # weights_only: an unpickler that knows tensors and containers and refuses everything else.
        loaded: dict[str, torch.Tensor] = torch.load(pickled, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigError(f"{pickled}: does not hold weights alone, so it is not loaded: {error}") from error
    partial = target.with_suffix(".partial")
    # Tied weights share memory, which safetensors does not know: each gets its own.
    save_file({name: value.clone().contiguous() for name, value in loaded.items()}, partial, {"format": "pt"})
    partial.replace(target)
    pickled.unlink()
