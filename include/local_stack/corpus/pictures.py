"""Drawn scenes, and two photographs that scikit-learn carries, in every format and oddity that must be understood."""

import io
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageOps

from include.local_stack.drawings import Scene, draw_scene

_OPTIONS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "GIF": {},
    "WEBP": {"quality": 85},
    "AVIF": {"quality": 70, "max_threads": 1},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "HEIF": {"quality": 80},
}


def drawn(scene: Scene, size: int = 256) -> Image.Image:
    """A drawn scene as a picture."""
    return Image.fromarray(draw_scene(scene, size)[0])


@cache
def photograph(name: str) -> Image.Image:
    """One of the photographs of scikit-learn: "china" (a temple) or "flower" (a dahlia).

    Both are CC BY: china.jpg by KittyKaht, flower.jpg by vultilion.
    """
    with (files("sklearn") / "datasets" / "images" / f"{name}.jpg").open("rb") as file, Image.open(file) as picture:
        return picture.convert("RGB")


def encode_picture(picture: Image.Image, picture_format: str) -> bytes:
    """A picture file; the format by Pillow's name."""
    if picture_format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    written = io.BytesIO()
    picture.save(written, picture_format, **_OPTIONS[picture_format])
    return written.getvalue()


def crop(name: str, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """A part of a photograph; the edges as fractions of its sides."""
    picture = photograph(name)
    width, height = picture.size
    return picture.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))


def mirrored(name: str) -> Image.Image:
    """A photograph, left for right."""
    return ImageOps.mirror(photograph(name))


def sideways_jpeg(picture: Image.Image) -> bytes:
    """A JPEG stored on its side, with the EXIF orientation that stands it up again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    written = io.BytesIO()
    picture.rotate(90, expand=True).save(written, "JPEG", quality=90, exif=exif)
    return written.getvalue()


def cmyk_jpeg(picture: Image.Image) -> bytes:
    """A JPEG in the colours of print."""
    return encode_picture(picture.convert("CMYK"), "JPEG")


def palette_png(picture: Image.Image) -> bytes:
    """A PNG of 32 colours, the most frequent of them transparent."""
    written = io.BytesIO()
    paletted = picture.quantize(32, method=Image.Quantize.MEDIANCUT)
    paletted.save(written, "PNG", transparency=int(np.bincount(np.asarray(paletted).ravel()).argmax()))
    return written.getvalue()


def deep_png(picture: Image.Image) -> bytes:
    """A grey PNG of 16 bits a pixel, as scanners and microscopes write it."""
    grey = np.asarray(picture.convert("L"), dtype=np.uint16) * 257
    return encode_picture(Image.fromarray(grey), "PNG")


def animated_gif(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """An animation; what counts is its first frame."""
    first, *others = (Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames)
    written = io.BytesIO()
    first.save(written, "GIF", save_all=True, append_images=others, duration=120, loop=0)
    return written.getvalue()
