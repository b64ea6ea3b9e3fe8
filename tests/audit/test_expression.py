"""Expression kept: 1 for the originals, 0 for shuffled faces, the truth for a known gain; pose and person do not count."""

import numpy as np
import pytest

from normpipe.audit.expression import Changes, blendshapes, changes, displacement, own_names, pose_terms
from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.groups import Floats, Groups, Names
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.moments import Agreement, Moments
from tests.audit.factories import FEW, faces


def _value(figure: Measured) -> float:
    assert isinstance(figure, Figure), figure
    return figure.value


def _kept(original: Floats, normalized: Floats, subjects: Names, pose: Floats | None = None) -> Agreement:
    found = changes(original, normalized, subjects, pose)
    assert isinstance(found, Changes)
    whole = displacement(found, {}, FEW).whole
    assert isinstance(whole, Agreement)
    return whole


def test_originals_keep_all() -> None:
    made = faces()
    kept = _kept(made.original, made.original, made.subjects)
    for figure in (kept.correlation, kept.slope, kept.kept):
        assert _value(figure) == pytest.approx(1)
    assert _value(kept.residual) == pytest.approx(0, abs=1e-6)


def test_shuffled_faces_keep_nothing() -> None:
    made = faces()
    shuffled = made.original[np.random.default_rng(0).permutation(len(made))]
    assert abs(_value(_kept(made.original, shuffled, made.subjects).correlation)) < 0.1
    names = tuple(f"shape {number}" for number in range(12))
    found = blendshapes(made.original, shuffled, names, made.subjects, FEW)
    assert isinstance(found.mean, Agreement)
    assert abs(_value(found.mean.correlation)) < 0.1


def test_a_known_gain_is_the_slope_and_another_persons_build_is_no_change() -> None:
    made = faces(people=200)
    half = (0.5 * made.expression + 3 * made.person[::-1]).astype(np.float32)  # the build has one value per person
    kept = _kept(made.expression + made.person, half, made.subjects)
    assert _value(kept.slope) == pytest.approx(0.5, abs=1e-5)
    assert _value(kept.correlation) == pytest.approx(1, abs=1e-5)
    assert _value(kept.kept) == pytest.approx(0.25, abs=1e-5)
    assert _value(kept.residual) == pytest.approx(_value(kept.size) / 2, rel=1e-4)


def test_noise_lowers_the_correlation_by_what_theory_says() -> None:
    made = faces(people=300)
    own = Groups.of(made.subjects).centred(made.expression).std() * np.sqrt(6 / 5)
    noise = np.random.default_rng(1).normal(0, own, made.expression.shape).astype(np.float32)
    kept = _kept(made.expression, made.expression + noise, made.subjects)
    assert _value(kept.correlation) == pytest.approx(np.sqrt(0.5), abs=0.02)


def test_residual_and_size_are_lengths_of_points() -> None:
    """Every landmark moves by (3, 4) / 10 from side to side: 0.5 eye distances."""
    sign = np.tile([1.0, -1.0], 10)[:, None]
    moved = (sign * np.tile([0.3, 0.4], 5)).astype(np.float32)
    subjects = np.repeat(np.arange(10), 2).astype(str)
    kept = _kept(moved, np.zeros_like(moved), subjects)
    assert _value(kept.size) == pytest.approx(0.5 * np.sqrt(2))  # unbiased: two rows have one degree of freedom
    assert _value(kept.residual) == pytest.approx(_value(kept.size))
    assert _value(kept.correlation) == 0


def test_what_goes_with_the_pose_is_taken_out() -> None:
    made = faces(people=100)
    pose = np.random.default_rng(0).normal(0, 15, (len(made), 3)).astype(np.float32)
    error = pose_terms(pose) @ np.random.default_rng(1).normal(0, 2, (6, 12)).astype(np.float32)
    tilted = made.expression + error
    assert _value(_kept(tilted, made.expression, made.subjects).correlation) < 0.9
    assert _value(_kept(tilted, made.expression, made.subjects, pose).correlation) > 0.99


