"""First stage: manifest rows become upright RGB frames, or the reason why not.

Exactly one Frame comes out per FrameRef, in order, whatever the files hold; nothing is read ahead, so a long clip costs the
memory of one frame. Rows of one file that follow each other share its opening, its hash and, for a clip, one forward pass.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from normpipe.batches import Frame, FrameRef, Image
from normpipe.config import Decode
from normpipe.errors import UsageError
from normpipe.records import Failure, Reason
from normpipe.sources.failures import DECODE_ERRORS, FILE_ERRORS, decode_failure, file_failure
from normpipe.sources.media import Kind, kind_of_name
from normpipe.sources.root import Root
from normpipe.sources.still import decode_still
from normpipe.sources.video import open_clip

ALGORITHM_VERSION = 1
_BLOCK = 1 << 20
_BEAT_BYTES = 1 << 26


def idle() -> None:
    """The sign of life of a caller that nobody watches."""


def decode(refs: Sequence[FrameRef], root: Root, options: Decode, beat: Callable[[], None] = idle) -> Iterator[Frame]:
    """Decode frames.

    Args:
        refs: Rows, grouped by file for speed (manifest order is).
        root: Where the files lie.
        options: Limits.
        beat: Called now and then while a large file is being hashed, as a sign of life.

    Yields:
        One Frame per ref, in order: upright (height, width, 3) uint8 RGB, or a Failure.
    """
    for (uri, is_still), group in groupby(refs, key=lambda ref: (ref.uri, ref.frame is None)):
        if is_still:
            yield from _stills(list(group), uri, root, options, beat)
        else:
            yield from _clip(list(group), uri, root, options, beat)


def _stills(refs: Sequence[FrameRef], uri: str, root: Root, options: Decode, beat: Callable[[], None]) -> Iterator[Frame]:
    digest = None
    image: Image | Failure
    try:
        if kind_of_name(uri) is Kind.VIDEO:  # may be too large to hold
            digest = content_sha256(root, uri, beat)
            image = Failure(Reason.UNSUPPORTED, "a video: its rows need a frame index")
        else:
            data = root.read(uri)
            digest = hashlib.sha256(data).hexdigest()
            image = _still(data, options)
    except UsageError:
        image = Failure(Reason.UNREADABLE, "the uri reaches out of ROOT")
    except FILE_ERRORS as error:
        image = file_failure(error)
    for ref in refs:
        yield Frame(ref, image, digest)


def _still(data: bytes, options: Decode) -> Image | Failure:
    try:
        return decode_still(data, options.max_pixels)
    except DECODE_ERRORS as error:
        return decode_failure(error)


def _clip(refs: Sequence[FrameRef], uri: str, root: Root, options: Decode, beat: Callable[[], None]) -> Iterator[Frame]:
    try:
        digest = content_sha256(root, uri, beat)
    except UsageError:
        yield from _failed(refs, Failure(Reason.UNREADABLE, "the uri reaches out of ROOT"), None)
        return
    except FILE_ERRORS as error:
        yield from _failed(refs, file_failure(error), None)
        return
    try:
        clip = open_clip(root, uri, options.max_pixels)
    except DECODE_ERRORS as error:
        yield from _failed(refs, decode_failure(error), digest)
        return
    with clip:
        for ref in refs:
            image: Image | Failure
            try:
                image = clip.read(ref.frame or 0, ref.pts)
            except DECODE_ERRORS as error:
                image = decode_failure(error)
            yield Frame(ref, image, digest)


def _failed(refs: Sequence[FrameRef], failure: Failure, digest: str | None) -> Iterator[Frame]:
    for ref in refs:
        yield Frame(ref, failure, digest)


def content_sha256(root: Root, uri: str, beat: Callable[[], None] = idle) -> str:
    """Hex digest of a file's bytes; a file of any size costs the memory of one block.

    Raises:
        UsageError: the URI reaches out of ROOT.
        OSError: there is no such file, it may not be read, or the transfer fails.
    """
    with root.open(uri) as file:
        digest = hashlib.sha256()
        unheard = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            unheard += len(block)
            if unheard >= _BEAT_BYTES:
                unheard = 0
                beat()
    return digest.hexdigest()
