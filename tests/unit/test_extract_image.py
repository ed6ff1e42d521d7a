"""Pictures become upright 8-bit RGB of the right colours; broken ones are refused by name."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from include.embedding_etl.types import Limits, ModelInput
from tests.fixtures_media import (
    Pixels,
    encode_picture,
    extract_all,
    make_animation,
    make_cmyk_profile,
    make_noise,
    make_picture,
    make_png_bomb,
    make_quarters,
    make_rotated_jpeg,
    opened,
    refusal,
)

IMAGE = ModelInput(("image",))


def decode(data: bytes, image_size: int = 0) -> Pixels:
    (segment,) = extract_all(opened(data, "image/png", ModelInput(("image",), image_size=image_size)))
    assert segment.pixels is not None
    assert segment.pixels.dtype == np.uint8
    assert segment.pixels.flags["C_CONTIGUOUS"]
    assert (segment.start, segment.end, segment.text) == (0, 0, "")
    return segment.pixels


def assert_quarters(pixels: Pixels, tolerance: int = 12) -> None:
    expected = make_quarters()
    assert pixels.shape == expected.shape
    for y in (8, 40):
        for x in (8, 56):
            assert np.abs(pixels[y, x].astype(int) - expected[y, x]).max() <= tolerance, (y, x)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "HEIF"])
def test_every_format_is_decoded(picture_format: str) -> None:
    assert_quarters(decode(make_picture(picture_format)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(orientation: int) -> None:
    assert_quarters(decode(make_rotated_jpeg(orientation)))


def test_palette_and_bilevel_pictures_keep_their_colours() -> None:
    assert_quarters(decode(encode_picture(Image.fromarray(make_quarters()).quantize(16), "PNG")))
    assert decode(encode_picture(Image.new("1", (8, 8), 1), "PNG")).mean() == 255


def test_transparent_parts_become_white() -> None:
    half = np.zeros((16, 16, 4), np.uint8)
    half[:, 8:] = (200, 0, 0, 255)
    pixels = decode(encode_picture(Image.fromarray(half), "PNG"))
    assert pixels[4, 2].tolist() == [255, 255, 255]
    assert pixels[4, 12].tolist() == [200, 0, 0]
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decode(encode_picture(palette, "PNG", transparency=0)).min() == 255
    grey = Image.fromarray(np.array([[[0, 0], [0, 255]]], np.uint8), "LA")
    assert decode(encode_picture(grey, "PNG"))[0].tolist() == [[255, 255, 255], [0, 0, 0]]


def test_sixteen_bits_are_scaled_and_never_clipped() -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16)[None].repeat(8, 0)
    for picture_format in ("PNG", "TIFF"):
        pixels = decode(encode_picture(Image.fromarray(ramp), picture_format))
        assert np.abs(pixels[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1


def test_dark_sixteen_bit_pictures_stay_dark() -> None:
    assert decode(encode_picture(Image.fromarray(np.full((8, 8), 200, np.uint16)), "PNG")).max() == 1


def test_float_pictures_are_scaled() -> None:
    ramp = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert decode(encode_picture(Image.fromarray(ramp), "TIFF"))[0, :, 0].tolist() == pytest.approx(
        [0, 127.5, 255], abs=0.5
    )
    wild = np.array([[-100.0, 100.0, 300.0]], np.float32)
    assert decode(encode_picture(Image.fromarray(wild), "TIFF"))[0, :, 0].tolist() == pytest.approx(
        [0, 127.5, 255], abs=0.5
    )


def test_cmyk_colours_are_right() -> None:
    def colour(cmyk: tuple[int, int, int, int]) -> list[int]:
        return [int(value) for value in decode(encode_picture(Image.new("CMYK", (16, 16), cmyk), "JPEG"))[8, 8]]

    assert colour((0, 255, 255, 0)) == pytest.approx([255, 0, 0], abs=6)
    assert colour((0, 0, 0, 255)) == pytest.approx([0, 0, 0], abs=6)
    assert colour((0, 0, 0, 0)) == pytest.approx([255, 255, 255], abs=6)


def test_cmyk_colours_follow_the_embedded_profile() -> None:
    green = make_cmyk_profile((224, 48, 208))
    data = encode_picture(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", icc_profile=green)
    red, greenness, blue = (int(value) for value in decode(data)[8, 8])
    assert greenness > 200
    assert max(red, blue) < 120


def test_a_cmyk_picture_with_an_unusable_profile_is_still_shown() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # for RGB: cannot be applied to CMYK
    for embedded in (profile, b"no profile at all"):
        data = encode_picture(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", icc_profile=embedded)
        assert decode(data)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=6)


@pytest.mark.parametrize("picture_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(picture_format: str) -> None:
    assert_quarters(decode(make_animation(picture_format)), tolerance=40)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(("width", "height"), [(1000, 800), (801, 1203), (460, 2000), (225, 225), (100, 300)])
def test_large_pictures_shrink_while_the_shorter_side_stays_long_enough(
    picture_format: str, width: int, height: int
) -> None:
    pixels = decode(make_picture(picture_format, make_quarters(width, height)), image_size=224)
    shorter = min(pixels.shape[:2])
    assert min(width, height, 224) <= shorter < 448
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.02)
    assert pixels[2, 2].tolist() == pytest.approx([220, 30, 30], abs=12)
    assert pixels[-3, -3].tolist() == pytest.approx([230, 220, 20], abs=12)


def test_jpeg_is_decoded_at_a_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def record(self: JpegImageFile) -> object:
        sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", record)
    decode(make_picture("JPEG", make_quarters(2_000, 1_600)), image_size=200)
    assert sizes[0] == (250, 200)


# ---- hostile


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "HEIF"])
def test_pain_21_a_truncated_picture_is_refused_by_name(picture_format: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = make_picture(picture_format, noise)
    assert refusal(opened(data[: len(data) * 2 // 3], "image/jpeg", IMAGE)) == "TruncatedImage"


def test_pain_21_a_300_megapixel_bomb_is_refused_by_its_header() -> None:
    bomb = make_png_bomb()
    assert len(bomb) < 1 << 20
    assert refusal(opened(bomb, "image/png", IMAGE)) == "TooManyPixels"


def test_the_pixel_limit_is_the_configured_one() -> None:
    data = make_picture("PNG", make_quarters(100, 100))
    assert refusal(opened(data, "image/png", IMAGE, limits=Limits(max_pixels=9_999))) == "TooManyPixels"
    assert extract_all(opened(data, "image/png", IMAGE, limits=Limits(max_pixels=10_000)))


def test_noise_and_text_are_no_pictures() -> None:
    assert refusal(opened(make_noise(5_000), "image/jpeg", IMAGE)) == "UnidentifiedImage"
    assert refusal(opened(b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/jpeg", IMAGE)) == "UnidentifiedImage"


def test_formats_beyond_the_table_are_not_parsed() -> None:
    out = io.BytesIO()
    Image.fromarray(make_quarters()).save(out, "TGA")
    assert refusal(opened(out.getvalue(), "image/x-tga", IMAGE)) == "UnidentifiedImage"


def test_a_jpeg_with_zeroed_bytes_still_has_its_shape() -> None:
    data = bytearray(make_picture("JPEG", np.random.default_rng(1).integers(0, 255, (200, 300, 3), dtype=np.uint8)))
    data[5_000:5_200] = bytes(200)
    assert decode(bytes(data)).shape == (200, 300, 3)


def test_a_lane_that_reads_no_pictures_refuses_them() -> None:
    assert refusal(opened(make_picture("PNG"), "image/png", ModelInput(("text",)))) == "UnsupportedMediaType"
    assert refusal(opened(b"MZ", "application/x-executable", ModelInput(("text",)))) == "UnsupportedMediaType"
