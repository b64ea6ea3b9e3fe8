"""Two normalizers at the same AUC: what is read off a curve, what cannot be, intervals of differences whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.audit.arms import FIGURES, ArmLimits, DrawnArms, Load, drawn_arms
from normpipe.audit.classifier import ClassifierLimits, classification
from normpipe.audit.expression import blendshapes
from normpipe.audit.features import BLENDSHAPE, HOG, column
from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.frontier import Match, Reach, at_auc, matched
from normpipe.audit.groups import Doubles, Floats
from normpipe.audit.identity import cosines, verification
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.pairs import Pairs, Rows, sample_pairs
from tests.audit.factories import FEW, Faces, faces

_MEASURES = ("correlation", "macro_f1")
_EMBEDDING = "embedding_0"
_QUICK = ArmLimits(repetitions=1)


def _figure(measured: Measured) -> Figure:
    assert isinstance(measured, Figure), measured
    return measured


def _curves(*strengths: tuple[float, float, float], draws: int = 20, noise: float = 0.0, seed: int = 0) -> Doubles:
    """(1 + draws, s, 3): the strengths as they are, then with noise."""
    random = np.random.default_rng(seed)
    curve = np.array(strengths, float)
    drawn = curve + noise * random.standard_normal((draws, *curve.shape))
    return np.concatenate([curve[None], drawn])


def test_between_strengths_it_is_read_off_a_straight_line() -> None:
    curve = np.array([[0.6, 0.2, 1.0], [0.7, 0.3, 2.0], [0.8, 0.6, 3.0]])
    assert at_auc(curve, np.array([0.6, 0.65, 0.7, 0.75])) == pytest.approx(
        np.array([[0.2, 1.0], [0.25, 1.5], [0.3, 2.0], [0.45, 2.5]])
    )


def test_above_all_strengths_the_highest_counts_and_below_all_nothing() -> None:
    found = at_auc(np.array([[0.6, 0.5, 1.0], [0.7, 0.3, 2.0]]), np.array([0.9, 0.59]))
    assert found[0].tolist() == [0.3, 2.0]
    assert np.isnan(found[1]).all()


def test_a_strength_is_passed_by_where_a_higher_one_shows_no_more_of_the_person() -> None:
    curve = np.array([[0.7, 0.2, 1.0], [0.6, 0.4, 2.0], [0.8, 0.8, 3.0], [0.75, 0.1, 4.0]])
    assert at_auc(curve, np.array([0.7, 0.76])) == pytest.approx(np.array([[0.6, 2.5], [0.1, 4.0]]))


_ONES = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(_ONES, _ONES, _ONES), min_size=1, max_size=6), st.lists(_ONES, max_size=6))
def test_what_is_read_off_is_never_beyond_what_was_measured(strengths, aucs) -> None:  # type: ignore[no-untyped-def]
    curve = np.array(strengths)
    found = at_auc(curve, np.array(aucs))
    reached = np.array(aucs) >= curve[:, 0].min()
    assert np.array_equal(np.isfinite(found).all(axis=1), reached)
    low, high = curve[:, 1:].min(axis=0), curve[:, 1:].max(axis=0)
    assert (found[reached] >= low - 1e-9).all()
    assert (found[reached] <= high + 1e-9).all()


@given(st.lists(st.tuples(_ONES, _ONES, _ONES), min_size=1, max_size=6), st.floats(-0.5, 0.5))
def test_a_candidate_that_keeps_so_much_more_everywhere_is_so_much_better(strengths, more) -> None:  # type: ignore[no-untyped-def]
    baseline = _curves(*strengths, noise=0.1)
    candidate = baseline + np.array([0, more, 0])
    for match in matched(baseline, candidate, _MEASURES):
        assert match.reach is not Reach.NOT_REACHED
        assert match.reached == 1
        gap = _figure(match.measures["correlation"].difference)
        assert [gap.value, gap.low, gap.high] == pytest.approx([more] * 3)
        assert match.measures["macro_f1"].difference == Figure(0, 0, 0)


def test_strengths_need_not_mean_the_same() -> None:
    """Both lie on one line, at other AUCs."""
    baseline = _curves(*((auc, 2 * auc, 1 - auc) for auc in (0.6, 0.65, 0.8)))
    candidate = _curves(*((auc, 2 * auc, 1 - auc) for auc in (0.5, 0.72, 0.85)))
    for match in matched(baseline, candidate, _MEASURES):
        for each in match.measures.values():
            assert _figure(each.difference).value == pytest.approx(0, abs=1e-12)
            assert _figure(each.candidate).value == pytest.approx(_figure(each.baseline).value)


def test_a_candidate_that_shows_less_of_the_person_everywhere_stands_with_its_highest_strength() -> None:
    (match,) = matched(_curves((0.8, 0.5, 0.4)), _curves((0.6, 0.4, 0.3), (0.7, 0.6, 0.3)), _MEASURES)
    assert match.reach is Reach.LESS_IDENTITY
    assert _figure(match.measures["correlation"].candidate).value == 0.6
    assert _figure(match.measures["correlation"].difference).value == pytest.approx(0.1)
    assert _figure(match.measures["macro_f1"].difference).value == pytest.approx(-0.1)


def test_a_candidate_that_shows_more_of_the_person_everywhere_is_not_reached() -> None:
    (match,) = matched(_curves((0.6, 0.5, 0.4)), _curves((0.7, 0.9, 0.9), (0.8, 0.9, 0.9)), _MEASURES)
    assert (match.reach, match.reached) == (Reach.NOT_REACHED, 0)
    for each in match.measures.values():
        assert _figure(each.baseline).value in (0.5, 0.4)
        for missing in (each.candidate, each.difference):
            assert isinstance(missing, NotMeasurable)
            assert missing.why is Why.NOT_REACHED


def test_the_share_of_draws_that_reach_it_is_told_and_others_do_not_count() -> None:
    baseline, candidate = _curves((0.6, 0.5, 0.4), draws=100), _curves((0.6, 0.7, 0.7), draws=100)
    candidate[1:26, 0, 0] = 0.61
    candidate[1:26, 0, 1] = 100
    (match,) = matched(baseline, candidate, _MEASURES)
    assert match.reached == 0.75
    gap = _figure(match.measures["correlation"].difference)
    assert [gap.value, gap.low, gap.high] == pytest.approx([0.2] * 3)


def test_a_draw_without_an_auc_reaches_nothing() -> None:
    baseline, candidate = _curves((0.6, 0.5, 0.4)), _curves((0.6, 0.7, 0.7))
    baseline[1, 0, 0] = candidate[1, 0, 0] = np.nan
    (match,) = matched(baseline, candidate, _MEASURES)
    assert match.reached == 0.95
    assert _figure(match.measures["correlation"].difference).value == pytest.approx(0.2)


def _arm(made: Faces, person: float, noise: float, seed: int) -> Load:
    """A picture that shows so much of the person, and of the expression all but so much noise."""
    random = np.random.default_rng(seed)

    def noisy(signal: Floats, amount: float, each: np.random.Generator = random) -> Floats:
        return (signal + amount * each.standard_normal(signal.shape)).astype(np.float32)

    shown = noisy(made.expression, noise)
    columns = {
        column(_EMBEDDING, "original"): made.person + made.noise,
        column(_EMBEDDING, "normalized"): noisy(person * made.person, 1.0, np.random.default_rng(7)),
        column(BLENDSHAPE, "original"): made.expression,
        column(BLENDSHAPE, "normalized"): shown,
        column(HOG, "original"): made.original,
        column(HOG, "normalized"): noisy(shown, 0.1),
    }
    return columns.__getitem__


_SHOWN = (0.2, 0.35, 0.5)


def _arms(made: Faces, noise: float, seed: int) -> list[Load]:
    return [_arm(made, person, noise, seed + number) for number, person in enumerate(_SHOWN)]


def _drawn(made: Faces, arms: list[Load], bootstrap: Bootstrap = FEW) -> DrawnArms:
    found = drawn_arms(Rows(made.subjects, made.labels), arms, _EMBEDDING, bootstrap, _QUICK)
    assert isinstance(found, DrawnArms)
    return found


def _held(made: Faces, baseline: list[Load], candidate: list[Load]) -> list[Match]:
    drawn = _drawn(made, [*baseline, *candidate])
    columns = [FIGURES.index(name) for name in ("auc", *_MEASURES)]
    curves = drawn.arms[..., columns]
    return matched(curves[:, : len(baseline)], curves[:, len(baseline) :], _MEASURES)


def test_better_expression_at_the_same_auc_is_found() -> None:
    made = faces(people=60)
    for match in _held(made, _arms(made, 2.5, 10), _arms(made, 0.8, 20)):
        assert match.reach is Reach.BETWEEN
        for each in match.measures.values():
            assert _figure(each.difference).low > 0


def test_what_a_candidate_keeps_at_a_higher_auc_is_not_held_against_a_lower_one() -> None:
    """One curve, on which more of the person is more of the expression; the candidate's strengths lie further up."""
    made = faces(people=60)

    def along(*shown: float) -> list[Load]:
        return [_arm(made, person, 2 - 2 * person, int(1000 * person)) for person in shown]

    baseline, candidate = along(0.2, 0.35, 0.5), along(0.1, 0.45, 0.6, 0.75)
    figures = _drawn(made, [*baseline, *candidate]).arms[0, :, FIGURES.index("correlation")]
    assert (figures[[4, 5, 6]] - figures[:3]).min() > 0.05
    for match in _held(made, baseline, candidate):
        assert abs(_figure(match.measures["correlation"].difference).value) < 0.03


