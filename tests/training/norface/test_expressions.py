"""Random expressions: of the rig's kind, and a function of the generator alone."""

import numpy as np
import pytest

from normpipe.training.norface.expressions import of_gaze, random_expression

NAMES = (
    "PupilDilate_L", "PupilDilate_R", "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L",
    "browOuterUp_R", "cheekSquint_L", "cheekSquint_R", "eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L",
    "eyeWide_R", "jawForward", "jawOpen", "mouthFrown_L", "mouthFrown_R", "mouthLowerDown_L", "mouthLowerDown_R",
    "mouthPress_L", "mouthPress_R", "mouthShrugLower", "mouthSmile_L", "mouthSmile_R", "mouthUpperUp_L",
    "mouthUpperUp_R", "noseSneer_L", "noseSneer_R",
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    random = np.random.default_rng(0)
    return np.stack([random_expression(NAMES, random) for _ in range(2000)])


def test_weights_are_those_of_the_rig(drawn):
    assert drawn.shape == (2000, len(NAMES))
    assert drawn.dtype == np.float32
    assert drawn.min() == 0
    assert 0.9 < drawn.max() <= 1


def test_everything_happens_but_pupils_and_now_and_then_nothing(drawn):
    used = (drawn > 0).mean(axis=0)
    pupils = np.array([name.startswith("Pupil") for name in NAMES])
    assert not used[pupils].any()
    assert used[~pupils].min() > 0.05
    assert 0.02 < (drawn == 0).all(axis=1).mean() < 0.2


def test_sides_go_together_mostly_and_each_is_the_weaker_one_never_the_left(drawn):
    left, right = drawn[:, NAMES.index("mouthSmile_L")], drawn[:, NAMES.index("mouthSmile_R")]
    smiles = left > 0
    assert (right[smiles] == left[smiles]).mean() > 0.5
    assert (right[smiles] < left[smiles]).mean() > 0.05


def test_what_goes_together_on_faces_goes_together(drawn):
    smile, cheek, press = (drawn[:, NAMES.index(name)] for name in ("mouthSmile_L", "cheekSquint_L", "mouthPress_L"))
    assert np.corrcoef(smile, cheek)[0, 1] > np.corrcoef(smile, press)[0, 1] + 0.1


def test_the_generator_decides():
    first, second, third = (random_expression(NAMES, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_gaze_is_where_eyes_turn():
    names = [name for name, gaze in zip(NAMES, of_gaze(NAMES), strict=True) if gaze]
    assert names == ["PupilDilate_L", "PupilDilate_R", "eyeLookUp_L", "eyeLookUp_R"]
