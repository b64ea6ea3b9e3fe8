"""Clips, frame by frame: videos through PyAV, animations (GIF, WebP, APNG, AVIF) through Pillow; one frame in memory at a time.

A frame's index is its place among the frames that a decoder gives from the start, and its pts the container's own timestamp.
Frame counts in headers are often wrong, so `times` counts by decoding. `read` gives a frame by index: it reads forward where
that is near, and seeks by pts otherwise. A seek counts only if the decoder then passes a true key frame (intra-coded, not later
than the wanted frame) before the wanted pts comes up; open groups of pictures, intra refresh and containers with guessed
timestamps fail this and are read through from the start instead. So the pixels never depend on how a frame was reached.

Rotation and mirroring in the container's display matrix are applied. Pixels are taken as square and frames as progressive, as
OpenCV does, so that boxes measured with it fit. Colours follow the stream's own matrix and range (BT.601, limited, where it
says nothing). One thread decodes and converts, so that a worker costs one core.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image as PillowImage

from normpipe.batches import Image
from normpipe.records import Reason
from normpipe.sources.callbacks import CallbackFile
from normpipe.sources.failures import MediaError
from normpipe.sources.media import HEAD_BYTES, Kind, kind_of_bytes
from normpipe.sources.root import Root
from normpipe.sources.still import open_pillow, upright_rgb

# Reading on is cheaper than seeking up to about one common key-frame distance (x264's default is 250).
_READ_ON = 300
_SEEK_MARGINS = (0, 1, 10)  # seconds before the wanted frame

# These store a timestamp with every packet and an index of key frames. Elsewhere (MPEG program streams, AVI) timestamps are
# partly guessed from the packets before, and come out differently after a seek.
_SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})

_MOST_PIXELS = 2**31 - 1  # FFmpeg's own limit

# No playlist, no concatenation script, no device, no network: only containers that hold their frames themselves.
_CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,mxf"


@dataclass(frozen=True, slots=True)
class FrameTime:
    """Place of one frame: index from 0, presentation timestamp in time-base units, the same in seconds; None where unknown."""

    frame: int
    pts: int | None
    timestamp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of a clip become rows: every `stride`-th, or, at `rate`, the first of each 1/rate seconds.

    Frames without a timestamp are all kept under a rate.
    """

    stride: int = 1
    rate: float | None = None

    def pick(self, times: Iterator[FrameTime]) -> Iterator[FrameTime]:
        """The frames kept, in order."""
        start: float | None = None
        last_slot = -1
        for time in times:
            if self.rate is None or time.timestamp is None:
                if time.frame % self.stride == 0:
                    yield time
                continue
            start = time.timestamp if start is None else start
            # Timestamps are rounded to the time base: without the allowance, 25 of 25 frames a second would lose some.
            slot = int((time.timestamp - start) * self.rate + 1e-3)
            if slot > last_slot:
                last_slot = slot
                yield time


