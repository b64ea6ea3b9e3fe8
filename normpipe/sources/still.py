"""Bytes of a picture file to an upright RGB image.

cv2 decodes 8-bit grey and three-channel JPEG, the bulk of all face datasets, at half of Pillow's cost and, since 5.0, refuses a
cut file; everything else goes to Pillow, which reports damage, knows CMYK, palettes and alpha, and is faster than cv2 on PNG.

What an image becomes:
- EXIF orientation is applied.
- Transparent pixels are composited on mid-grey (128), which puts neither a bright nor a dark edge around a cut-out face.
- 16-bit grey is scaled by the range of the type (0..65535 to 0..255, rounded), never by the picture's own range, so that equal
  values stay equal across a dataset; 16-bit RGB keeps its high byte. 32-bit integer and float pixels have no range to scale by
  and are refused.
- One-channel images become three equal channels; CMYK is converted by Pillow without a profile.
- Colour profiles are ignored: the numbers in the file are taken as sRGB. So is a gamma chunk.
- Damaged bits inside a JPEG's scan that still decode cannot be told from a picture by either library, and are not reported.
- A TIFF with pages gives its first page, an animation its first frame.
"""

import io
import threading
import warnings
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from normpipe.batches import Image
from normpipe.records import Reason
from normpipe.sources.failures import MediaError
from normpipe.sources.media import HEAD_BYTES, PILLOW_FORMATS, Kind, kind_of_bytes

cv2.setNumThreads(1)

_BACKDROP = (128, 128, 128)
_open_lock = threading.Lock()


def decode_still(data: bytes, max_pixels: int) -> Image:
    """Decode a picture file.

    Args:
        data: The whole file.
        max_pixels: Largest width x height that is decoded, checked in the header.

    Returns:
        Upright (height, width, 3) uint8 RGB.

    Raises:
        MediaError: the file is empty, no picture, or too large.
        Exception: any of failures.DECODE_ERRORS, for a damaged file.
    """
    if not data:
        raise MediaError(Reason.EMPTY_FILE, "the file has no bytes")
    kind = kind_of_bytes(data[:HEAD_BYTES])
    if kind is Kind.VIDEO:
        raise MediaError(Reason.UNSUPPORTED, "a video: its rows need a frame index")
    if kind is not Kind.STILL:
        raise MediaError(Reason.UNSUPPORTED, "not a picture of a known format")
    if data.startswith(b"\xff\xd8"):
        header = _jpeg_header(data)
        if header is not None:
            components, height, width = header
            _check_size(width, height, max_pixels)
            if components in {1, 3}:
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
                if image is not None:
                    return image  # type: ignore[return-value]
    if data.startswith(b"RIFF") and 8 + int.from_bytes(data[4:8], "little") > len(data):
        # libwebp does not tell a cut file from a damaged one, but its header says how long it was.
        raise MediaError(Reason.TRUNCATED, "the file ends before the picture does")
    with open_pillow(io.BytesIO(data), max_pixels) as picture:
        return upright_rgb(picture)


def open_pillow(file: BinaryIO, max_pixels: int) -> PillowImage.Image:
    """Open a picture lazily, with our limit in place of Pillow's.

    Pillow's own limit is one variable of the process, so it is lifted for the moment in which the header is read; no pixel is
    decoded in it.

    Raises:
        MediaError: the header promises more than `max_pixels`.
        Exception: any of failures.DECODE_ERRORS.
    """
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about EXIF: nothing that changes pixels
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            picture = PillowImage.open(file, formats=PILLOW_FORMATS)
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit
    _check_size(*picture.size, max_pixels)
    return picture


def upright_rgb(picture: PillowImage.Image) -> Image:
    """Pixels of the current frame of an open picture, as the module's docstring describes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.load()
        turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I;16") or (turned.mode == "I" and picture.format == "PPM"):
        grey = np.asarray(turned).astype(np.uint32)
        return np.repeat(((grey * 255 + 32767) // 65535).astype(np.uint8)[:, :, None], 3, axis=2)
    if turned.mode in {"I", "F"}:
        raise MediaError(Reason.UNSUPPORTED, "32-bit pixels have no fixed range: convert to 8 or 16 bit")
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        backdrop = PillowImage.new("RGBA", layer.size, (*_BACKDROP, 255))
        turned = PillowImage.alpha_composite(backdrop, layer)
    return np.array(turned.convert("RGB"))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise MediaError(Reason.TOO_LARGE, f"{width}x{height} pixels are more than decode.max_pixels={max_pixels}")


def _jpeg_header(data: bytes) -> tuple[int, int, int] | None:
    """Components, height and width of an 8-bit JPEG; None where there is no such frame header."""
    position = 2
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in {0xC0, 0xC1, 0xC2}:  # baseline, extended, progressive
            precision, height, width, components = data[position + 4], *_two(data, position + 5), data[position + 9]
            return (components, height, width) if precision == 8 else None
        elif marker == 0xDA or (0xC3 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            return None
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def _two(data: bytes, position: int) -> tuple[int, int]:
    return int.from_bytes(data[position : position + 2]), int.from_bytes(data[position + 2 : position + 4])
