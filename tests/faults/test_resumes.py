"""What a resume refuses, and what it does not mind."""

import shutil

import cv2
import pytest
from fixtures.runs import digests

from faults import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def begun(case, tmp_path):
    """A copy of the photos and the first half of a run on them."""
    photos = tmp_path / "photos"
    shutil.copytree(case.photos, photos)
    out = tmp_path / "out"
    process = command.start(case.manifest, out, "--root", photos, *case.options[2:])
    command.wait_for(lambda: command.committed(out) >= 3)
    command.kill_all(process)
    process.stdout.close()
    return photos, out


def resume(case, photos, out, *options):
    return command.run(case.manifest, out, "--root", photos, *case.options[2:], *options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--set", "encode.quality=80"), "encode.quality"),
        (("--set", "normalize.detail=1.0"), "normalize.detail"),
        (("--policy", "all"), "detect.policy"),
        (("--limit", "100"), "limit"),
    ],
)
def test_another_configuration_is_refused_by_name(case, begun, options, named):
    before = {path: path.stat().st_mtime_ns for path in (begun[1] / "shards").iterdir()}
    code, text = resume(case, *begun, *options)
    assert code == 3, text
    assert named in text
    assert {path: path.stat().st_mtime_ns for path in (begun[1] / "shards").iterdir()} == before


def test_another_identity_photo_under_the_same_name_is_refused(case, tmp_path):
    photo, out = tmp_path / "identity.jpg", tmp_path / "out"
    shutil.copy(case.photos / "photo00.jpg", photo)
    process = case.start(out, "--identity", photo)
    command.wait_for(lambda: command.committed(out) >= 2)
    command.kill_all(process)
    process.stdout.close()
    shutil.copy(case.photos / "photo05.jpg", photo)
    code, text = case.run(out, "--identity", photo)
    assert code == 3, text
    assert "identity" in text


def test_another_manifest_is_refused(case, begun, tmp_path):
    photos, out = begun
    other = tmp_path / "other.csv"
    lines = case.manifest.read_text().splitlines()
    other.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    code, text = command.run(other, out, "--root", photos, *case.options[2:])
    assert code == 3, text
    assert "manifest" in text


def test_a_photo_replaced_on_disk_is_refused_by_its_samples(case, begun):
    photos, out = begun
    picture = cv2.imread(str(photos / "photo00.jpg"))
    cv2.imwrite(str(photos / "photo00.jpg"), cv2.flip(picture, 1))
    code, text = resume(case, photos, out)
    assert code == 3, text
    assert "row0000" in text
    assert str(photos) not in text
    code, text = resume(case, photos, out, "--hash-ids")
    assert code == 3, text
    assert "row0000" not in text


def test_moved_photos_and_a_moved_run_go_on(case, begun, undisturbed, tmp_path):
    photos, out = begun
    elsewhere, copied = tmp_path / "moved" / "run", tmp_path / "moved" / "copied"
    shutil.copytree(photos, copied)  # new times and inodes, the same bytes
    shutil.rmtree(photos)
    out.rename(elsewhere)
    code, text = resume(case, copied, elsewhere)
    assert code == 0, text
    assert digests(elsewhere) == undisturbed