def test_people_count_equally_whatever_the_number_of_their_images() -> None:
    """One person with 1,000 images whose expression is lost, nine with 10 whose expression is kept."""
    subjects = np.repeat(np.arange(10), [1000] + [10] * 9).astype(str)
    original = np.random.default_rng(0).standard_normal((len(subjects), 40)).astype(np.float32)
    normalized = original * (subjects != "0")[:, None]
    assert _value(_kept(original, normalized, subjects).slope) == pytest.approx(0.9, abs=0.02)


def test_regions_are_told_apart() -> None:
    made = faces()
    normalized = made.original.copy()
    normalized[:, 6:] = 0
    found = changes(made.original, normalized, made.subjects)
    assert isinstance(found, Changes)
    kept = displacement(found, {"brows": np.arange(6), "mouth": np.arange(6, 12)}, FEW).regions
    assert isinstance(kept["brows"], Agreement)
    assert isinstance(kept["mouth"], Agreement)
    assert _value(kept["brows"].correlation) == pytest.approx(1)
    assert _value(kept["mouth"].correlation) == 0


def test_rows_without_a_face_or_without_company_are_counted() -> None:
    made = faces(people=10)
    normalized = made.original.copy()
    normalized[[0, 7]] = np.nan
    subjects = made.subjects.copy()
    subjects[59] = ""
    subjects[12] = "alone"
    found = changes(made.original, normalized, subjects)
    assert isinstance(found, Changes)
    assert (found.missing, found.alone, len(found.rows)) == (2, 2, 56)
    assert not np.isin([0, 7, 12, 59], found.rows).any()
    assert found.residuals() == pytest.approx(0, abs=1e-6)
    joint, own = found.products()
    assert joint == pytest.approx(own)


@pytest.mark.parametrize(("subjects", "why"), [(["", ""], Why.NO_SUBJECTS), (["a", "b"], Why.ONE_IMAGE_PER_SUBJECT)])
def test_no_own_mean_no_displacement(subjects: list[str], why: Why) -> None:
    found = changes(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32), np.array(subjects))
    assert isinstance(found, NotMeasurable)
    assert found.why is why


def test_blendshapes_agree_with_a_weighted_correlation_and_skip_dead_ones() -> None:
    made = faces(columns=3)
    original, normalized = made.original.copy(), (made.original + 3 * made.noise).astype(np.float32)
    original[:, 2] = 0.25
    original[4] = np.nan
    found = blendshapes(original, normalized, ("a", "b", "dead"), made.subjects, FEW)
    usable = np.isfinite(original).all(axis=1)
    weights = Groups.of(made.subjects[usable]).share
    assert found.by_name["dead"] is None
    assert found.rows_without_face == 1
    correlations = []
    for column, name in enumerate("ab"):
        pair = np.cov(original[usable, column], normalized[usable, column], aweights=weights)
        correlations.append(pair[0, 1] / np.sqrt(pair[0, 0] * pair[1, 1]))
        assert found.by_name[name] == pytest.approx((correlations[-1], pair[0, 1] / pair[0, 0]), abs=1e-6)
    assert isinstance(found.mean, Agreement)
    assert _value(found.mean.correlation) == pytest.approx(np.mean(correlations), abs=1e-6)


def test_rows_of_unknown_people_are_people_of_their_own() -> None:
    assert len(set(own_names(np.array(["a", "", "", "a"])))) == 3


def test_intervals_cover_the_truth_at_about_their_level() -> None:
    """Slope 0.7 with a gain that differs from person to person."""

    def covered(seed: int) -> bool:
        random = np.random.default_rng(seed)
        people = Groups.of(np.repeat(np.arange(40), 5).astype(str))
        original = random.standard_normal((200, 4)).astype(np.float32)
        gain = 0.7 + 0.3 * random.standard_normal(40)
        normalized = (gain[people.index][:, None] * original + 0.3 * random.standard_normal((200, 4))).astype(np.float32)
        found = Moments.of(original, normalized, people.share, people).agreement(Bootstrap(draws=200, seed=seed))
        assert isinstance(found, Agreement)
        assert isinstance(found.slope, Figure)
        return found.slope.low <= 0.7 <= found.slope.high

    assert 0.88 <= np.mean([covered(seed) for seed in range(150)]) <= 0.99
