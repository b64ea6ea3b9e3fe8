"""Drawing: what is trained, what is left alone, and what is not even built."""

import numpy as np
import pytest

from .small import generator, teacher_of, torch

from normpipe.training.norface import config  # isort: skip
from normpipe.training.norface.drawing import DrawingLosses, DrawingTrainee, sample_sheet  # isort: skip
from normpipe.training.norface.targets import STRENGTHS, build_targets, read_targets  # isort: skip
from normpipe.training.norface.teacher import Layers  # isort: skip


@pytest.fixture
def targets(network, photos, tmp_path):
    teacher = teacher_of(photos, by_rig=0)
    rows = np.arange(3)
    passed = np.random.default_rng(0).normal(0, 1, (9, 121)).astype(np.float32)
    layers = Layers.of(network.common_face, teacher.layout.neutral())
    parts = build_targets(photos, rows, passed, teacher, layers, tmp_path / "targets", 1, lambda done, total: None)
    return teacher, read_targets(parts, rows, passed)


def test_drawing_trains_all_that_is_behind_the_code_and_nothing_else(network, targets, photos):
    teacher, found = targets
    losses = DrawingLosses(network, config.Drawing(), teacher.layout.neutral(), None)
    trainee = DrawingTrainee(losses, found, teacher)
    torch.nn.init.normal_(network.decoder.leave.weight, std=0.1)  # else nothing behind it gets a gradient yet
    losses.requires_grad_(False)
    trained = [weight.requires_grad_() for weights, _ in trainee.paces() for weight in weights]
    given = trainee.batch(np.arange(4), generator())
    parts = losses(*given)
    assert set(parts) == {"flow", "light", "picture"}
    sum(parts.values()).backward()
    assert all(weight.grad is not None for weight in trained)
    untrained = {name.partition(".")[0] for name, weight in network.merger.named_parameters() if not weight.requires_grad}
    assert untrained == {"questions", "answer", "narrow", "read", "expected"}
    sheet = sample_sheet(losses, photos, found)
    assert sheet.shape == (3 * 64, (1 + len(STRENGTHS)) * 64, 3)
    assert (sheet[:64, :64] == photos.picture(0)).all()


def test_losses_without_weight_are_not_built(network, photos):
    teacher = teacher_of(photos)
    plain = DrawingLosses(network, config.Drawing(), teacher.layout.neutral(), None)
    assert (plain.judge, plain.mesh, plain.encoder, plain.identity) == (None,) * 4