def test_a_candidate_that_is_the_baseline_differs_by_nothing() -> None:
    made = faces(people=30)
    for match in _held(made, _arms(made, 1.0, 10), _arms(made, 1.0, 10)):
        for each in match.measures.values():
            assert each.difference == Figure(0, 0, 0)
            assert each.baseline == each.candidate


@pytest.mark.slow
def test_equal_quality_gives_intervals_that_hold_zero_at_about_their_level() -> None:
    held = []
    for seed in range(20):
        made = faces(people=40, seed=seed)
        arms = (_arms(made, 1.0, 100 * seed + start) for start in (10, 50))
        for match in _held(made, *arms):
            gap = _figure(match.measures["correlation"].difference)
            held.append(gap.low <= 0 <= gap.high)
    assert 0.8 <= np.mean(held) <= 1


def test_each_arm_has_the_figures_of_an_audit() -> None:
    made = faces(people=30)
    arms = _arms(made, 1.0, 10)
    drawn = _drawn(made, arms)
    pairs = sample_pairs(Rows(made.subjects, made.labels), np.ones(len(made), bool))
    assert isinstance(pairs, Pairs)
    for number, load in enumerate(arms):
        vectors, shown = load(column(_EMBEDDING, "normalized")), load(column(BLENDSHAPE, "normalized"))
        told = dict(zip(FIGURES, drawn.arms[0, number], strict=True))
        assert told["auc"] == _figure(verification(cosines(vectors, vectors, pairs), pairs, FEW).auc).value
        mean = blendshapes(made.expression, shown, tuple("abcdefghijkl"), made.subjects, FEW).mean
        assert not isinstance(mean, NotMeasurable)
        assert (told["correlation"], told["slope"]) == (_figure(mean.correlation).value, _figure(mean.slope).value)
        hogs = [load(column(HOG, side)) for side in ("original", "normalized")]
        used = classification(*hogs, made.labels, made.subjects, FEW, ClassifierLimits(seeds=1))
        assert not isinstance(used, NotMeasurable)
        assert told["macro_f1"] == _figure(used.arms["normalized"].macro_f1).value
        assert told["macro_f1_with_originals"] == _figure(used.arms["both"].macro_f1).value
        assert drawn.originals[0, 1:].tolist() == [
            _figure(used.arms[arm].macro_f1).value for arm in ("original", "original_twice")
        ]
    assert drawn.people == 30


