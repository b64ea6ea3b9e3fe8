"""A code of the label is told from expression and anonymity; added label knowledge is suspected, noise and gain are not."""

import numpy as np
import pytest

from normpipe.audit.codes import LabelCode, LabelSurplus, Verdict, label_code, label_surplus
from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import Floats, Groups
from tests.audit.factories import FEW, Faces, faces


def _code(made: Faces, normalized: Floats) -> LabelCode:
    found = label_code(made.original, normalized.astype(np.float32), made.labels, made.subjects, FEW)
    assert isinstance(found, LabelCode)
    return found


def _one_face_per_class(made: Faces) -> Floats:
    classes = Groups.of(made.labels)
    means = classes.sums(made.expression) / classes.counts[:, None]
    return means[classes.index].astype(np.float32)


def _noise(made: Faces, size: float) -> Floats:
    return np.random.default_rng(8).normal(0, size, made.original.shape).astype(np.float32)


def test_one_face_per_class_is_a_label_only_code() -> None:
    made = faces()
    for noise in (0.0, 0.1, 0.5):
        found = _code(made, _one_face_per_class(made) + _noise(made, noise))
        assert found.verdict is Verdict.LABEL_ONLY_CODE
        assert not isinstance(found.within_class, NotMeasurable)
        assert isinstance(found.within_class.correlation, Figure)
        assert abs(found.within_class.correlation.value) < 0.1
    bare = _code(made, _one_face_per_class(made))
    assert not isinstance(bare.within_class, NotMeasurable)
    assert isinstance(bare.label_share, Figure)
    assert isinstance(bare.within_class.kept, Figure)
    assert bare.label_share.value > 0.95
    assert bare.within_class.kept.value < 1e-6


def test_expression_without_the_person_is_kept() -> None:
    made = faces()
    found = _code(made, made.expression + _noise(made, 0.5))
    assert found.verdict is Verdict.EXPRESSION_KEPT
    assert not isinstance(found.within_person_and_class, NotMeasurable)
    assert isinstance(found.within_person_and_class.slope, Figure)
    assert found.within_person_and_class.slope.value == pytest.approx(1, abs=0.1)


def test_shuffled_faces_are_neither() -> None:
    made = faces()
    shuffled = made.original[np.random.default_rng(1).permutation(len(made))]
    assert _code(made, shuffled).verdict is Verdict.EXPRESSION_LOST


def test_the_person_alone_does_not_pass_for_expression_within_people() -> None:
    made = faces()
    within = _code(made, made.person + _noise(made, 0.1)).within_person_and_class
    assert not isinstance(within, NotMeasurable)
    assert isinstance(within.correlation, Figure)
    assert abs(within.correlation.value) < 0.1


def _surplus(made: Faces, normalized: Floats) -> LabelSurplus:
    seen = (made.expression + _noise(made, 1.0)).astype(np.float32)  # another instrument's view of the source
    found = label_surplus(seen, made.original, normalized.astype(np.float32), made.labels, made.subjects, FEW)
    assert isinstance(found, LabelSurplus)
    return found


def test_label_knowledge_beyond_the_source_is_suspected() -> None:
    made = faces(people=80)
    assert _surplus(made, _one_face_per_class(made)).suspected
    assert _surplus(made, made.expression + 3 * _one_face_per_class(made)).suspected


def test_an_honest_renderer_is_not_suspected() -> None:
    made = faces(people=80)
    for honest in (made.original, 1.4 * made.original, made.original + _noise(made, 0.7), made.person):
        assert not _surplus(made, honest).suspected


def test_what_cannot_be_told_says_why() -> None:
    made = faces(people=12)

    def why(labels: list[str]) -> Why:
        found = label_code(made.original, made.original, np.array(labels), made.subjects, FEW)
        assert isinstance(found, NotMeasurable)
        return found.why

    assert why([""] * 72) is Why.NO_LABELS
    assert why(["x"] * 72) is Why.ONE_CLASS
    assert why(["x"] * 6 + ["y"] * 6 + [""] * 60) is Why.TOO_FEW_SUBJECTS


def test_rows_without_a_face_or_a_label_are_not_counted() -> None:
    made = faces()
    holes = made.original.copy()
    holes[3] = np.nan
    labels = made.labels.copy()
    labels[5] = ""
    found = label_code(made.original, holes, labels, made.subjects, FEW)
    assert isinstance(found, LabelCode)
    assert found.rows == len(made) - 2
