"""Nothing but pixels: what a picture's file tells besides them is cut out, without encoding it again.

EXIF, XMP, comments, thumbnails, colour profiles and times can name people, places, cameras and days. Kept is what decides
about pixels alone: of JPEG (ITU-T T.81) all segments but APPn and COM, of these JFIF without its thumbnail and Adobe's colour
transform; of PNG (W3C, third edition) the critical chunks and those about transparency and gamma; of WebP (RFC 9649) picture,
transparency and animation. What follows the picture's end goes.

Files as normpipe writes them are clean. Their headers are all alike, so that a header found clean once is known again by
comparing bytes, and what is behind it by counting markers, of a whole column at once.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from normpipe.errors import UsageError
from normpipe.release.digests import binary_views

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
_END_OF_IMAGE = b"\xff\xd9"
_KNOWN_HEADERS = 64

_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"acTL", b"fcTL", b"fdAT"}
)
_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_SAID_FLAGS = 0x20 | 0x08 | 0x04  # profile, EXIF, XMP


class Stripper:
    """Strips pictures, and knows clean headers again. One for each thread."""

    def __init__(self) -> None:
        self._headers: dict[bytes, int] = {}

    def column(self, column: pa.Array) -> pa.Array:
        """An array of files (bytes, none null) without metadata; the very same where there is none.

        Raises:
            UsageError: one is no whole JPEG, PNG or WebP.
        """
        data, places = binary_views(column)
        markers = _markers(data, places)
        stripped = {}
        for row, (start, end) in enumerate(pairwise(places)):
            if not self._known_clean(data[start:end], markers[row]):
                content = bytes(data[start:end])
                found = self.strip(content)
                if found is not content:
                    stripped[row] = found
        if not stripped:
            return column
        return pa.array([stripped.get(row, each) for row, each in enumerate(column.to_pylist())], pa.binary())

    def strip(self, content: bytes) -> bytes:
        """The same picture without metadata; the very same object where there is none.

        Raises:
            UsageError: it is no whole JPEG, PNG or WebP.
        """
        try:
            if content.startswith(_JPEG):
                stripped, header = _stripped_jpeg(content)
                if stripped == content and len(self._headers) < _KNOWN_HEADERS:
                    self._headers[header] = _markers(memoryview(header + b"\0"), [0, len(header)])[0]
            elif content.startswith(_PNG):
                stripped = _stripped_png(content)
            elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
                stripped = _stripped_webp(content)
            else:
                raise UsageError("a picture is no JPEG, PNG or WebP")
        except IndexError as error:
            raise UsageError("a picture is damaged: it ends too early") from error
        return content if stripped == content else stripped

    def _known_clean(self, content: memoryview, markers: int) -> bool:
        """Whether a JPEG has a header that was found clean, and then one scan and the end of the image alone."""
        for header, own in self._headers.items():
            if bytes(content[: len(header)]) == header:
                return markers == own + 1 and bytes(content[-2:]) == _END_OF_IMAGE
        return False


def _markers(data: memoryview, places: Sequence[int]) -> list[int]:
    """In each file, how often 0xFF stands before anything but 0x00: markers, and bytes of the header that look so."""
    first, last = places[0], places[-1]
    content = np.frombuffer(data, np.uint8)[first:last]
    found = np.flatnonzero(content == 0xFF)
    follows = content[np.minimum(found + 1, len(content) - 1)]
    markers = found[follows != 0] + first
    return [int(count) for count in np.diff(np.searchsorted(markers, places))]


def _stripped_jpeg(content: bytes) -> tuple[bytes, bytes]:
    """The stripped file, and its beginning up to the first scan's data."""
    kept = [_JPEG]
    place = 2
    header = b""
    while True:
        while content[place] == 0xFF and content[place + 1] == 0xFF:
            place += 1  # fill bytes
        if content[place] != 0xFF:
            raise UsageError("a picture is damaged: a JPEG without a marker where one must stand")
        marker = content[place + 1]
        if marker == 0xD9:
            kept.append(_END_OF_IMAGE)
            return b"".join(kept), header
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        content[end]  # raises where the segment ends behind the file
        kept.append(_kept_segment(marker, content[place:end]))
        place = end
        if marker == 0xDA:
            header = header or b"".join(kept)
            end = _scan_end(content, place)
            kept.append(content[place:end])
            place = end


def _kept_segment(marker: int, segment: bytes) -> bytes:
    if marker == 0xE0 and segment[4:9] == b"JFIF\0":
        return segment if len(segment) == 18 else b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0"
    if marker == 0xEE and segment[4:9] == b"Adobe":
        return segment[:16] if len(segment) == 16 else b"\xff\xee\x00\x0e" + segment[4:16]
    return b"" if 0xE0 <= marker <= 0xEF or marker == 0xFE else segment


def _scan_end(content: bytes, place: int) -> int:
    """Where a scan's data end: at the first marker that is neither stuffing nor a restart."""
    while (place := content.find(b"\xff", place)) >= 0:
        follows = content[place + 1]
        if follows != 0 and not 0xD0 <= follows <= 0xD7 and follows != 0xFF:
            return place
        place += 1 if follows == 0xFF else 2
    raise UsageError("a picture is damaged: a JPEG without its end")


def _stripped_png(content: bytes) -> bytes:
    kept = [_PNG]
    place = len(_PNG)
    while True:
        end = place + 12 + int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        content[end - 1]  # raises where the chunk ends behind the file
        if kind in _PNG_KEPT:
            kept.append(content[place:end])
        if kind == b"IEND":
            return b"".join(kept)
        place = end


def _stripped_webp(content: bytes) -> bytes:
    kept = []
    place, last = 12, 8 + int.from_bytes(content[4:8], "little")
    content[last - 1]  # raises where the file is shorter than it says
    while place < last:
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        chunk = content[place:end]
        if chunk[:4] == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_SAID_FLAGS]) + chunk[9:]
        if chunk[:4] in _WEBP_KEPT:
            kept.append(chunk)
        place = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
