"""Every subject's own neutral face: the mean of its frames, with the weight that so many frames have."""

from typing import ClassVar

import numpy as np
import pytest
from fixtures.faces import aligned_face
from fixtures.normalizers import GreyComposite
from fixtures.puppets import PuppetEngine, write_clip, write_stills
from fixtures.runs import planned, run
from scipy.spatial.transform import Rotation

from normpipe.batches import Landmarks
from normpipe.engine.plan import read_plan
from normpipe.faces.geometry import mean_shape
from normpipe.shards.reader import iter_rows
from normpipe.stages.neutrals import NEUTRALS_FILE, frontal_shape, read_neutrals
from normpipe.stages.pipeline import Models

LIP = 13  # a point that the rigid fit does not use


class Mimes(PuppetEngine):
    """Puppets whose lip hangs as low as their square is wide: what they express is known."""

    fingerprint = "mimes/1"

    def landmarks(self, image, detections):
        placed = super().landmarks(image, detections)
        for one, detection in zip(placed, detections, strict=True):
            side = float(detection.box[2] - detection.box[0])
            one.points[LIP, 1] += side * hanging(side)
        return [Landmarks(one.points, one.score) for one in placed]


def hanging(side):
    return (side - 40) / 100


class Keeps(GreyComposite):
    """Remembers what it was told of the subjects."""

    told: ClassVar[list] = []

    def normalize(self, faces):
        self.told.extend(face.neutral for face in faces)
        return super().normalize(faces)


def mimes(_):
    engine = Mimes()
    return Models(engine, engine, Keeps())


@pytest.fixture
def stills(tmp_path):
    """Squares of 40 to 49 pixels."""
    folder = tmp_path / "faces"
    folder.mkdir()
    return folder, write_stills(folder, [{"red": (30, 20, 40 + step)} for step in range(10)])


def table(folder, lines, header="sample_id,uri,dataset,subject,emotion"):
    path = folder / "table.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def neutrals_of(source, out, *settings):
    run(source, out, "normalize.own_neutral=true", *settings, build=mimes)
    return read_neutrals(out / NEUTRALS_FILE)


def lip(neutral):
    """How far the lip hangs below that of the mean face, in face units."""
    return float(neutral.shape[LIP, 1] - mean_shape().points[LIP, 1])


def face_units(side_share):
    """Shares of the square's side as eye distances."""
    return side_share * float(np.ptp(mean_shape().points[:, 0]))


def test_the_mean_of_a_subjects_frames(stills, tmp_path):
    folder, names = stills
    lines = [f"{n},{name},,{'anna' if n < 4 else 'ben'}," for n, name in enumerate(names)]
    found = neutrals_of(table(folder, lines), tmp_path / "out")
    assert lip(found.of(None, "anna")) == pytest.approx(face_units(np.mean([hanging(40 + n) for n in range(4)])), abs=2e-3)
    assert lip(found.of(None, "ben")) == pytest.approx(face_units(np.mean([hanging(40 + n) for n in range(4, 10)])), abs=2e-3)


def test_labels_decide_about_no_picture(stills, tmp_path):
    folder, names = stills
    found = []
    for emotions in (["neutral", "surprise"] * 5, ["surprise"] * 10):
        lines = [f"{n},{name},,anna,{emotion}" for n, (name, emotion) in enumerate(zip(names, emotions, strict=True))]
        out = tmp_path / emotions[0]
        found.append(neutrals_of(table(folder, lines), out).of(None, "anna"))
    assert found[0].weight == found[1].weight == pytest.approx(10 / 18, abs=0.01)
    np.testing.assert_array_equal(found[0].shape, found[1].shape)


def test_frames_labelled_neutral_count_alone_if_labels_may_decide(stills, tmp_path):
    folder, names = stills
    lines = [f"{n},{name},,anna,{'neutral' if n in (1, 3) else 'surprise'}" for n, name in enumerate(names)]
    own = neutrals_of(table(folder, lines), tmp_path / "out", "normalize.neutral_labels=true").of(None, "anna")
    assert lip(own) == pytest.approx(face_units(hanging(42)), abs=2e-3)
    assert own.weight == pytest.approx(2 / 3, abs=0.01)  # frontal puppets: two frames of evidence 1


