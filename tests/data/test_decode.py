"""Every format and mode ends as the right 8-bit pixels."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import encode, noise
from PIL import Image, ImageOps

from tacit.data.decode import Plan, PlanMismatch, Undecodable, decode, peek

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # damaged metadata
RGB, GREY = Plan(3, 16), Plan(1, 16)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_are_exact(kind: str) -> None:
    image = noise()
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(encode(image, kind, **options), RGB)
    np.testing.assert_array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encode(noise(), "JPEG")
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(data, RGB), expected)


def test_grey_stays_grey_or_is_repeated() -> None:
    image = noise(mode="L")
    data = encode(image)
    assert peek(data).grey
    np.testing.assert_array_equal(decode(data, GREY)[0], np.asarray(image))
    np.testing.assert_array_equal(decode(data, RGB), np.asarray(image)[None].repeat(3, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_scaled_by_its_full_range(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    values[0, :3] = 0, 65535, 257
    data = encode(Image.fromarray(values), kind)
    assert peek(data).grey
    np.testing.assert_array_equal(decode(data, GREY)[0], np.rint(values / 257))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_is_scaled_by_its_own_range(dtype: type) -> None:
    values = np.linspace(-5, 1000, 256).reshape(16, 16).astype(dtype)
    pixels = decode(encode(Image.fromarray(values), "TIFF"), GREY)[0]
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all()
    constant = Image.fromarray(np.full((16, 16), 7, dtype))
    assert not decode(encode(constant, "TIFF"), GREY).any()


def test_float_nan_is_refused() -> None:
    with pytest.raises(Undecodable, match="NaN"):
        decode(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), GREY)


def test_transparency_is_composited_on_white() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:8, :, 3] = 255
    pixels[8:12, :, 3] = 51
    result = decode(encode(Image.fromarray(pixels, "RGBA")), RGB)
    assert result[:, 0, 0].tolist() == [200, 0, 0]
    assert result[:, 15, 0].tolist() == [255, 255, 255]
    # 20 % of the colour over 80 % of white
    np.testing.assert_allclose(result[:, 9, 0], [244, 204, 204], atol=1)


def test_grey_with_alpha() -> None:
    pixels = np.zeros((16, 16, 2), np.uint8)
    pixels[:8, :, 1] = 255
    data = encode(Image.fromarray(pixels, "LA"))
    assert peek(data).grey
    assert decode(data, GREY)[0, [0, 15], 0].tolist() == [0, 255]


def test_palette() -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30, 255, 255, 255])
    assert decode(encode(image), RGB)[:, 3, 3].tolist() == [10, 20, 30]
    assert not peek(encode(image)).grey
    transparent = decode(encode(image, transparency=1), RGB)
    assert transparent[:, 3, 3].tolist() == [255, 255, 255]
    image.putpalette([0, 0, 0, 90, 90, 90])
    assert peek(encode(image)).grey


def test_cmyk() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = decode(encode(image, "TIFF"), RGB)[:, 5, 5]
    assert red[0] > 200
    assert red[1:].max() < 60
    assert decode(encode(image, "JPEG"), RGB)[0].min() > 200


def test_bilevel() -> None:
    image = Image.new("1", (16, 16), 1)
    assert (decode(encode(image), GREY) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(data, RGB)[:, 8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    image = noise(size=(16, 16)).resize((16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(image, kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(decode(data, RGB), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (48, 48)])
def test_is_resize_of_the_shorter_side_then_centre_crop(size: tuple[int, int]) -> None:
    image = noise(size=size)
    side = min(size)
    scaled = image.resize([round(n * 8 / side) for n in size], Image.Resampling.BICUBIC)
    left, top = (n // 2 - 4 for n in scaled.size)
    expected = np.asarray(scaled.crop((left, top, left + 8, top + 8))).transpose(2, 0, 1)
    difference = decode(encode(image), Plan(3, 8)).astype(int) - expected
    assert abs(difference).max() <= 1


def test_resampling_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32)))
    result = decode(encode(stripes), Plan(1, 8)).astype(int)
    assert abs(result - 127).max() < 20


def test_draft_mode_changes_little() -> None:
    ramp = np.linspace(0, 255, 512)[None].repeat(512, 0).astype(np.uint8)
    data, exact = (encode(Image.fromarray(ramp), kind) for kind in ("JPEG", "PNG"))
    difference = decode(data, Plan(1, 16)).astype(int) - decode(exact, Plan(1, 16))
    assert abs(difference).max() <= 3


def test_extreme_aspect_stays_small() -> None:
    assert decode(encode(Image.new("L", (20000, 1))), Plan(1, 64)).shape == (1, 64, 64)


def test_wrong_extension_does_not_matter_but_wrong_format_does() -> None:
    with pytest.raises(Undecodable, match="supported format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", RGB)
    with pytest.raises(Undecodable, match="empty file"):
        decode(b"", RGB)


def bomb(side: int) -> bytes:
    """A PNG that claims side x side pixels in under a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused(side: int) -> None:
    for function in (peek, lambda data: decode(data, GREY)):
        with pytest.raises(Undecodable, match="bomb"):
            function(bomb(side))


def test_provisional_plans_notice_contradictions() -> None:
    with pytest.raises(PlanMismatch):
        decode(encode(noise(size=(9, 9))), Plan(3, 16, native=True, provisional=True))
    with pytest.raises(PlanMismatch):
        decode(encode(noise()), Plan(1, 16, provisional=True))
    decode(encode(noise(mode="L")), Plan(1, 16, native=True, provisional=True))


SAMPLES = {
    kind: encode(noise(1, (24, 20)), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_damaged_images_never_crash(kind: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[kind])
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 8), "flips")):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for function in (peek, lambda content: decode(content, RGB)):
        with contextlib.suppress(Undecodable):
            function(bytes(content))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([b"", *(content[:12] for content in SAMPLES.values())]),
    st.binary(max_size=400),
)
def test_random_bytes_never_crash(prefix: bytes, rest: bytes) -> None:
    with contextlib.suppress(Undecodable):
        assert decode(prefix + rest, RGB).shape == (3, 16, 16)
