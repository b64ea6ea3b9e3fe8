"""One place that says which Reason an exception of a library means.

Decoders raise what they like: this is the list of what they were seen to raise on broken, cut and fuzzed files. Details are
written here and not taken from the exceptions, whose texts name absolute paths and memory addresses.
"""

import errno
import struct
import zlib

import av
import cv2
from PIL import Image, UnidentifiedImageError

from normpipe.records import Failure, Reason
from normpipe.sources.root import NotAFileError


class MediaError(Exception):
    """A file or frame that cannot be decoded, with the reason found by our own checks."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(reason, detail)


FILE_ERRORS = (OSError, MemoryError)
"""What reading a file may raise."""

DECODE_ERRORS = (
    MediaError,
    OSError,
    MemoryError,
    EOFError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    cv2.error,
    av.FFmpegError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)
"""What decoding bytes that are in memory, or a video, may raise."""


_FILE_FAILURES: tuple[tuple[type[BaseException], Failure], ...] = (
    (MemoryError, Failure(Reason.OUT_OF_MEMORY, "not enough memory to read the file")),
    (FileNotFoundError, Failure(Reason.VANISHED, "no such file")),
    (NotADirectoryError, Failure(Reason.VANISHED, "no such file")),
    (PermissionError, Failure(Reason.PERMISSION, "the file may not be read")),
    (IsADirectoryError, Failure(Reason.UNSUPPORTED, "a folder, not a file")),
    (NotAFileError, Failure(Reason.UNSUPPORTED, "a device, pipe or socket, not a file")),
    (TimeoutError, Failure(Reason.TIMEOUT, "the transfer timed out")),
)
_BAD_NAME = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


def file_failure(error: BaseException) -> Failure:
    """Failure for an exception met while a file was being read."""
    for kind, failure in _FILE_FAILURES:
        if isinstance(error, kind):
            return failure
    if isinstance(error, OSError) and error.errno in _BAD_NAME:
        return Failure(Reason.UNREADABLE, "a file of this name cannot be opened")
    return Failure(Reason.IO_ERROR, "the file could not be read to its end")


def decode_failure(error: BaseException) -> Failure:
    """Failure for an exception met while decoding."""
    if isinstance(error, MediaError):
        return error.failure
    if isinstance(error, NotAFileError) or (
        isinstance(error, OSError) and error.errno is not None and not isinstance(error, av.FFmpegError)
    ):
        return file_failure(error)  # the file's own, met in mid-decoding; those that decoders raise bear no number
    if isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
        return Failure(Reason.OUT_OF_MEMORY, "not enough memory to decode")
    if isinstance(error, Image.DecompressionBombError):
        return Failure(Reason.TOO_LARGE, "more pixels than decode.max_pixels")
    unidentified = isinstance(error, UnidentifiedImageError)  # its text holds the file's name
    if isinstance(error, EOFError) or ("truncated" in str(error).lower() and not unidentified):
        return Failure(Reason.TRUNCATED, "the file ends before the picture does")
    part = "picture's header" if unidentified else "picture data"
    return Failure(Reason.UNREADABLE, f"the {part} is damaged")