class Clip(Protocol):
    """An open video or animation."""

    def times(self) -> Iterator[FrameTime]:
        """All frames in order, counted by decoding; to be called on a freshly opened clip.

        Raises:
            MediaError: the clip has no frame.
        """
        ...

    def read(self, frame: int, pts: int | None) -> Image:
        """One upright (height, width, 3) uint8 RGB frame.

        Args:
            frame: Index of the frame.
            pts: Its timestamp, which allows seeking; None where unknown.

        Raises:
            MediaError: there is no such frame, or it is damaged.
            Exception: any of failures.DECODE_ERRORS.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_clip(root: Root, uri: str, max_pixels: int) -> Clip:
    """Open a file as a clip, by its content: picture formats through Pillow, all else through PyAV.

    Raises:
        UsageError: the URI reaches out of ROOT.
        MediaError: the file is empty, no clip, has no video stream, or frames of more than `max_pixels`.
        Exception: any of failures.DECODE_ERRORS.
    """
    with root.open(uri) as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise MediaError(Reason.EMPTY_FILE, "the file has no bytes")
    if kind_of_bytes(head) is Kind.STILL:
        return Animation(root, uri, max_pixels)
    try:
        return Video(root, uri, max_pixels)
    except av.EOFError as error:
        raise MediaError(Reason.NO_FRAMES, "the video ends before its first frame") from error
    except av.InvalidDataError as error:
        if kind_of_bytes(head) is Kind.VIDEO:
            raise MediaError(Reason.UNREADABLE, "the video's header or index is damaged or missing") from error
        raise MediaError(Reason.UNSUPPORTED, "not a video of a known format") from error


class Video:
    """A video file, read through PyAV."""

    def __init__(self, root: Root, uri: str, max_pixels: int) -> None:
        self._root = root
        self._uri = uri
        self._max_pixels = max_pixels
        self._frames: Iterator[VideoFrame] = iter(())
        self._next = 0
        self._damaged = False
        self._matrices: dict[int, NDArray[np.int32] | None] = {}
        self._source: CallbackFile | None = None
        self._container: InputContainer
        self._stream: VideoStream
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def times(self) -> Iterator[FrameTime]:
        """See Clip."""
        count = 0
        for count, frame in enumerate(self._frames, start=1):
            yield FrameTime(count - 1, frame.pts, self._seconds(frame.pts))
        if count == 0:
            raise MediaError(Reason.NO_FRAMES, "no frame of the video can be decoded")

    def read(self, frame: int, pts: int | None) -> Image:
        """See Clip."""
        if self._source is not None and self._source.error is not None:
            self._close()
            self._open()
        ahead = frame - self._next
        if pts is not None and self._container.format.name in _SEEKABLE and (ahead > _READ_ON or ahead < 0):
            found = self._seek(pts)
            if found is not None:
                self._next = frame + 1
                return self._image(found)
            ahead = -1
        if ahead < 0:
            self._close()
            self._open()
        for candidate in self._frames:
            self._next += 1
            if self._next > frame:
                if pts is not None and candidate.pts != pts:
                    raise MediaError(Reason.NO_SUCH_FRAME, "the frame has another pts than the manifest says: build it again")
                return self._image(candidate)
        if self._next == 0:
            raise MediaError(Reason.NO_FRAMES, "no frame of the video can be decoded")
        reason = Reason.TRUNCATED if self._damaged else Reason.NO_SUCH_FRAME
        raise MediaError(reason, f"the video gives {self._next} frames")

    def _seconds(self, pts: int | None) -> float | None:
        base = self._stream.time_base
        return None if pts is None or base is None else float(pts * base)

    def _open(self) -> None:
        path = self._root.local_path(self._uri)
        # FFmpeg reads a path faster than a Python file, but PyAV cannot pass on a name that is no UTF-8.
        plain = path is not None and str(path).isprintable()
        self._source = None if plain else CallbackFile(self._root.open(self._uri))
        try:
            self._container = av.open(
                self._source or str(path),
                "r",
                container_options={"format_whitelist": _CONTAINERS},
                metadata_errors="replace",
            )
        finally:
            self._raise_if_unread()
        streams = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not streams:
            self._close()
            raise MediaError(Reason.NO_FRAMES, "the file has no video stream")
        self._stream = streams[0]
        context = self._stream.codec_context
        if context.width * context.height > self._max_pixels:
            self._close()
            detail = f"{context.width}x{context.height} pixels are more than decode.max_pixels={self._max_pixels}"
            raise MediaError(Reason.TOO_LARGE, detail)
        context.thread_count = 1
        context.options = {"max_pixels": str(min(self._max_pixels, _MOST_PIXELS))}
        self._frames = self._decoded()
        self._next = 0
        self._damaged = False

    def _close(self) -> None:
        self._container.close()
        if self._source is not None:
            self._source.close()

    def _raise_if_unread(self) -> None:
        if self._source is not None and self._source.error is not None:
            raise self._source.error

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames from the current position; a packet that cannot be decoded is left out, a stream that breaks off ends."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                self._raise_if_unread()
                self._damaged = True
                return
            self._raise_if_unread()
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.EOFError:
                return
            except av.FFmpegError:
                self._damaged = True

    def _seek(self, pts: int) -> VideoFrame | None:
        """The frame with this pts, reached over a true key frame; None if that cannot be done."""
        for margin in _SEEK_MARGINS:
            try:
                self._container.seek(pts - int(margin / (self._stream.time_base or 1)), stream=self._stream)
            except (av.FFmpegError, OverflowError):
                return None
            self._frames = self._decoded()
            anchored = False
            for frame in self._frames:
                if frame.pts is None or frame.pts > pts:
                    break
                anchored = anchored or (frame.key_frame and frame.pict_type == PictureType.I)
                if anchored and frame.pts == pts:
                    return frame
        return None

    def _image(self, frame: VideoFrame) -> Image:
        if frame.width * frame.height > self._max_pixels:
            raise MediaError(Reason.TOO_LARGE, f"{frame.width}x{frame.height} pixels are more than decode.max_pixels")
        if frame.is_corrupt:
            raise MediaError(Reason.TRUNCATED, "the decoder reports this frame as damaged")
        image = cast("Image", frame.to_ndarray(format="rgb24", threads=1))
        return self._upright(image, frame)

    def _upright(self, image: Image, frame: VideoFrame) -> Image:
        # Touching a frame's side data ties the frame into a reference cycle, so that a hundred of them would wait for the
        # collector: the full matrix is read once for each rotation, which costs nothing to ask for.
        if frame.rotation not in self._matrices:
            found = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV's stub knows names only
            self._matrices[frame.rotation] = None if found is None else np.frombuffer(found, np.int32).copy()
        matrix = self._matrices[frame.rotation]
        return image if matrix is None else _turned(image, matrix)


class Animation:
    """A GIF, WebP, APNG or AVIF file, or a still read as a clip of one frame; pts are milliseconds."""

    def __init__(self, root: Root, uri: str, max_pixels: int) -> None:
        self._file = root.open(uri)
        try:
            self._picture: PillowImage.Image = open_pillow(self._file, max_pixels)
        except BaseException:
            self._file.close()
            raise
        # An APNG's default picture may stand outside the animation; Pillow then counts it as frame 0.
        self._first = int(bool(getattr(self._picture, "default_image", False)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._picture.close()
        self._file.close()

    def times(self) -> Iterator[FrameTime]:
        """See Clip."""
        elapsed = 0.0
        for frame in range(self._count()):
            self._picture.seek(self._first + frame)
            self._picture.load()
            yield FrameTime(frame, round(elapsed), round(elapsed) / 1000)
            elapsed += float(self._picture.info.get("duration", 0))

    def read(self, frame: int, pts: int | None) -> Image:  # noqa: ARG002 - an animation needs no seeking
        """See Clip."""
        count = self._count()
        if frame >= count:
            raise MediaError(Reason.NO_SUCH_FRAME, f"the animation has {count} frames")
        self._picture.seek(self._first + frame)
        return upright_rgb(self._picture)

    def _count(self) -> int:
        return int(getattr(self._picture, "n_frames", 1)) - self._first


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _turned(image: Image, matrix: NDArray[np.int32]) -> Image:
    """Apply a display matrix (x' = a x + c y, y' = b x + d y; ISO/IEC 14496-12), rounded to quarter turns and mirrors."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) > abs(a):
        image, flip_x, flip_y = image.transpose(1, 0, 2), c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