def test_people_whose_faces_one_arm_hides_count_for_no_arm_and_keep_their_place_in_the_draws() -> None:
    made = faces(people=30)
    whole = _arms(made, 1.0, 10)
    shown = whole[1](column(BLENDSHAPE, "normalized")).copy()
    shown[made.subjects == "p0003"] = np.nan
    vectors = whole[1](column(_EMBEDDING, "normalized")).copy()
    vectors[made.subjects == "p0005"] = np.nan
    holed = {column(BLENDSHAPE, "normalized"): shown, column(_EMBEDDING, "normalized"): vectors}
    drawn = _drawn(made, [whole[0], lambda name: holed[name] if name in holed else whole[1](name)])
    assert drawn.people == 30
    assert drawn.without_face == (0, 6)
    kept = made.subjects != "p0003"
    mean = blendshapes(
        made.expression[kept], whole[0](column(BLENDSHAPE, "normalized"))[kept], tuple("abcdefghijkl"), made.subjects[kept], FEW
    ).mean
    assert not isinstance(mean, NotMeasurable)
    assert drawn.arms[0, 0, FIGURES.index("correlation")] == _figure(mean.correlation).value
    assert np.isfinite(drawn.arms).all()


def test_what_cannot_be_compared_says_why() -> None:
    made = faces(people=4)
    found = drawn_arms(Rows(made.subjects, made.labels), _arms(made, 1.0, 10), _EMBEDDING, FEW, _QUICK)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.TOO_FEW_SUBJECTS
    alone = faces(people=30, rows=1)
    found = drawn_arms(Rows(alone.subjects, alone.labels), _arms(alone, 1.0, 10), _EMBEDDING, FEW, _QUICK)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.ONE_IMAGE_PER_SUBJECT