def test_more_frames_weigh_more_neutral_ones_more_and_frames_of_one_clip_less(stills, tmp_path):
    folder, names = stills
    write_clip(folder / "clip.png", [{"red": (30 + step, 20, 40)} for step in range(10)])
    lines = [f"{n},{name},,few,," for n, name in enumerate(names[:2])]
    lines += [f"m{n},{name},,many,," for n, name in enumerate(names)]
    lines += [f"n{n},{name},,neutral,neutral," for n, name in enumerate(names)]
    lines += [f"c{n},clip.png,,clip,,{n}" for n in range(10)]
    source = table(folder, lines, "sample_id,uri,dataset,subject,emotion,frame")
    found = neutrals_of(source, tmp_path / "out", "normalize.neutral_labels=true")
    weights = [found.of(None, subject).weight for subject in ("clip", "few", "many", "neutral")]
    assert weights == sorted(weights)
    assert 0.05 < weights[0] < weights[-1] < 1


def test_the_same_name_in_two_datasets_is_two_people(stills, tmp_path):
    folder, names = stills
    lines = [f"{n},{name},{'one' if n < 5 else 'two'},s1," for n, name in enumerate(names)]
    found = neutrals_of(table(folder, lines), tmp_path / "out")
    assert lip(found.of("one", "s1")) < lip(found.of("two", "s1"))


def test_rows_without_a_subject_are_left_to_the_normalizer(stills, tmp_path):
    folder, names = stills
    lines = [f"{n},{name},,{'anna' if n else ''}," for n, name in enumerate(names[:3])]
    Keeps.told.clear()
    found = neutrals_of(table(folder, lines), tmp_path / "out")
    assert found.of(None, None) is None
    assert found.of(None, "nobody") is None
    assert [neutral is None for neutral in Keeps.told] == [True, False, False]
    np.testing.assert_array_equal(Keeps.told[1].shape, found.of(None, "anna").shape)


def test_frames_with_several_faces_tell_nothing(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    names = write_stills(folder, [{"red": (30, 20, 40)}, {"red": (30, 20, 40), "blue": (150, 20, 60)}])
    source = table(folder, [f"{n},{name},,anna," for n, name in enumerate(names)])
    found = neutrals_of(source, tmp_path / "out", "detect.policy=all")
    assert lip(found.of(None, "anna")) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("shard_size", [1, 3])
def test_neutrals_and_pictures_do_not_depend_on_the_shards(stills, tmp_path, shard_size):
    folder, names = stills
    source = table(folder, [f"{n},{name},,{'anna' if n % 2 else 'ben'}," for n, name in enumerate(names)])
    outs = [tmp_path / "whole", tmp_path / "cut"]
    for out, size in zip(outs, (10, shard_size), strict=True):
        neutrals_of(source, out, f"shard_size={size}")
    assert len({(out / NEUTRALS_FILE).read_bytes() for out in outs}) == 1
    assert len({str(list(iter_rows(out))) for out in outs}) == 1


def test_what_was_found_is_part_of_the_fingerprint(stills, tmp_path):
    folder, names = stills
    source = table(folder, [f"{n},{name},,anna," for n, name in enumerate(names)])
    ready = planned(source, tmp_path / "out", "normalize.own_neutral=true", build=mimes)
    neutrals_of(source, tmp_path / "out")
    found = read_plan(tmp_path / "out").fingerprint.parts
    assert set(found) - set(ready.plan.fingerprint.parts) == {"reduced.neutrals"}


def test_a_frontal_shape_is_free_of_pose_size_and_place():
    shape = mean_shape().points.copy()
    shape[LIP] += (0.0, 0.1, 0.0)
    turned = 80 * shape @ Rotation.from_euler("yxz", [25, 10, -20], degrees=True).as_matrix().T + (300, 200, 5)
    np.testing.assert_allclose(frontal_shape(turned.astype(np.float32)), shape, atol=1e-4)


def test_a_face_of_nobody_in_particular_has_none():
    assert aligned_face(0).neutral is None
