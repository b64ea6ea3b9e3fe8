"""What kind of file this is: by name when a folder is listed, by its first bytes when it is read.

Listing must stay fast on hundreds of thousands of files, so a still is recognized by its extension alone; only the formats that
hold stills and animations alike are opened. Reading trusts the bytes, so a PNG named .jpg is a PNG.
"""

import re
from enum import StrEnum
from pathlib import PurePosixPath

from PIL import Image

from normpipe.sources.root import Root

STILL_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
)
AMBIGUOUS_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng", ".avif"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob", ".wmv", ".flv", ".ts", ".mts", ".m2ts"}
    | {".ogv", ".3gp", ".mxf"}
)

# The only formats that Pillow is let near: its other plugins are rarely used, and one of them runs Ghostscript.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000")

_PICTURE_STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"BM",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
)
_NETPBM = re.compile(rb"P[1-6]\s")
_CONTAINER_STARTS = (
    b"\x1a\x45\xdf\xa3",
    b"OggS",
    b"FLV",
    b"\x30\x26\xb2\x75",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
    b"\x06\x0e\x2b\x34",
)
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


HEAD_BYTES = 200


class Kind(StrEnum):
    """What a file's name or content says it is."""

    STILL = "still"
    ANIMATION = "animation"
    VIDEO = "video"
    OTHER = "other"


def kind_of_name(uri: str) -> Kind:
    """Kind by extension; ANIMATION means "still or animation, look inside"."""
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix in STILL_SUFFIXES:
        return Kind.STILL
    if suffix in AMBIGUOUS_SUFFIXES:
        return Kind.ANIMATION
    return Kind.VIDEO if suffix in VIDEO_SUFFIXES else Kind.OTHER


def kind_of_bytes(head: bytes) -> Kind:
    """Kind by a file's first HEAD_BYTES bytes: STILL for picture formats (which may be animated), VIDEO for containers."""
    if (
        head.startswith(_PICTURE_STARTS)
        or head[8:12] == b"WEBP"
        or head[4:12] in {b"ftypavif", b"ftypavis"}
        or _NETPBM.match(head)
    ):
        return Kind.STILL
    transport_stream = head[0:1] == head[188:189] == b"G" or head[4:5] == head[196:197] == b"G"
    if head.startswith(_CONTAINER_STARTS) or head[4:8] in _ISO_BOXES or head[8:12] == b"AVI " or transport_stream:
        return Kind.VIDEO
    return Kind.OTHER


def is_animated(root: Root, uri: str) -> bool:
    """Whether a GIF, WebP, PNG or AVIF file has more than one frame. A file that cannot be opened counts as a still.

    Raises:
        OSError: the file cannot be read.
    """
    with root.open(uri) as file:
        head = file.read(64)
        if head.startswith(b"\x89PNG") and head[37:41] == b"IDAT":
            return False
        if head[8:16] == b"WEBPVP8 " or head[8:16] == b"WEBPVP8L" or (head[8:16] == b"WEBPVP8X" and not head[20] & 2):
            return False
        file.seek(0)
        try:
            with Image.open(file, formats=PILLOW_FORMATS) as image:
                return bool(getattr(image, "is_animated", False))
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            return False
