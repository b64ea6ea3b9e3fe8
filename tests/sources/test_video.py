"""Clips: frames are counted by decoding, and a frame's pixels do not depend on how it was reached."""

import gc
import random
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from fixtures.clips import SIZE, picture, write_video
from PIL import Image

from normpipe.records import Reason
from normpipe.sources.failures import MediaError
from normpipe.sources.root import Root
from normpipe.sources.video import FrameTime, Sampling, Video, open_clip

COUNT = 360
LIMIT = 10**8

# Every way in which a seek may land beside the wanted frame.
KINDS = {
    "b-frames": ("clip.mp4", {"options": {"bf": "3"}}),
    "open groups": ("clip.mp4", {"options": {"x264-params": "open-gop=1:bframes=3:keyint=24:scenecut=0"}}),
    "intra refresh": ("clip.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=24:bframes=0"}}),
    "one key frame": ("clip.mkv", {"gop": 1000, "options": {"x264-params": "scenecut=0"}}),
    "variable rate": ("clip.mkv", {"pts": [index * 2 + (index % 3 == 0) for index in range(COUNT)]}),
    "edit list": ("clip.mp4", {"shift": 40, "muxer": {"avoid_negative_ts": "disabled", "use_editlist": "1"}}),
    "mpeg-4 in avi": ("clip.avi", {"codec": "mpeg4"}),
    "mpeg-4 with b-frames": ("clip.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "mpeg-2 program stream": ("clip.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "h264 transport stream": ("clip.ts", {}),
    "hevc": (
        "clip.mp4",
        {"codec": "libx265", "gop": 24, "options": {"x265-params": "open-gop=1:log-level=none:pools=none:frame-threads=1"}},
    ),
    "vp9": ("clip.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for kind, (name, how) in KINDS.items():
        made[kind] = folder / f"{kind.replace(' ', '_')}{Path(name).suffix}"
        write_video(made[kind], COUNT, **how)
    return made


def _through(path: Path) -> tuple[list[FrameTime], list[np.ndarray]]:
    root = Root(str(path.parent))
    with open_clip(root, path.name, LIMIT) as clip:
        times = list(clip.times())
    with open_clip(root, path.name, LIMIT) as clip:
        return times, [clip.read(time.frame, None) for time in times]


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_gives_the_pixels_of_reading_through(clips: dict[str, Path], kind: str) -> None:
    times, images = _through(clips[kind])
    order = [*random.Random(0).sample(range(len(times)), 25), len(times) - 1, 0, len(times) - 1, len(times) - 2]
    with open_clip(Root(str(clips[kind].parent)), clips[kind].name, LIMIT) as clip:
        for index in order:
            assert np.array_equal(clip.read(index, times[index].pts), images[index]), f"frame {index}"


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_that_a_plain_decoder_gives(clips: dict[str, Path], kind: str) -> None:
    times, _ = _through(clips[kind])
    with av.open(str(clips[kind])) as container:
        pts = [frame.pts for frame in container.decode(video=0)]
    assert [time.pts for time in times] == pts
    assert [time.frame for time in times] == list(range(len(pts)))


def test_the_pixels_are_the_pictures_that_were_encoded(clips: dict[str, Path]) -> None:
    _, images = _through(clips["b-frames"])
    assert len(images) == COUNT
    for index in (0, 1, 100, COUNT - 1):
        assert np.abs(images[index].astype(int) - picture(index)).mean() < 12
        assert images[index].flags.c_contiguous


def test_an_edit_list_hides_the_frames_before_it(clips: dict[str, Path]) -> None:
    times, images = _through(clips["edit list"])
    assert len(times) == COUNT - 40
    assert np.abs(images[0].astype(int) - picture(40)).mean() < 12


def test_a_variable_rate_keeps_its_timestamps(clips: dict[str, Path]) -> None:
    times, _ = _through(clips["variable rate"])
    expected = [(index * 2 + (index % 3 == 0)) / 25 for index in range(COUNT)]
    assert [time.timestamp for time in times] == pytest.approx(
        [value - expected[0] + times[0].timestamp for value in expected], abs=2e-3
    )


def test_seeking_saves_decoding(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortcut is really taken where the file allows it: no read from the start for a late frame."""
    times, _ = _through(clips["b-frames"])
    with Video(Root(str(clips["b-frames"].parent)), clips["b-frames"].name, LIMIT) as clip:
        monkeypatch.setattr(clip, "_open", lambda: pytest.fail("read from the start"))
        clip.read(COUNT - 1, times[-1].pts)
        clip.read(5, times[5].pts)


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
def test_the_display_matrix_is_applied(tmp_path: Path, rotation: int, turns: int, flips: tuple[bool, bool]) -> None:
    path = write_video(tmp_path / "turned.mp4", 3, rotation=rotation, flips=flips)
    _, images = _through(path)
    expected = np.rot90(picture(0), turns)
    if flips[0]:
        expected = expected[:, ::-1]
    if flips[1]:
        expected = expected[::-1]
    assert np.abs(images[0].astype(int) - expected).mean() < 12


@pytest.mark.parametrize(("matrix", "name"), [(Colorspace.ITU709, "bt709"), (Colorspace.ITU601, "smpte170m")])
def test_colours_follow_the_streams_matrix(tmp_path: Path, matrix: Colorspace, name: str) -> None:
    colour = np.full((48, 64, 3), (200, 60, 40), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": f"colormatrix={name}", "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(colour, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    _, (image,) = _through(tmp_path / "a.mp4")
    assert np.abs(image.astype(int) - colour).max() <= 4


def test_frames_are_freed_one_by_one(clips: dict[str, Path]) -> None:
    """A reference cycle would keep decoded frames until the garbage collector comes by: gigabytes on a long clip."""
    with open_clip(Root(str(clips["b-frames"].parent)), clips["b-frames"].name, LIMIT) as clip:
        gc.collect()
        gc.disable()
        try:
            for index in range(50):
                clip.read(index, None)
            alive = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
        finally:
            gc.enable()
    assert alive <= 5


def test_a_pts_of_another_file_is_no_such_frame(clips: dict[str, Path]) -> None:
    with open_clip(Root(str(clips["b-frames"].parent)), clips["b-frames"].name, LIMIT) as clip:
        with pytest.raises(MediaError) as caught:
            clip.read(3, 123_456_789)
        assert caught.value.failure.reason is Reason.NO_SUCH_FRAME
        clip.read(3, None)


def test_a_playlist_is_refused_unopened(tmp_path: Path) -> None:
    """FFmpeg would follow a playlist's links, over the network too; the file it names here must not be read."""
    write_video(tmp_path / "inner.ts", 3)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninner.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError) as caught:
        open_clip(Root(str(tmp_path)), "list.mp4", LIMIT)
    assert caught.value.failure.reason is Reason.UNSUPPORTED


def test_a_file_without_pictures_has_no_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame) + stream.encode(None))
    with pytest.raises(MediaError) as caught:
        open_clip(Root(str(tmp_path)), "sound.mkv", LIMIT)
    assert caught.value.failure.reason is Reason.NO_FRAMES


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_is_a_clip(tmp_path: Path, suffix: str) -> None:
    shades = (0, 120, 250)
    frames = [Image.new("RGB", (20, 10), (shade, shade, shade)) for shade in shades]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=[40, 80, 120], lossless=True)
    times, images = _through(tmp_path / f"a.{suffix}")
    assert [time.pts for time in times] == [0, 40, 120]
    assert [time.timestamp for time in times] == [0, 0.04, 0.12]
    assert [int(image[0, 0, 0]) for image in images] == list(shades)
    with open_clip(Root(str(tmp_path)), f"a.{suffix}", LIMIT) as clip:
        assert [int(clip.read(index, None)[5, 5, 1]) for index in (2, 0, 1)] == [250, 0, 120]


