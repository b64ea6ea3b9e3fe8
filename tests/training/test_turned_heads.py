"""Synthetic heads for the fit: each in one expression, seen from several sides before several backgrounds."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.portraits import landmarks, portrait

from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.mean_face.model import load_model
from normpipe.training import turned_heads as module
from normpipe.training.turned_heads import turned_heads

HEADS, VIEWS = 3, 4


@pytest.fixture(scope="module")
def rig_file(shared):
    path = shared / "data" / "ict-facekit" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/ict-facekit/ict_facekit.npz")
    return path


@pytest.fixture
def a_few(monkeypatch):
    monkeypatch.setattr(module, "_HEADS", HEADS)
    monkeypatch.setattr(module, "_VIEWS", VIEWS)


@pytest.fixture(scope="module")
def frontal():
    return portrait(load_model(), landmarks())


@pytest.mark.usefixtures("a_few")
def test_each_head_is_seen_frontal_and_turned_and_comes_out_the_same_again(rig_file, frontal):
    first, second = (turned_heads(rig_file, [frontal], Pipeline()) for _ in range(2))
    assert first.heads.tolist() == [f"head {number}" for number in range(HEADS) for _ in range(VIEWS)]
    assert first.shapes.shape == (HEADS * VIEWS, 936)
    yaws = np.array([face.pose[0] for face in first.faces]).reshape(HEADS, VIEWS)
    assert np.abs(yaws[:, :2]).max() < 8
    assert np.ptp(yaws) > 30
    for number in range(HEADS):
        one, other = first.faces[number * VIEWS : number * VIEWS + 2]
        assert np.abs(one.image[:20].astype(int) - other.image[:20]).mean() > 10, "another background"
    np.testing.assert_array_equal(first.shapes, second.shapes)


@pytest.mark.usefixtures("a_few")
def test_a_portrait_from_the_side_is_no_skin(rig_file, frontal):
    aside = replace(frontal, pose=np.array([25, 0, 0], np.float32))
    with pytest.raises(UsageError, match="no portrait to paint synthetic heads with is frontal"):
        turned_heads(rig_file, [aside], Pipeline())
