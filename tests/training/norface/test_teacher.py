"""The teacher: flow, light, landmarks and picture say the same."""

import numpy as np

from .small import NOTHING, teacher_of, torch

from normpipe.normalizers.norface.decoder import Drawing, draw  # isort: skip
from normpipe.training.norface.teacher import Layers  # isort: skip


def test_no_expression_is_the_common_face_itself(photos, common):
    teacher = teacher_of(photos)
    lesson = teacher.lesson(NOTHING, 64)
    assert np.abs(lesson.flow).max() < 1e-3
    assert not lesson.light.any()
    assert 0.3 < lesson.mask.mean() < 0.7
    assert np.allclose(teacher.layout.points(NOTHING), teacher.layout.neutral(), atol=1e-6)


def test_what_is_asked_for_is_drawn_and_nothing_else(photos):
    code = np.random.default_rng(1).normal(0, 1, 121).astype(np.float32)
    off = {"by_landmarks": 0, "by_rig": 0, "by_detail": 0}
    assert not teacher_of(photos, **off).lesson(code, 32).light.any()
    assert np.abs(teacher_of(photos, **off).lesson(code, 32).flow).max() < 1e-3
    for name in ("by_landmarks", "by_rig"):
        lesson = teacher_of(photos, **{**off, name: 1}).lesson(code, 32)
        assert np.abs(lesson.flow).max() > 1e-3
        assert not lesson.light.any()
    assert teacher_of(photos, **{**off, "by_detail": 1}).lesson(code, 32).light.any()


def test_wrinkles_are_drawn_as_far_as_it_is_asked_for(photos):
    code = np.zeros(121, np.float32)
    code[97:] = np.random.default_rng(1).normal(0, 0.2, 24)
    once, twice = (teacher_of(photos, by_detail=share).lesson(code, 32).light for share in (0.4, 0.8))
    assert 0 < np.abs(twice).max() < 1
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5)


def test_flow_and_picture_agree(photos, common):
    """Who follows the flow draws the picture, but for eyes and mouth."""
    teacher = teacher_of(photos, by_landmarks=1, by_rig=0)
    code = np.zeros(121, np.float32)
    code[57:97] = np.random.default_rng(2).normal(0, 1, 40)
    lesson = teacher.lesson(code, 128)
    zeros = torch.zeros(1, 1, 128, 128)
    drawing = Drawing(torch.from_numpy(lesson.flow)[None], zeros, zeros, zeros.expand(-1, 3, -1, -1))
    colour, alpha = draw(*common.layers(128), drawing)
    drawn = ((alpha * colour + (1 - alpha) * (61 / 127.5 - 1))[0].permute(1, 2, 0).numpy() + 1) * 127.5
    layers = Layers.of(common, teacher.layout.neutral())
    image = np.full((128, 128, 3), 128, np.uint8)
    landmarks = np.column_stack([teacher.layout.neutral(), np.zeros(468)]).astype(np.float32)
    picture = layers.picture(teacher.layout.points(code), image, landmarks, teacher.model)
    still = layers.picture(teacher.layout.neutral(), image, landmarks, teacher.model)
    skin = lesson.mask[0] > 0
    assert np.abs(lesson.flow[:, skin]).max() > 0.01
    error = np.abs(drawn - picture)[skin]
    assert np.median(error) < 2
    assert error.mean() < 0.5 * np.abs(still.astype(float) - picture)[skin].mean()


def test_somebodys_mouth_is_seen_where_the_drawing_opens_it(photos, common):
    teacher = teacher_of(photos)
    layers = Layers.of(common, teacher.layout.neutral())
    points = teacher.layout.neutral().copy()
    points[[14, 87, 317, 178, 402, 88, 318, 95, 324]] += np.array([0, 0.06], np.float32)
    landmarks = np.column_stack([points, np.zeros(468)]).astype(np.float32)
    across, down = (points[[13, 14]].mean(axis=0) * 64).astype(int)
    seen = []
    for level in (240, 20):
        image = np.full((64, 64, 3), 128, np.uint8)
        image[down - 4 : down + 5, across - 6 : across + 7] = level
        seen.append(layers.picture(points, image, landmarks, teacher.model)[down, across].mean())
    assert seen[0] > seen[1] + 80
