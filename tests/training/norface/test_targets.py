"""Targets: shared among the kinds, drawn once, and again where they would be others."""

import numpy as np
import pytest

from normpipe.errors import UsageError

from .small import teacher_of

from normpipe.training.norface.targets import build_targets, drawn_evenly, read_targets  # isort: skip
from normpipe.training.norface.teacher import Layers  # isort: skip


def test_kinds_share_what_is_drawn():
    kinds = np.array(["head"] * 100 + ["photo"] * 10 + ["warp"] * 50)
    rows = drawn_evenly(kinds, 70, 0)
    assert [np.count_nonzero(kinds[rows] == kind) for kind in ("head", "photo", "warp")] == [30, 10, 30]
    assert (np.diff(rows) > 0).all()
    assert len(drawn_evenly(kinds, 1000, 0)) == 160
    assert drawn_evenly(kinds, 70, 1).tolist() != rows.tolist()


def test_targets_are_drawn_once_and_again_where_they_would_be_others(network, photos, tmp_path, monkeypatch):
    from normpipe.training.norface import targets as module

    monkeypatch.setattr(module, "PART_EXAMPLES", 2)
    teacher = teacher_of(photos, by_rig=0)
    layers = Layers.of(network.common_face, teacher.layout.neutral())
    rows, told = np.array([0, 3, 5]), []
    passed = np.random.default_rng(0).normal(0, 1, (9, 121)).astype(np.float32)

    def build(codes):
        told.clear()
        found = build_targets(photos, rows, codes, teacher, layers, tmp_path, 1, lambda *each: told.append(each))
        return found, read_targets(found, rows, codes)

    parts, targets = build(passed)
    assert [part.name for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert told[0] == (0, 9)
    assert told[-1] == (9, 9)
    image, landmarks = photos.picture(3), photos.landmarks[3].astype(np.float32)
    expected = layers.picture(teacher.layout.points(passed[4]), image, landmarks, teacher.model)
    assert np.abs(targets.picture(4).astype(int) - expected).mean() < 3, "the second strength of the second example"
    build(passed)
    assert told == [(9, 9)]
    other = passed.copy()
    other[8] += 1
    build(other)
    assert told == [(6, 9), (9, 9)], "only the part whose codes changed"
    parts[0].write_bytes(b"")
    with pytest.raises(UsageError, match=r"^part-00000\.parquet: this part of the targets is missing or damaged"):
        read_targets(parts, rows, other)
