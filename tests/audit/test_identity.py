"""Verification and identification: known answers, ties, agreement with scikit-learn, intervals that cover."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import Doubles
from normpipe.audit.identity import Identification, Verification, cosines, rank_one, verification
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.pairs import Pairs, Rows, sample_pairs
from tests.audit.factories import FEW, faces


def _figure(value: object) -> Figure:
    assert isinstance(value, Figure), value
    return value


def _sampled(rows: Rows) -> Pairs:
    pairs = sample_pairs(rows, np.ones(len(rows), bool))
    assert isinstance(pairs, Pairs)
    return pairs


def _hand_made(same: list[float], different: list[float]) -> tuple[Doubles, Pairs]:
    """Scores of pairs among five people with weight 1 each."""
    count = len(same) + len(different)
    owners = np.stack([np.arange(count) % 5, np.arange(count) % 5], axis=1)
    kinds = np.repeat([True, False], [len(same), len(different)])
    pairs = Pairs(np.zeros(count, np.intp), np.zeros(count, np.intp), kinds, np.ones(count), owners, 5, False)
    return np.array([*same, *different], float), pairs


def test_auc_is_that_of_scikit_learn_on_weighted_pairs_with_ties() -> None:
    made = faces(seed=3)
    pairs = _sampled(Rows(made.subjects, made.labels))
    scores = np.round(cosines(made.original, made.original, pairs), 1)
    found = _figure(verification(scores, pairs, FEW).auc)
    expected = roc_auc_score(pairs.same, scores, sample_weight=pairs.weights)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("same", "different", "auc", "error"),
    [
        ([3, 4, 5], [0, 1, 2], 1.0, 0.0),
        ([0, 1, 2], [3, 4, 5], 0.0, 1.0),
        ([1, 1, 1], [1, 1, 1], 0.5, 0.5),
        ([1, 2, 3, 4], [0, 1.5, 0.5, 0.7], 15 / 16, 0.25),
    ],
)
def test_constructed_cases(same: list[float], different: list[float], auc: float, error: float) -> None:
    found = verification(*_hand_made(same, different), FEW)
    assert _figure(found.auc).value == pytest.approx(auc)
    assert _figure(found.equal_error_rate).value == pytest.approx(error)


def test_equal_error_rate_of_two_normal_distributions() -> None:
    random = np.random.default_rng(0)
    scores, pairs = _hand_made(list(random.normal(1, 1, 20_000)), list(random.normal(-1, 1, 20_000)))
    found = verification(scores, pairs, FEW)
    assert _figure(found.equal_error_rate).value == pytest.approx(0.1587, abs=0.006)  # Phi(-1)
    assert _figure(found.auc).value == pytest.approx(0.9214, abs=0.005)  # Phi(sqrt(2))


def test_a_constant_image_is_chance() -> None:
    made = faces()
    rows = Rows(made.subjects, made.labels)
    constant = np.tile(np.random.default_rng(0).standard_normal(512).astype(np.float32), (len(made), 1))
    pairs = _sampled(rows)
    found = verification(cosines(constant, constant, pairs), pairs, FEW)
    auc = _figure(found.auc)
    assert [auc.value, auc.low, auc.high] == pytest.approx([0.5] * 3)
    identified = rank_one(constant, rows, FEW)
    assert isinstance(identified, Identification)
    assert _figure(identified.rank_one).value == pytest.approx(identified.chance)


def test_noise_is_chance_within_its_interval() -> None:
    made = faces()
    rows = Rows(made.subjects, made.labels)
    noise = np.random.default_rng(1).standard_normal((len(made), 64)).astype(np.float32)
    pairs = _sampled(rows)
    auc = _figure(verification(cosines(noise, noise, pairs), pairs, FEW).auc)
    assert auc.low < 0.5 < auc.high


def test_figures_repeat_to_the_last_digit_and_do_not_depend_on_the_order_of_rows() -> None:
    made = faces()
    rows = Rows(made.subjects, made.labels)

    def found(order: np.ndarray) -> Verification:
        taken = rows.take(order)
        pairs = _sampled(taken)
        return verification(cosines(made.original[order], made.original[order], pairs), pairs, FEW)

    here = np.arange(len(made))
    assert found(here) == found(here)
    first, second = found(here), found(here[::-1])
    for one, two in ((first.auc, second.auc), (first.equal_error_rate, second.equal_error_rate)):
        assert _figure(one).value == pytest.approx(_figure(two).value, abs=1e-12)
        assert _figure(one).low == pytest.approx(_figure(two).low, abs=1e-12)


def test_rank_one_of_clear_people_is_one_and_of_noise_near_chance() -> None:
    made = faces(people=20)
    rows = Rows(made.subjects)
    clear = rank_one(made.person, rows, FEW)
    assert isinstance(clear, Identification)
    assert _figure(clear.rank_one).value == 1
    assert clear.chance == pytest.approx(5 / 119)
    noise = rank_one(np.random.default_rng(0).standard_normal((120, 32)).astype(np.float32), rows, FEW)
    assert isinstance(noise, Identification)
    assert _figure(noise.rank_one).low <= noise.chance <= _figure(noise.rank_one).high + 0.02


def test_frames_of_the_probes_own_clip_are_not_in_its_gallery() -> None:
    made = faces(people=20)
    clips = np.char.add(made.subjects, np.tile(["a", "a", "a", "b", "b", "b"], 20))
    code = np.repeat(np.random.default_rng(0).standard_normal((40, 16)), 3, axis=0).astype(np.float32)  # shows the clip alone
    open_gallery, apart = (rank_one(code, Rows(made.subjects, None, each), FEW) for each in (None, clips))
    assert isinstance(open_gallery, Identification)
    assert isinstance(apart, Identification)
    assert _figure(open_gallery.rank_one).value == 1
    assert _figure(apart.rank_one).value < 0.2


def test_one_image_of_each_person_is_not_measurable() -> None:
    rows = Rows(np.array(["a", "b", "c"]))
    found = rank_one(np.eye(3, dtype=np.float32), rows, FEW)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.ONE_IMAGE_PER_SUBJECT


def test_too_few_people_for_an_interval() -> None:
    made = faces(people=3)
    pairs = _sampled(Rows(made.subjects))
    auc = verification(cosines(made.person, made.person, pairs), pairs, FEW).auc
    assert isinstance(auc, NotMeasurable)
    assert auc.why is Why.TOO_FEW_SUBJECTS


def test_intervals_cover_the_truth_at_about_their_level() -> None:
    people, rows, spread = 40, 4, 0.6

    def sample(seed: int, count: int) -> Figure:
        each = np.random.default_rng(seed)
        traits = np.repeat(each.standard_normal((count, 8)) * spread, rows, axis=0)
        vectors = (traits + each.standard_normal(traits.shape)).astype(np.float32)
        pairs = _sampled(Rows(np.repeat(np.arange(count), rows).astype(str)))
        return _figure(verification(cosines(vectors, vectors, pairs), pairs, Bootstrap(draws=100, seed=seed)).auc)

    truth = np.mean([sample(1000 + seed, 150).value for seed in range(10)])
    covered = np.mean([found.low <= truth <= found.high for found in (sample(seed, people) for seed in range(60))])
    assert 0.85 <= covered <= 1.0