def test_stride_takes_every_nth_frame() -> None:
    times = [FrameTime(index, index, index / 30) for index in range(10)]
    assert [time.frame for time in Sampling(stride=4).pick(iter(times))] == [0, 4, 8]


@pytest.mark.parametrize("rate", [5, 24, 25, 29.97])
def test_a_rate_takes_frames_by_time(rate: float) -> None:
    times = [FrameTime(index, None, 7 + round(index / 30, 3)) for index in range(300)]
    taken = [time.timestamp for time in Sampling(rate=rate).pick(iter(times))]
    assert len(taken) == pytest.approx(rate * 10, rel=0.015)
    assert all(later - earlier < 1 / rate + 1 / 30 + 2e-3 for earlier, later in pairwise(taken))


def test_a_rate_above_the_clips_takes_every_frame() -> None:
    times = [FrameTime(index, None, round(index / 25, 3)) for index in range(100)]
    assert len(list(Sampling(rate=25).pick(iter(times)))) == 100


def test_the_size_is_limited_by_the_header(clips: dict[str, Path]) -> None:
    path = clips["b-frames"]
    with pytest.raises(MediaError) as caught:
        open_clip(Root(str(path.parent)), path.name, SIZE[0] * SIZE[1] - 1)
    assert caught.value.failure.reason is Reason.TOO_LARGE
