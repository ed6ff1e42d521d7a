"""Pictures -> one segment of 8-bit RGB, upright, as small as the model allows.

Of an animation or a stack of pages the first one.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from include.embedding_etl.extract.cut_off import is_cut_off
from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.types import Segment

# Only what the type table knows: Pillow has some forty more parsers, some of which start other programs.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "HEIF")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_CUT_OFF = ("truncated", "broken data stream", "end of file", "unexpected eof", "not enough data", "buffer overrun")


def extract(opened: OpenObject) -> Iterator[Segment]:
    """Yield the picture as one segment.

    Raises:
        PoisonObject: UnidentifiedImage, TooManyPixels (judged by the header), TruncatedImage, CorruptImage.
    """
    pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with _open(opened) as image:
            pixels = _decode(image, opened.model_input.image_size)
    except (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error) as error:
        raise opened.poison(*_explain(error, opened.body)) from error
    yield Segment(0, 0, pixels=pixels)


def _open(opened: OpenObject) -> Image.Image:
    """Read the header and judge the size by it."""
    # Pillow's own guard is a constant of 179 million; ours may be higher or lower, and is the one people can set.
    Image.MAX_IMAGE_PIXELS = opened.limits.max_pixels
    try:
        image = Image.open(opened.body, formats=_FORMATS)
        pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = opened.limits.max_pixels + 1
    if pixels > opened.limits.max_pixels:
        raise opened.poison(
            "TooManyPixels", f"more pixels than limits.max_pixels ({opened.limits.max_pixels:,}) allows"
        )
    return image


def _explain(error: Exception, body: BinaryIO) -> tuple[str, str]:
    """Error class and message. Pillow has no classes for the difference that people need: broken, or half there."""
    reason = str(error).lower()
    if isinstance(error, EOFError) or any(words in reason for words in _CUT_OFF) or is_cut_off(body):
        return "TruncatedImage", "the file is cut off; upload it again"
    if isinstance(error, UnidentifiedImageError):
        return "UnidentifiedImage", "not a picture, or damaged at its start"
    return "CorruptImage", f"cannot be decoded: {error}"


def _decode(image: Image.Image, image_size: int) -> NDArray[np.uint8]:
    if image_size:
        # JPEG only: decodes an eighth, a quarter or a half of the picture, 2.6 times faster.
        image.draft(image.mode, (image_size, image_size))
    image.load()
    upright = _to_rgb(ImageOps.exif_transpose(image))
    factor = min(upright.size) // image_size if image_size else 1
    if factor > 1:
        upright = upright.reduce(factor)
    return np.array(upright, dtype=np.uint8, order="C")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        image = _to_8_bit(image)
    if image.mode in ("CMYK", "LAB"):
        return _through_profile(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits; `convert` would clip everything above 255 to white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65_535:
        scaled = values / 257 if high > 255 or image.mode != "I" else values
    elif low >= 0 and high <= 1:
        scaled = values * 255
    else:  # any other range has no agreed meaning: show all of it
        scaled = (values - low) * (255 / ((high - low) or 1))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _through_profile(image: Image.Image) -> Image.Image:
    """Printing colours by the embedded profile where there is a usable one, else by the plain formula."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
