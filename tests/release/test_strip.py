from io import BytesIO

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from normpipe.config import Encode
from normpipe.errors import UsageError
from normpipe.release.strip import Stripper
from normpipe.stages.encode import encode

_SECRET = b"Quisenberry"


def noise(seed=0, side=24):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def saved(kind, **how):
    exif = PillowImage.Exif()
    exif[0x013B] = _SECRET.decode()
    buffer = BytesIO()
    PillowImage.fromarray(noise()).save(buffer, kind, exif=exif, **how)
    return buffer.getvalue()


def png():
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", _SECRET.decode())
    told.add_text("Title", _SECRET.decode(), zip=True)
    told.add_itxt("Place", _SECRET.decode())
    return saved("PNG", pnginfo=told, icc_profile=_SECRET)


TELLING = {
    "jpeg": saved("JPEG", comment=_SECRET, icc_profile=_SECRET, xmp=_SECRET),
    "progressive": saved("JPEG", comment=_SECRET, progressive=True),
    "restarts": saved("JPEG", restart_marker_blocks=1),
    "png": png(),
    "webp": saved("WEBP", xmp=_SECRET, icc_profile=_SECRET),
    "lossless": saved("WEBP", lossless=True),
    "trailer": encode(noise(), Encode()) + _SECRET,
    "comment before the end": encode(noise(), Encode())[:-2] + b"\xff\xfe\x00\x0d" + _SECRET + b"\xff\xd9",
}


def pixels(content):
    with PillowImage.open(BytesIO(content)) as picture:
        return picture.convert("RGB").tobytes()


@pytest.mark.parametrize("name", TELLING)
def test_what_is_told_beside_the_picture_goes_and_pixels_stay(name):
    content = TELLING[name]
    stripped = Stripper().strip(content)
    assert _SECRET in content
    assert _SECRET not in stripped
    assert b"Exif" not in stripped
    assert pixels(stripped) == pixels(content)
    assert Stripper().strip(stripped) is stripped


@pytest.mark.parametrize("options", [Encode(), Encode(quality=60), Encode(format="png"), Encode(format="webp")])
def test_what_a_run_writes_is_clean(options):
    content = encode(noise(), options)
    assert Stripper().strip(content) is content


@pytest.mark.parametrize("name", ["jpeg", "trailer", "comment before the end"])
def test_a_header_that_is_known_hides_nothing(name):
    clean = [encode(noise(seed), Encode()) for seed in range(3)]
    stripper = Stripper()
    column = pa.array([*clean, TELLING[name], *clean], pa.binary())
    done = stripper.column(column).to_pylist()
    assert done[:3] == clean
    assert done[4:] == clean
    assert _SECRET not in done[3]
    assert pixels(done[3]) == pixels(TELLING[name])


def test_clean_columns_are_not_copied_also_where_they_are_slices():
    column = pa.array([encode(noise(seed), Encode()) for seed in range(6)], pa.binary())
    stripper = Stripper()
    for part in (column, column.slice(2, 3), column.slice(5)):
        assert stripper.column(part) is part


@settings(max_examples=60)
@given(st.sampled_from(sorted(TELLING)), st.integers(0, 10_000))
def test_a_file_that_ends_too_early_is_an_error_or_a_picture_without_metadata(name, length):
    content = TELLING[name][:length]
    try:
        stripped = Stripper().strip(content)
    except UsageError:
        return
    assert _SECRET not in stripped


def test_what_is_no_picture_is_an_error():
    for content in (b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\x00\x00", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\x00\x00WEBP"):
        with pytest.raises(UsageError, match="a picture is"):
            Stripper().strip(content)


def test_a_thumbnail_of_the_jfif_header_goes():
    content = cv2.imencode(".jpg", noise())[1].tobytes()
    header = b"\xff\xe0" + (16 + 3).to_bytes(2) + content[6:18] + b"\x01\x01" + b"abc"
    stripped = Stripper().strip(content[:2] + header + content[20:])
    assert stripped == content
