"""Training faces: rows without a face fall out and no label is shifted to another row."""

import cv2
import numpy as np
import pytest
from fixtures.photos import astronaut

from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.sources.manifest import manifest_table
from normpipe.training.samples import analyze, collect

FILES = ("blank.png", "face.png", "missing.png", "mirrored.png", "small.png")
EMOTIONS = ("fear", "happiness", "anger", None, "neutral")
SUBJECTS = ("x", "her", "x", None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    photo = astronaut()[..., ::-1]
    cv2.imwrite(str(root / "blank.png"), np.full((80, 80, 3), 120, np.uint8))
    cv2.imwrite(str(root / "face.png"), photo)
    cv2.imwrite(str(root / "mirrored.png"), photo[:, ::-1])
    cv2.imwrite(str(root / "small.png"), cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return root


@pytest.fixture(scope="module")
def manifest():
    columns = {"sample_id": list(FILES), "uri": list(FILES), "emotion": list(EMOTIONS), "subject": list(SUBJECTS)}
    return manifest_table(columns, len(FILES))


@pytest.fixture(scope="module")
def samples(folder, manifest):
    return collect(manifest, folder, Pipeline(size=128))


def test_rows_with_a_face_are_analyzed_in_order(folder, manifest):
    found = list(analyze(manifest, folder, Pipeline(size=128)))
    assert [number for number, _ in found] == [1, 3, 4]
    assert all(face.image.shape == (128, 128, 3) for _, face in found)


def test_a_manifest_without_any_face_is_one_line(folder):
    blank = manifest_table({"sample_id": ["a"], "uri": ["blank.png"], "emotion": [None], "subject": [None]}, 1)
    with pytest.raises(UsageError, match=r"^none of the 1 rows to fit on shows a face; check the manifest and its ROOT$"):
        collect(blank, folder, Pipeline(size=128))


def test_labels_stay_with_their_rows(samples):
    assert samples.emotions.tolist() == ["happiness", "", "neutral"]
    assert samples.subjects[0] == "her"


def test_rows_without_a_subject_are_one_person_each(samples):
    assert len(set(samples.subjects.tolist())) == 3


def test_shapes_are_those_of_the_faces(samples):
    assert samples.shapes.shape == (3, 936)
    assert samples.poses.shape == (3, 6)
    shapes, poses = measured_shape(np.stack([face.landmarks for face in samples.faces]))
    np.testing.assert_array_equal(samples.shapes, shapes)
    np.testing.assert_array_equal(samples.poses, poses)
    smile_again = np.corrcoef(samples.shapes[0], samples.shapes[2])[0, 1]
    assert smile_again > 0.95, "the same photo, smaller"
