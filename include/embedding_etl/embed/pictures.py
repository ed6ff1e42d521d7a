"""Pixels as the networks want them: resized, cropped, normalised. On the CPU, with Pillow."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.embed.pretrained import loading
from include.embedding_etl.types import Chunk, ModelInfo

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
Prepare = Callable[[Sequence[Pixels]], "torch.Tensor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_RESIZED = 256  # px, shorter side
_CROP = 224  # px


def pixels_of(chunks: Sequence[Chunk]) -> list[Pixels]:
    """The pictures of a batch.

    Raises:
        TypeError: a chunk carries none; routing and extraction make sure that this cannot happen.
    """
    pictures = [chunk.pixels for chunk in chunks if chunk.pixels is not None]
    if len(pictures) != len(chunks):
        raise TypeError("a chunk without pixels came to a model of pictures")
    return pictures


def load_image_processor(info: ModelInfo) -> Prepare:
    """The preprocessing that the model's preprocessor_config.json describes.

    Raises:
        ConfigError: it cannot be read.
    """
    from transformers import AutoImageProcessor

    with loading(info):
        # Pillow's resizing, whether torchvision is installed or not: the same vectors on every machine.
        processor = AutoImageProcessor.from_pretrained(
            info.weights_path, local_files_only=True, trust_remote_code=False, backend="pil"
        )

    def prepare(pictures: Sequence[Pixels]) -> "torch.Tensor":
        batch = processor(list(pictures), return_tensors="pt", input_data_format="channels_last")
        tensor: torch.Tensor = batch["pixel_values"]
        return tensor

    return prepare


def prepare_imagenet(
    pictures: Sequence[Pixels], mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> "torch.Tensor":
    """The preprocessing of ImageNet classifiers: shorter side to 256, centre 224 × 224, normalised.

    Returns:
        Shape (n, 3, 224, 224), float32, channels last in memory.
    """
    import torch

    batch = np.stack([_crop(picture) for picture in pictures]).astype(np.float32)
    scaled = (torch.from_numpy(batch) / 255 - torch.tensor(mean)) / torch.tensor(std)
    return scaled.permute(0, 3, 1, 2)


def _crop(pixels: Pixels) -> Pixels:
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = _RESIZED / min(height, width)
    size = (max(_CROP, round(width * scale)), max(_CROP, round(height * scale)))
    left, top = (size[0] - _CROP) // 2, (size[1] - _CROP) // 2
    # Only the part that stays is computed: a panorama of 100,000 columns costs no more than a square.
    box = (left / scale, top / scale, (left + _CROP) / scale, (top + _CROP) / scale)
    box = (box[0], box[1], min(box[2], width), min(box[3], height))
    return np.asarray(Image.fromarray(pixels).resize((_CROP, _CROP), Image.Resampling.BICUBIC, box=box))
