"""Finished runs as a source of faces: what was rendered comes back, and a run that will not do is refused in one line."""

import json
import shutil

import numpy as np
import pytest
from fixtures.portraits import landmarks

from normpipe.config import Align, Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.model import load_model
from normpipe.sources.manifest import frame_refs, read_manifest
from normpipe.sources.root import Root
from normpipe.stages.align import align
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect
from normpipe.training.norface.runs import finished_run, mouth_opening


def test_the_faces_are_those_that_were_rendered(portraits, run_folder):
    pipeline = Pipeline()
    refs = frame_refs(read_manifest(run_folder.parent / "photos" / "people.parquet"))
    frames = decode(refs, Root(str(run_folder.parent / "photos")), pipeline.decode)
    detector, landmarker = build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu")
    rows = [row for row in detect(list(frames), detector, landmarker, pipeline.detect) if row.face_index is not None]
    found = list(portraits.faces(0, len(portraits)))
    assert [one.name for one in found] == [f"{row.frame.ref.sample_id}/0" for row in rows]
    for one, row in zip(found, rows, strict=True):
        wanted = align(row, pipeline.size, Align())
        np.testing.assert_array_equal(one.face.landmarks, wanted.landmarks)
        np.testing.assert_array_equal(one.face.pose, wanted.pose)
        np.testing.assert_array_equal(one.face.frame_corners, wanted.frame_corners)
        assert np.abs(one.face.image.astype(int) - wanted.image).mean() < 3, "but for the JPEG"


def test_a_person_is_the_subject_or_else_the_sample(portraits):
    people = [one.person for one in portraits.faces(0, len(portraits))]
    assert people == ["p000"] * 3 + ["calm"] * 2 + ["p000"] * 2 + ["p001"] * 4 + ["p001-4"]


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (2, 6), (7, 12), (3, 3)])
def test_faces_may_be_read_in_any_pieces(portraits, start, stop):
    whole = [one.name for one in portraits.faces(0, len(portraits))]
    assert [one.name for one in portraits.faces(start, stop)] == whole[start:stop]
    assert portraits.face(4).name == whole[4]


def test_calm_faces_look_into_the_camera_with_shut_lips(portraits):
    faces = list(portraits.faces(0, len(portraits)))
    assert set(portraits.near_frontal()) == {number for number, one in enumerate(faces) if np.abs(one.face.pose[:2]).max() < 15}
    calm = [faces[number] for number in portraits.calm(load_model())]
    assert {one.person for one in calm} == {"calm"}
    assert mouth_opening(np.stack([one.face.landmarks for one in calm])).max() < 0.04


def test_the_digest_tells_of_the_content_and_not_of_the_place(portraits, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "elsewhere")
    assert finished_run(tmp_path / "elsewhere", 128).digest == portraits.digest


def altered(run_folder, target, name, value):
    """A copy of the run whose plan says something else."""
    shutil.copytree(run_folder, target)
    plan = json.loads((target / "plan.json").read_text())
    plan["fingerprint_parts"][name] = json.dumps(value)
    (target / "plan.json").write_text(json.dumps(plan))
    return target


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("config.normalize.normalizer", "other", "out: a run of the normalizer other; examples are made of runs of mean_face"),
        ("config.align.margin", 0.2, "out: its align.margin is 0.2; examples are made of runs with 0.1"),
        ("config.size", 96, "out: its pictures have 96 pixels a side, fewer than the 128 of the examples"),
        ("config.seed", 7, "out: the run is not finished (0 of 4 shards); finish it first"),
    ],
    ids=["normalizer", "margin", "size", "other run"],
)
def test_a_run_that_will_not_do_is_refused(run_folder, tmp_path, name, value, message):
    with pytest.raises(UsageError) as error:
        finished_run(altered(run_folder, tmp_path / "out", name, value), 128)
    assert str(error.value) == message


def test_a_run_without_some_part_is_not_finished(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "out")
    (tmp_path / "out" / "shards" / "part-00001.parquet").unlink()
    with pytest.raises(UsageError, match=r"^out: the run is not finished \(3 of 4 shards\); finish it first$"):
        finished_run(tmp_path / "out", 128)


def test_a_folder_that_is_no_runs_is_refused(tmp_path):
    with pytest.raises(UsageError, match=rf"^{tmp_path.name}: not a run's folder"):
        finished_run(tmp_path, 128)


def test_a_run_without_a_face_is_refused(run_folder, tmp_path):
    from fixtures.runs import run

    from normpipe.stages.parts import build_models

    (tmp_path / "photos").mkdir()
    shutil.copy(run_folder.parent / "photos" / "noise.png", tmp_path / "photos")
    run(tmp_path / "photos", tmp_path / "out", build=build_models)
    with pytest.raises(UsageError, match=r"^out: none of its rows has a pair"):
        finished_run(tmp_path / "out", 128)


def test_a_mouths_opening_does_not_depend_on_the_size():
    points = np.stack([landmarks(), landmarks()])
    points[1] *= 3
    points[:, 14, 1] = points[:, 13, 1] + 0.1 * np.linalg.norm(points[:, 33, :2] - points[:, 263, :2], axis=1)
    points[:, 14, 0] = points[:, 13, 0]
    np.testing.assert_allclose(mouth_opening(points), 0.1, rtol=1e-5)
