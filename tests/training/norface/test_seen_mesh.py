"""The face mesh sees drawings where they are, and passes gradients on."""

import numpy as np

from .small import teacher_of

from normpipe.training.norface.seen_mesh import SeenMesh  # isort: skip


def test_the_face_mesh_sees_the_common_face_where_it_is(photos, common):
    neutral = teacher_of(photos).layout.neutral()
    picture = common.picture(128).requires_grad_()
    seen = SeenMesh(neutral)(picture)
    assert np.abs(seen.detach().numpy()[0] - neutral).mean() < 0.02
    seen.sum().backward()
    assert picture.grad.abs().sum() > 0
