"""The audit's answers on photos, where they are known: the originals themselves, shuffled faces, a code of the label.

100 photos of 25 people, measured by the embedded face engine and as HOG features.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from normpipe.audit.attackers import AttackLimits, Method, identity
from normpipe.audit.classifier import NORMALIZED, ClassifierLimits, classification
from normpipe.audit.codes import LabelCode, Verdict, label_code
from normpipe.audit.expression import Changes, changes, displacement
from normpipe.audit.figures import Figure
from normpipe.audit.groups import Floats, Groups, Names
from normpipe.audit.hog import hog_features
from normpipe.audit.identity import Verification
from normpipe.audit.moments import Agreement
from normpipe.audit.pairs import Rows
from normpipe.batches import FrameRef
from normpipe.config import Pipeline
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.records import Failure
from normpipe.sources.root import Root
from normpipe.stages.align import align
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect
from tests.audit.factories import FEW

_PEOPLE, _EACH = 25, 4


class Photos:
    """Measured photos: subjects, labels, shapes (n, 936), HOG (n, 2592)."""

    def __init__(self, root: Path) -> None:
        with (root / "labels.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["emotion"] in ("neutral", "happiness")]
        counts = Counter(row["subject"] for row in rows)
        chosen = sorted(name for name, count in counts.items() if count >= _EACH)[:_PEOPLE]
        picked = [row for name in chosen for row in [each for each in rows if each["subject"] == name][:_EACH]]
        pipeline = Pipeline()
        detector, landmarker = build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu")
        frames = decode([FrameRef(row["path"], row["path"]) for row in picked], Root(str(root)), pipeline.decode)
        landmarks, hogs, kept = [], [], []
        for row, frame in zip(picked, frames, strict=True):
            face = align(detect([frame], detector, landmarker, pipeline.detect)[0], pipeline.size, pipeline.align)
            if not isinstance(face, Failure):
                kept.append(row)
                landmarks.append(face.landmarks)
                hogs.append(hog_features(face.image))
        self.subjects: Names = np.array([row["subject"] for row in kept])
        self.labels: Names = np.array([row["emotion"] for row in kept])
        self.shapes: Floats = measured_shape(np.stack(landmarks))[0]
        self.hog: Floats = np.stack(hogs)
        self.shuffled = np.random.default_rng(0).permutation(len(kept))

    def one_face_per_class(self, values: Floats) -> Floats:
        classes = Groups.of(self.labels)
        return (classes.sums(values) / classes.counts[:, None])[classes.index].astype(np.float32)


@pytest.fixture(scope="module")
def photos(shared: Path) -> Photos:
    root = shared / "data" / "labelled-faces"
    if not root.is_dir():
        pytest.skip("needs ../shared/data/labelled-faces")
    return Photos(root)


def _aucs(photos: Photos, normalized: Floats) -> dict[Method, Figure]:
    found = identity({"hog": photos.hog}, {"hog": normalized}, Rows(photos.subjects, photos.labels), FEW, AttackLimits())
    figures = {}
    for attack in found.attacks:
        assert isinstance(attack.result, Verification)
        assert isinstance(attack.result.auc, Figure)
        figures[attack.method] = attack.result.auc
    return figures


def _kept(photos: Photos, normalized: Floats) -> Figure:
    found = changes(photos.shapes, normalized, photos.subjects)
    assert isinstance(found, Changes)
    whole = displacement(found, {}, FEW).whole
    assert isinstance(whole, Agreement)
    assert isinstance(whole.correlation, Figure)
    return whole.correlation


def test_the_originals_keep_person_and_expression(photos: Photos) -> None:
    aucs = _aucs(photos, photos.hog)
    assert aucs[Method.COSINE].low > 0.6
    assert aucs[Method.COSINE].value == pytest.approx(aucs[Method.CROSS_COSINE].value, abs=1e-9)
    assert _kept(photos, photos.shapes).value == pytest.approx(1)


def test_shuffled_faces_keep_neither(photos: Photos) -> None:
    assert abs(_kept(photos, photos.shapes[photos.shuffled]).value) < 0.1
    for auc in _aucs(photos, photos.hog[photos.shuffled]).values():
        assert auc.low < 0.55


def test_a_label_only_code_is_anonymous_and_perfectly_classified_and_named(photos: Photos) -> None:
    code = photos.one_face_per_class(photos.hog)
    for auc in _aucs(photos, code).values():
        assert auc.low < 0.55
    found = classification(photos.hog, code, photos.labels, photos.subjects, FEW, ClassifierLimits(seeds=1))
    assert not hasattr(found, "why")
    assert found.arms[NORMALIZED].macro_f1 == Figure(1, 1, 1)  # type: ignore[union-attr]
    measures = photos.shapes[:, ::40]
    told = label_code(measures, photos.one_face_per_class(measures), photos.labels, photos.subjects, FEW)
    assert isinstance(told, LabelCode)
    assert told.verdict is Verdict.LABEL_ONLY_CODE
    honest = label_code(measures, measures, photos.labels, photos.subjects, FEW)
    assert isinstance(honest, LabelCode)
    assert honest.verdict is Verdict.EXPRESSION_KEPT
