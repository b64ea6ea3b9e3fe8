"""Pictures to generate: the teacher's own before any background, with the wrinkles that the targets do not have."""

import numpy as np
import pytest

from normpipe.config import Normalize

from .small import teacher_of, torch

from normpipe.training.norface.painted import PaintedSet  # isort: skip
from normpipe.training.norface.targets import build_targets, read_targets  # isort: skip
from normpipe.training.norface.teacher import Layers  # isort: skip

GROUND = torch.tensor(Normalize().background).view(3, 1, 1) / 127.5 - 1


@pytest.fixture
def painted(network, photos, tmp_path):
    """Nine pictures, with as much of the wrinkles as is asked for."""
    passed = np.random.default_rng(0).normal(0, 1, (9, 121)).astype(np.float32)
    rows = np.arange(3)

    def paint(by_detail: float) -> PaintedSet:
        teacher = teacher_of(photos, by_rig=0, by_detail=by_detail)
        layers = Layers.of(network.common_face, teacher.layout.neutral())
        parts = build_targets(photos, rows, passed, teacher, layers, tmp_path, 1, lambda done, total: None)
        return PaintedSet(read_targets(parts, rows, passed), teacher, layers)

    return paint


def test_before_the_teachers_background_they_are_the_teachers_pictures(painted):
    found = painted(0.0)
    chosen = np.array([5, 0, 8])
    pictures = found.pictures(chosen)
    assert (pictures.shape, pictures.dtype, len(found)) == ((3, 4, 64, 64), torch.float32, 9)
    colour, alpha = pictures[:, :3], (pictures[:, 3:] + 1) / 2
    before = np.stack([found.targets.picture(int(index)) for index in chosen])
    again = ((alpha * colour + (1 - alpha) * GROUND + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    error = np.abs(again - before)
    assert error.mean() < 0.5
    assert np.quantile(error, 0.99) < 6, "rims, which JPEG blurs"


def test_beside_the_face_there_is_nothing_in_the_colours_of_the_rim(painted):
    (picture,) = painted(0.0).pictures(np.array([4]))
    assert picture.abs().max() <= 1
    corners = picture[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners[3] == -1).all()
    assert (corners[:3] - GROUND[..., 0]).abs().min(dim=1).values.max() > 0.1, "which is no background"
    assert picture[3, 32, 32] == 1


def test_wrinkles_are_laid_on_as_the_lesson_says(painted):
    plain, wrinkled = (painted(share).pictures(np.array([4]))[0] for share in (0.0, 0.8))
    assert torch.equal(plain[3], wrinkled[3])
    found = painted(0.8)
    lesson = found.teacher.lesson(found.targets.passed[4], 64)
    ratio = ((wrinkled[:3] + 1) / (plain[:3] + 1).clamp(min=1e-3)).log().mean(dim=0).numpy()
    inside = lesson.mask[0] > 0
    assert np.corrcoef(ratio[inside], lesson.light[0][inside])[0, 1] > 0.9
    beside = plain[3].numpy() == -1
    assert np.abs(ratio[beside]).mean() < 0.1 * np.abs(ratio[inside]).mean()
