"""The plain classifier: arms, paired differences, rows without an image, and agreement with scikit-learn's scores."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from normpipe.audit.classifier import (
    BOTH,
    NORMALIZED,
    ORIGINAL,
    TWICE,
    Classification,
    ClassifierLimits,
    classification,
    judged,
)
from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.groups import Floats, Groups
from normpipe.audit.hog import hog_features
from tests.audit.factories import FEW, Faces, faces

_LIMITS = ClassifierLimits(seeds=2)


def _value(figure: Measured) -> float:
    assert isinstance(figure, Figure), figure
    return figure.value


def _run(made: Faces, originals: Floats, normalized: Floats) -> Classification:
    found = classification(originals, normalized, made.labels, made.subjects, FEW, _LIMITS)
    assert isinstance(found, Classification)
    return found


def test_equal_images_have_no_difference() -> None:
    made = faces(people=60)
    found = _run(made, made.original, made.original)
    assert found.arms[ORIGINAL] == found.arms[NORMALIZED]
    assert found.arms[BOTH] == found.arms[TWICE]
    for contrast in found.contrasts[:2]:
        assert contrast.scores.macro_f1 == Figure(0, 0, 0)


def test_a_normalizer_that_removes_the_person_helps_and_noise_does_not() -> None:
    made = faces(people=60)
    loud = (made.original + 2 * made.person).astype(np.float32)
    helped = {(each.arm, each.minus): each.scores.macro_f1 for each in _run(made, loud, made.expression).contrasts}
    gap = helped[NORMALIZED, ORIGINAL]
    assert isinstance(gap, Figure)
    assert gap.low > 0.05
    noise = np.random.default_rng(0).standard_normal(loud.shape).astype(np.float32)
    alone = _run(made, loud, noise).arms[NORMALIZED].balanced_accuracy
    assert isinstance(alone, Figure)
    assert alone.low < 1 / 3 < alone.high


def test_scores_are_those_of_scikit_learn() -> None:
    made = faces()
    random = np.random.default_rng(0)
    repeated = [np.where(random.random(len(made)) < 0.6, made.labels, random.permutation(made.labels)) for _ in range(3)]
    arms, _ = judged(made.labels, {"arm": repeated}, [], Groups.of(made.subjects), FEW)
    assert _value(arms["arm"].macro_f1) == pytest.approx(np.mean([f1_score(made.labels, p, average="macro") for p in repeated]))
    assert _value(arms["arm"].balanced_accuracy) == pytest.approx(
        np.mean([balanced_accuracy_score(made.labels, p) for p in repeated])
    )


def test_rows_without_a_normalized_image_count_as_guesses() -> None:
    made = faces(people=60)
    holes = made.expression.copy()
    holes[np.random.default_rng(0).random(len(made)) < 0.5] = np.nan
    whole, half = _run(made, made.original, made.expression), _run(made, made.original, holes)
    assert half.without_normalized == int(np.isnan(holes).any(axis=1).sum())
    assert _value(half.arms[NORMALIZED].macro_f1) < _value(whole.arms[NORMALIZED].macro_f1) - 0.1


def test_rare_classes_are_left_out_by_name() -> None:
    made = faces(people=30)
    labels = made.labels.astype("U16").copy()
    labels[[0, 1, 50]] = "contempt"
    found = classification(made.original, made.original, labels, made.subjects, FEW, _LIMITS)
    assert isinstance(found, Classification)
    assert found.left_out == {"contempt": 3}
    assert sum(found.classes.values()) == len(made) - 3


def test_what_cannot_be_classified_says_why() -> None:
    made = faces(people=10)

    def why(labels: list[str]) -> Why:
        found = classification(made.original, made.original, np.array(labels), made.subjects, FEW, _LIMITS)
        assert isinstance(found, NotMeasurable)
        return found.why

    assert why([""] * 60) is Why.NO_LABELS
    assert why(["x"] * 60) is Why.ONE_CLASS


def test_intervals_of_differences_cover_at_about_their_level() -> None:
    """Two classifiers of equal skill, right more often about some people: the true difference is 0."""

    def covered(seed: int) -> bool:
        random = np.random.default_rng(seed)
        people = Groups.of(np.repeat(np.arange(40), 6).astype(str))
        truth = random.choice(["a", "b"], 240)
        predicted = {}
        for arm in ("one", "two"):
            skill = np.clip(random.normal(0.7, 0.2, 40), 0, 1)[people.index]
            predicted[arm] = [np.where(random.random(240) < skill, truth, np.where(truth == "a", "b", "a"))]
        _, (gap,) = judged(truth, predicted, [("one", "two")], people, FEW)
        assert isinstance(gap.scores.macro_f1, Figure)
        return gap.scores.macro_f1.low <= 0 <= gap.scores.macro_f1.high

    assert 0.88 <= np.mean([covered(seed) for seed in range(100)]) <= 0.99


def test_hog_of_an_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    found = hog_features(image)
    assert found.shape == (2592,)
    assert found.dtype == np.float32
    flat = hog_features(np.full((64, 64, 3), 90, np.uint8))
    assert not flat.any()
