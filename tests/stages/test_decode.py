"""Decoding: one Frame per row, in order, upright RGB or a reason, whatever the files hold."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.clips import picture, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from normpipe.batches import Frame, FrameRef
from normpipe.config import Decode
from normpipe.records import Failure, Reason
from normpipe.sources.folder import build_folder
from normpipe.sources.manifest import frame_refs
from normpipe.sources.root import Root
from normpipe.stages.decode import decode

PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8), (0, 0), 3)


def _encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


JPEG = _encoded(Image.fromarray(PHOTO), "JPEG", quality=95)
PNG = _encoded(Image.fromarray(PHOTO), "PNG")


def _decode(folder: Path, *names: str, options: Decode | None = None) -> list[Frame]:
    refs = [FrameRef(name, name) for name in names]
    frames = list(decode(refs, Root(str(folder)), options or Decode()))
    assert [frame.ref for frame in frames] == refs
    for frame in frames:
        if isinstance(frame.image, np.ndarray):
            assert frame.image.dtype == np.uint8
            assert frame.image.ndim == 3
            assert frame.image.shape[2] == 3
            assert frame.image.flags.c_contiguous
    return frames


def _one(folder: Path, content: bytes, name: str = "x.jpg", options: Decode | None = None) -> Frame:
    (folder / name).write_bytes(content)
    (frame,) = _decode(folder, name, options=options)
    assert frame.content_sha256 == hashlib.sha256(content).hexdigest()
    return frame


def _pixels(frame: Frame) -> np.ndarray:
    assert isinstance(frame.image, np.ndarray), frame.image
    return frame.image.astype(int)


def _reason(frame: Frame) -> Reason:
    assert isinstance(frame.image, Failure)
    assert "/" not in frame.image.detail
    assert " at 0x" not in frame.image.detail
    return frame.image.reason


# Stills that decode.


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF"])
def test_common_formats_give_the_picture(tmp_path: Path, kind: str) -> None:
    frame = _one(tmp_path, _encoded(Image.fromarray(PHOTO), kind, **({"lossless": True} if kind == "WEBP" else {})))
    tolerance = {"JPEG": 24, "GIF": 60}.get(kind, 0)
    assert np.abs(_pixels(frame) - PHOTO).max() <= tolerance


def test_the_fast_path_gives_the_pixels_of_pillow(tmp_path: Path) -> None:
    assert np.abs(_pixels(_one(tmp_path, JPEG)) - np.asarray(Image.open(io.BytesIO(JPEG)))).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }
    shown = _pixels(_one(tmp_path, _encoded(Image.fromarray(PHOTO), kind, exif=exif, quality=95)))
    expected = turn[orientation](PHOTO)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, kind: str) -> None:
    grey = Image.fromarray(PHOTO).convert("L")
    source = grey.convert("RGB").convert(mode)
    try:
        content = _encoded(source, kind, quality=95)
    except OSError:
        pytest.skip(f"{kind} cannot hold {mode}")
    shown = _pixels(_one(tmp_path, content))
    reference = np.asarray(source.convert("RGB")).astype(int)
    assert np.abs(shown - reference).mean() < 4


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(8, 256)
    expected = np.round(ramp / 257).astype(int)
    for name, content in {
        "png": _encoded(Image.fromarray(ramp), "PNG"),
        "tiff": _encoded(Image.fromarray(ramp), "TIFF"),
        "pgm": cv2.imencode(".pgm", ramp)[1].tobytes(),
        "rgb": cv2.imencode(".png", np.repeat(ramp[:, :, None], 3, axis=2))[1].tobytes(),
    }.items():
        shown = _pixels(_one(tmp_path, content))
        assert np.abs(shown - expected[:, :, None]).max() <= 1, name


def test_float_pixels_have_no_range(tmp_path: Path) -> None:
    assert _reason(_one(tmp_path, _encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))) is Reason.UNSUPPORTED


def test_transparency_is_laid_on_mid_grey(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (255, 255, 255, 128)])
    assert _pixels(_one(tmp_path, _encoded(image, "PNG"))).tolist() == [[[255, 0, 0], [128, 128, 128], [192, 192, 192]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    shown = _pixels(_one(tmp_path, _encoded(palette, "PNG", transparency=1)))
    assert shown.tolist() == [[[10, 20, 30], [128, 128, 128]]]


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "GIF"):
        assert _pixels(_one(tmp_path, _encoded(Image.new("RGB", (1, 1)), kind))).shape == (1, 1, 3)


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    assert (_pixels(_one(tmp_path, PNG, "a.jpg")) == PHOTO).all()


def test_trailing_bytes_do_no_harm(tmp_path: Path) -> None:
    """Phones append previews and clips behind the picture."""
    assert (_pixels(_one(tmp_path, JPEG + b"trailer" * 99)) == _pixels(_one(tmp_path, JPEG))).all()


def test_an_animation_without_a_frame_index_gives_its_first_frame(tmp_path: Path) -> None:
    images = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (200, 50)]
    frame = _one(tmp_path, _encoded(images[0], "GIF", save_all=True, append_images=images[1:]), "a.gif")
    assert _pixels(frame)[0, 0].tolist() == [200, 0, 0]


# Stills that do not.


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_cut_file_never_passes(tmp_path: Path, kind: str, share: float) -> None:
    content = _encoded(Image.fromarray(PHOTO), kind)
    assert _reason(_one(tmp_path, content[: int(len(content) * share)])) in {Reason.TRUNCATED, Reason.UNREADABLE}


def test_a_cut_progressive_jpeg_never_passes(tmp_path: Path) -> None:
    content = _encoded(Image.fromarray(PHOTO), "JPEG", progressive=True)
    for cut in (1, 2, 100, len(content) // 2):
        assert _reason(_one(tmp_path, content[:-cut])) is Reason.TRUNCATED


def test_a_tail_of_zeros_is_a_cut_file(tmp_path: Path) -> None:
    """What a broken download into a preallocated file leaves."""
    for content in (JPEG, PNG):
        half = len(content) // 2
        assert _reason(_one(tmp_path, content[:half] + bytes(half))) in {Reason.TRUNCATED, Reason.UNREADABLE}


def test_reasons_of_files_that_are_no_pictures(tmp_path: Path) -> None:
    assert _reason(_one(tmp_path, b"")) is Reason.EMPTY_FILE
    assert _reason(_one(tmp_path, b"just text\n" * 50)) is Reason.UNSUPPORTED
    assert _reason(_one(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n", "a.png")) is Reason.UNSUPPORTED
    assert _reason(_one(tmp_path, write_video(tmp_path / "v.mp4", 2).read_bytes(), "v.jpg")) is Reason.UNSUPPORTED
    assert _reason(_one(tmp_path, (tmp_path / "v.mp4").read_bytes(), "v.mp4")) is Reason.UNSUPPORTED
    (tmp_path / "folder.jpg").mkdir()
    assert [_reason(frame) for frame in _decode(tmp_path, "folder.jpg", "gone.jpg", "no/such.jpg", "../out.jpg")] == [
        Reason.UNSUPPORTED,
        Reason.VANISHED,
        Reason.VANISHED,
        Reason.UNREADABLE,
    ]


def _claiming(content: bytes, place: int, field: bytes) -> bytes:
    return content[:place] + field + content[place + len(field) :]


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path) -> None:
    """30,000 x 30,000 pixels in the header are enough: nothing of that size is ever allocated."""
    side = 30_000
    header = PNG[12:16] + side.to_bytes(4) * 2 + PNG[24:29]
    gif = _encoded(Image.fromarray(PHOTO), "GIF")
    bmp = _encoded(Image.fromarray(PHOTO), "BMP")
    claims = {
        "jpeg": _claiming(JPEG, JPEG.index(b"\xff\xc0") + 5, side.to_bytes(2) * 2),
        "png": _claiming(PNG, 12, header + zlib.crc32(header).to_bytes(4)),
        "gif": _claiming(gif, 6, side.to_bytes(2, "little") * 2),
        "bmp": _claiming(bmp, 18, side.to_bytes(4, "little") * 2),
    }
    for name, content in claims.items():
        tracemalloc.start()
        frame = _one(tmp_path, content, name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert _reason(frame) is Reason.TOO_LARGE, name
        assert peak < 4_000_000, name


def test_the_limit_is_ours_and_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit neither refuses nor warns below ours, and stays as it was for others."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(_one(tmp_path, PNG).image, np.ndarray)
    assert Image.MAX_IMAGE_PIXELS == 100
    small = Decode(max_pixels=PHOTO.shape[0] * PHOTO.shape[1])
    assert isinstance(_one(tmp_path, JPEG, options=small).image, np.ndarray)
    smaller = Decode(max_pixels=PHOTO.shape[0] * PHOTO.shape[1] - 1)
    assert _reason(_one(tmp_path, JPEG, options=smaller)) is Reason.TOO_LARGE
    assert _reason(_one(tmp_path, PNG, options=smaller)) is Reason.TOO_LARGE


_DECODE_AS_NOBODY = """
import os, sys
from normpipe.batches import FrameRef
from normpipe.config import Decode
from normpipe.sources.root import Root
from normpipe.stages.decode import decode
root = Root(sys.argv[1])
if os.geteuid() == 0:  # who may read everything
    os.seteuid(65534)
