"""One encoded image (bytes) -> one uint8 array (C, size, size).

Every format ends as 8-bit grey or RGB:

- transparency (RGBA, LA, palette with transparency) is composited on white;
- CMYK, YCbCr and palettes are converted to RGB;
- 16-bit grey is scaled by its full range, ``round(v / 257)``; 32-bit integer and float images
  have no fixed range and are scaled from their own minimum and maximum;
- the EXIF orientation is applied; of an animation the first frame is taken;
- the centre square is resampled to the target size (bicubic, antialiased), which is "shorter
  side to size, then centre crop" without the intermediate image.

Only the formats below are tried: Pillow's other readers (PostScript runs an interpreter) never see
a user's bytes. An image above ``PIL.Image.MAX_IMAGE_PIXELS`` is refused before it is decompressed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
    ]
)
ORIENTATION_TAG = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


class Undecodable(Exception):
    """This image cannot be used; the message is the reason."""


class PlanMismatch(Exception):
    """A provisional plan does not fit this image: all images have to be looked at."""


@dataclass(frozen=True)
class Plan:
    """What every image of a source becomes.

    `provisional` plans were judged from a sample; decoding an image that contradicts them
    (another size, or colour where the sample was grey) raises `PlanMismatch`.
    """

    channels: int
    size: int
    native: bool = False  # the images have this size already
    provisional: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.size, self.size)


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    grey: bool


def peek(data: bytes) -> Header:
    """Size and colour of an image from its header, without decoding the pixels."""
    try:
        with _open(data) as image:
            return Header(*image.size, _is_grey(image))
    except Undecodable:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise Undecodable(_reason(error)) from error


def decode(data: bytes, plan: Plan) -> np.ndarray:
    """Decode one image.

    Parameters
    ----------
    data : bytes
        The file's content.
    plan : Plan
        Channels and size of the result.

    Returns
    -------
    uint8 array (plan.channels, plan.size, plan.size)

    Raises
    ------
    Undecodable
        If the bytes are no image, are damaged, or are a decompression bomb.
    PlanMismatch
        If a provisional plan does not fit.

    Examples
    --------
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 20), (255, 0, 0)).save(buffer, "PNG")
    >>> decode(buffer.getvalue(), Plan(channels=3, size=8)).shape
    (3, 8, 8)
    """
    try:
        with _open(data) as image:
            if plan.provisional:
                _check(image, plan)
            pixels = _square(image, plan)
    except (Undecodable, PlanMismatch):
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise Undecodable(_reason(error)) from error
    return pixels[None] if plan.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise Undecodable("empty file")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width < 1 or height < 1:
        raise Undecodable(f"image of zero size ({width} x {height})")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise Undecodable(
            f"possible decompression bomb: {width} x {height} pixels, more than the limit of "
            f"{limit} (PIL.Image.MAX_IMAGE_PIXELS)"
        )
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a supported format (JPEG, PNG, WebP, BMP, TIFF, GIF)"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"possible decompression bomb: {error}"
    if isinstance(error, MemoryError):
        return "too large for the memory that is free"
    return f"damaged image ({type(error).__name__}: {error})"


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES


def _check(image: Image.Image, plan: Plan) -> None:
    wrong_size = plan.native and image.size != (plan.size, plan.size)
    if wrong_size or (plan.channels == 1 and not _is_grey(image)):
        raise PlanMismatch


def _square(image: Image.Image, plan: Plan) -> np.ndarray:
    if image.format in ("JPEG", "MPO") and min(image.size) >= 4 * plan.size:
        # The DCT decodes at 1/2, 1/4 or 1/8 for free; twice the target keeps the antialiasing.
        image.draft(image.mode, (2 * plan.size, 2 * plan.size))
    image.load()
    orientation = _orientation(image)  # after load: Pillow turns TIFF files upright by itself
    image = _eight_bit(image, "L" if plan.channels == 1 else "RGB")
    width, height = image.size
    if (width, height) != (plan.size, plan.size):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((plan.size, plan.size), Image.Resampling.BICUBIC, box=box)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    return np.asarray(image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata does not make the pixels unusable
        return 1


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray(_scale(np.asarray(image), 0, 65535))
    elif image.mode in ("I", "F"):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise Undecodable("image with NaN or infinite values")
        png = image.format == "PNG"  # 16-bit by definition, though older Pillow opens it as 32-bit
        low, high = (0, 65535) if png else (float(values.min()), float(values.max()))
        image = Image.fromarray(_scale(values, low, high))
    elif "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:  # a constant image of no known range
        return np.zeros(values.shape, np.uint8)
    return np.rint((values.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
