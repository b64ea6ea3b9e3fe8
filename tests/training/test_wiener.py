"""The split into expression and identity, on data where both are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from normpipe.training.wiener import Groups, estimator, explained, thin

SIZE, PEOPLE, IMAGES, EMOTIONS = 10, 150, 8, 4
NO_FLOOR = np.zeros((SIZE, SIZE))


class Planted:
    """Rows = expression in a known plane + identity in a known 3-space that is not orthogonal to it + noise."""

    def __init__(self, seed: int = 0, identity: float = 2.0, noise: float = 0.2) -> None:
        random = np.random.default_rng(seed)
        self.plane = np.linalg.qr(random.normal(size=(SIZE, 2)))[0]
        self.person = np.linalg.qr(random.normal(size=(SIZE, 3)) + 0.3 * self.plane[:, :1])[0]
        centres = np.array([[0, 0], [1.5, 0], [0, 1.5], [-1.5, -1]])
        emotion = np.tile(np.arange(IMAGES) % EMOTIONS, PEOPLE)
        names = np.repeat([f"person {number}" for number in range(PEOPLE)], IMAGES)
        amounts = centres[emotion]
        self.expression = amounts @ self.plane.T
        self.identity = np.repeat(identity * random.normal(size=(PEOPLE, 3)), IMAGES, axis=0) @ self.person.T
        self.observed = self.expression + self.identity + noise * random.normal(size=self.expression.shape)
        self.labels = np.eye(EMOTIONS)[emotion]
        self.people = Groups.of(names)
        self.weights = np.ones(len(names))
        spread = np.cov(centres.T, bias=True)
        self.true_expression = self.plane @ spread @ self.plane.T
        self.true_total = self.true_expression + identity**2 * self.person @ self.person.T + noise**2 * np.eye(SIZE)

    def centred(self, values):
        return values - values.mean(axis=0)

    def estimate(self):
        """Estimator fitted on this data."""
        expression = explained(self.observed, self.observed, self.labels, self.weights, 1e-6)
        return estimator(expression, self.observed, NO_FLOOR)


@pytest.fixture(scope="module")
def planted():
    return Planted()


def test_the_covariance_of_expression_is_found_among_that_of_people(planted):
    found = explained(planted.observed, planted.observed, planted.labels, planted.weights, 1e-6)
    error = np.linalg.norm(found - planted.true_expression) / np.linalg.norm(planted.true_expression)
    assert error < 0.2
    assert np.linalg.norm(found) < 0.6 * np.linalg.norm(np.cov(planted.observed.T)), "the most of the variance is identity"


def test_the_estimate_is_that_of_the_true_covariances(planted):
    oracle = planted.true_expression @ np.linalg.inv(planted.true_total)
    other = Planted(seed=0)  # the same planes, as only the seed decides about them
    truth = other.centred(other.expression)
    errors = [
        np.mean((other.centred(other.observed) @ matrix.T - truth) ** 2)
        for matrix in (planted.estimate(), oracle, np.eye(SIZE))
    ]
    assert errors[0] < 1.15 * errors[1]
    assert errors[0] < 0.1 * errors[2]


def test_expression_passes_and_identity_does_not(planted):
    matrix = planted.estimate()
    assert np.linalg.norm(matrix @ planted.plane) > 0.5 * np.linalg.norm(planted.plane)
    assert np.linalg.norm(matrix @ planted.person) < 0.15 * np.linalg.norm(planted.person)


def test_identity_that_does_not_count_in_the_total_is_not_suppressed(planted):
    expression = explained(planted.observed, planted.observed, planted.labels, planted.weights, 1e-6)
    blind = estimator(expression, planted.people.centred(planted.observed), NO_FLOOR)
    aware = planted.estimate()
    assert np.linalg.norm(aware @ planted.person) < 0.5 * np.linalg.norm(blind @ planted.person)


def test_the_estimate_stays_in_the_planted_plane(planted):
    left, right = thin(planted.estimate(), 2)
    outside = left - planted.plane @ planted.plane.T @ left
    assert np.linalg.norm(outside) < 0.25 * np.linalg.norm(left)
    np.testing.assert_allclose(left @ right, planted.estimate(), atol=0.05)


def test_signs_without_meaning_explain_nothing(planted):
    shuffled = planted.labels[np.random.default_rng(3).permutation(len(planted.labels))]
    found = explained(planted.observed, planted.observed, shuffled, planted.weights, 1e-6)
    assert np.trace(found) < 0.05 * np.trace(np.cov(planted.observed.T))


def test_rows_without_weight_do_not_count(planted):
    half = np.arange(len(planted.observed)) % IMAGES < 6
    weighted = explained(planted.observed, planted.observed, planted.labels, half.astype(float), 0.05)
    alone = explained(planted.observed[half], planted.observed[half], planted.labels[half], planted.weights[half], 0.05)
    np.testing.assert_allclose(weighted, alone, atol=1e-9)


def test_noisier_signs_explain_less(planted):
    traces = [
        np.trace(explained(planted.observed, planted.observed, planted.labels, planted.weights, ridge))
        for ridge in (0.01, 0.3, 3.0)
    ]
    assert traces[0] > traces[1] > traces[2] > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(1e-3, 10))
def test_what_is_explained_of_itself_is_a_covariance(seed, count, ridge):
    random = np.random.default_rng(seed)
    values, signs = random.normal(size=(40, 6)), random.normal(size=(40, count))
    found = explained(values, values, signs, random.uniform(0.1, 1, 40), ridge)
    np.testing.assert_allclose(found, found.T, atol=1e-9)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert np.linalg.matrix_rank(found, tol=1e-9) <= count


def test_targets_of_another_kind_are_estimated_alike(planted):
    """What is to be estimated need not be what is observed: any map of it goes through."""
    change = np.random.default_rng(0).normal(size=(3, SIZE))
    of_itself = explained(planted.observed, planted.observed, planted.labels, planted.weights, 0.1)
    of_other = explained(planted.observed @ change.T, planted.observed, planted.labels, planted.weights, 0.1)
    np.testing.assert_allclose(of_other, change @ of_itself, atol=1e-9)


def test_the_estimator_is_least_squares():
    random = np.random.default_rng(0)
    observed, wanted = random.normal(size=(200, 5)), random.normal(size=(200, 3))
    observed, wanted = observed - observed.mean(axis=0), wanted - wanted.mean(axis=0)
    regression = np.linalg.lstsq(observed, wanted, rcond=None)[0].T
    np.testing.assert_allclose(estimator(wanted.T @ observed / 199, observed, np.zeros((5, 5))), regression, atol=1e-9)


def test_where_all_variance_is_expression_all_passes(planted):
    total = np.cov(planted.observed.T)
    np.testing.assert_allclose(estimator(total, planted.observed, NO_FLOOR), np.eye(SIZE), atol=1e-6)


def test_a_floor_only_shrinks(planted):
    total = np.cov(planted.observed.T)
    gains = [np.linalg.eigvals(estimator(total, planted.observed, floor * np.eye(SIZE))).real for floor in (0.1, 1.0)]
    assert (gains[1] < 1).all()
    assert gains[1].sum() < gains[0].sum()


MATRICES = arrays(np.float64, st.tuples(st.integers(2, 7), st.integers(2, 7)), elements=st.floats(-10, 10))


@settings(max_examples=50, deadline=None)
@given(MATRICES, st.integers(1, 7), st.integers(0, 1000))
def test_thin_factors_are_the_best_approximation(matrix, rank, seed):
    rank = min(rank, *matrix.shape)
    left, right = thin(matrix, rank)
    assert left.shape == (matrix.shape[0], rank)
    assert right.shape == (rank, matrix.shape[1])
    error = np.linalg.norm(matrix - left @ right)
    discarded = np.linalg.svd(matrix, compute_uv=False)[rank:]  # Eckart and Young
    assert error == pytest.approx(np.linalg.norm(discarded), abs=1e-6)
    random = np.random.default_rng(seed)
    other = left + 0.1 * random.normal(size=left.shape)
    assert error <= np.linalg.norm(matrix - other @ np.linalg.lstsq(other, matrix, rcond=None)[0]) + 1e-6


@settings(max_examples=25, deadline=None)
@given(MATRICES)
def test_thin_factors_are_in_balance(matrix):
    left, right = thin(matrix, 1)
    assert np.linalg.norm(left) == pytest.approx(np.linalg.norm(right), abs=1e-6)


def test_groups_are_equal_names():
    people = Groups.of(np.array(["b", "a", "b", "c", "b"]))
    assert people.counts.tolist() == [1, 3, 1]
    assert people.index.tolist() == [1, 0, 1, 2, 1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), st.integers(0, 1000))
def test_centring_takes_off_the_persons_mean_and_nothing_else(names, seed):
    people = Groups.of(np.array(names))
    values = np.random.default_rng(seed).normal(size=(len(names), 3))
    centred = people.centred(values)
    np.testing.assert_allclose(people.means(centred), 0, atol=1e-12)
    np.testing.assert_allclose(centred + people.means(values)[people.index], values, atol=1e-12)
    for name in set(names):
        rows = np.array(names) == name
        np.testing.assert_allclose(people.means(values)[people.index[rows][0]], values[rows].mean(axis=0), atol=1e-12)