print(*[next(decode([FrameRef("s", "secret.jpg", frame)], root, Decode())).image.reason for frame in (None, 0)])
"""


def test_a_file_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "secret.jpg").write_bytes(JPEG)
        (Path(folder) / "secret.jpg").chmod(0)
        done = subprocess.run([sys.executable, "-c", _DECODE_AS_NOBODY, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [Reason.PERMISSION, Reason.PERMISSION]


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    share=st.floats(0.05, 1),
)
def test_no_damage_ever_raises(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[float, int]], share: float
) -> None:
    content = bytearray(_encoded(Image.fromarray(PHOTO[:40, :40]), kind))
    for place, value in changes:
        content[int(place * len(content))] = value
    folder = tmp_path_factory.mktemp("damaged")
    _one(folder, bytes(content[: int(len(content) * share)]), options=Decode(max_pixels=10_000_000))


# Clips.


def _refs(folder: Path) -> list[FrameRef]:
    return frame_refs(build_folder(Root(str(folder))).table)


def test_frames_and_stills_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    write_video(tmp_path / "b.mp4", 8, options={"bf": "2"})
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "c.jpg").write_bytes(b"")
    refs = _refs(tmp_path)
    frames = list(decode(refs, Root(str(tmp_path)), Decode()))
    assert [frame.ref for frame in frames] == refs
    assert [frame.ref.sample_id for frame in frames][:3] == ["a.jpg", "b.mp4#000000", "b.mp4#000001"]
    for index, frame in enumerate(frames[1:9]):
        assert np.abs(_pixels(frame) - picture(index)).mean() < 12
        assert frame.content_sha256 == hashlib.sha256((tmp_path / "b.mp4").read_bytes()).hexdigest()
    assert _reason(frames[9]) is Reason.EMPTY_FILE


def test_rows_in_any_order_give_the_same_pixels(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 40, options={"bf": "2"})
    write_video(tmp_path / "b.mkv", 40)
    refs = _refs(tmp_path)
    straight = {frame.ref.sample_id: _pixels(frame) for frame in decode(refs, Root(str(tmp_path)), Decode())}
    shuffled = [refs[index] for index in np.random.default_rng(1).permutation(len(refs))]
    for ref, frame in zip(shuffled, decode(shuffled, Root(str(tmp_path)), Decode()), strict=True):
        assert frame.ref is ref
        assert (_pixels(frame) == straight[ref.sample_id]).all()


def test_a_clip_is_opened_and_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", 10)
    opened: list[str] = []
    plain = Root.open
    monkeypatch.setattr(Root, "open", lambda root, uri: opened.append(uri) or plain(root, uri))
    assert len(list(decode(_refs(tmp_path)[:10], Root(str(tmp_path)), Decode()))) == 10
    opened.clear()
    list(decode([FrameRef(str(index), "a.mp4", index) for index in range(10)], Root(str(tmp_path)), Decode()))
    assert opened == ["a.mp4", "a.mp4"]  # the hash, and the first bytes that tell what it is


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 5)
    (tmp_path / "text.mp4").write_text("no clip\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:-300])
    refs = [
        FrameRef(str(row), uri, index)
        for row, (uri, index) in enumerate(
            [
                ("a.mp4", 4),
                ("a.mp4", 5),
                ("a.mp4", 0),
                ("text.mp4", 0),
                ("empty.mp4", 0),
                ("cut.mp4", 0),
                ("gone.mp4", 3),
                ("../a.mp4", 0),
            ]
        )
    ]
    frames = list(decode(refs, Root(str(tmp_path)), Decode()))
    assert isinstance(frames[0].image, np.ndarray)
    assert isinstance(frames[2].image, np.ndarray)
    assert [_reason(frame) for frame in [frames[1], *frames[3:]]] == [
        Reason.NO_SUCH_FRAME,
        Reason.UNSUPPORTED,
        Reason.EMPTY_FILE,
        Reason.UNREADABLE,
        Reason.VANISHED,
        Reason.UNREADABLE,
    ]
    assert frames[5].content_sha256 is not None
    assert frames[6].content_sha256 is None


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.ts"])
def test_a_broken_tail_keeps_the_frames_before_it(tmp_path: Path, name: str) -> None:
    whole = write_video(
        tmp_path / name,
        60,
        codec="mpeg4" if name == "a.avi" else "libx264",
        muxer={"movflags": "faststart"} if name == "a.mp4" else None,
    )
    refs = _refs(tmp_path)
    before = list(decode(refs, Root(str(tmp_path)), Decode()))
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * 0.7)])
    after = list(decode(refs, Root(str(tmp_path)), Decode()))
    alike = [
        isinstance(cut.image, np.ndarray) and bool((cut.image == _pixels(full)).all())
        for cut, full in zip(after, before, strict=True)
    ]
    assert len(after) == 60
    assert 10 < sum(alike) < 60
    wrong = [frame for frame, same in zip(after, alike, strict=True) if not same]
    assert {_reason(frame) for frame in wrong} <= {Reason.NO_SUCH_FRAME, Reason.TRUNCATED}


@settings(max_examples=20, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30))
def test_no_damage_to_a_clip_ever_raises(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(write_video(folder / "a.mkv", 12).read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    (folder / "a.mkv").write_bytes(content)
    refs = [FrameRef(str(index), "a.mkv", index) for index in range(14)]
    assert [frame.ref for frame in decode(refs, Root(str(folder)), Decode())] == refs
    assert build_folder(Root(str(folder))).table.num_rows >= 1


def test_a_remote_clip_reads_alike(tmp_path: Path) -> None:
    import fsspec

    content = write_video(tmp_path / "a.mp4", 12, options={"bf": "2"}).read_bytes()
    fsspec.filesystem("memory").pipe("/clips/a.mp4", content)
    refs = _refs(tmp_path)
    here = [_pixels(frame) for frame in decode(refs, Root(str(tmp_path)), Decode())]
    there = [_pixels(frame) for frame in decode(refs, Root("memory://clips"), Decode())]
    assert all((a == b).all() for a, b in zip(here, there, strict=True))


def test_a_name_that_is_no_utf8_reads_alike(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 3).rename(tmp_path / os.fsdecode(b"caf\xe9 \n.mp4"))
    (ref, *_rest) = refs = _refs(tmp_path)
    assert ref.uri == "caf%E9 \n.mp4"
    assert all(isinstance(frame.image, np.ndarray) for frame in decode(refs, Root(str(tmp_path)), Decode()))


# Real files.


def test_every_portrait_decodes(shared: Path) -> None:
    refs = _refs(shared / "data" / "congress-portraits")
    assert len(refs) == 879
    for frame in decode(refs, Root(str(shared / "data" / "congress-portraits")), Decode()):
        assert isinstance(frame.image, np.ndarray)


def test_every_frame_of_every_clip_decodes(shared: Path) -> None:
    folder = shared / "data" / "sign-videos"
    refs = _refs(folder)
    assert len(refs) == 2979
    assert all(isinstance(frame.image, np.ndarray) for frame in decode(refs, Root(str(folder)), Decode()))
