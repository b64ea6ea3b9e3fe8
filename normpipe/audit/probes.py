"""What an attacker can learn from other people: which directions are the person, and the way back to the original.

Both are linear and trained on people that they are not tried on. Scores are log likelihood ratios, so that those of probes
trained on different halves of the people compare.

Source: Ioffe, Probabilistic linear discriminant analysis, ECCV 2006; Ledoit and Wolf, A well-conditioned estimator for
large-dimensional covariance matrices, 2004.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from normpipe.audit.components import fit_components
from normpipe.audit.groups import Doubles, Floats, Groups, Indices, Names
from normpipe.audit.identity import auc
from normpipe.audit.pairs import Pairs, Rows, sample_pairs

COMPONENTS = 128
_TRIAL_PAIRS = 20_000
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Tried penalties, in units of the variance of the features."""

FEWEST_PEOPLE = 10
"""People with several images that a probe is trained on, at least."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a PersonSpace is regularized: components kept, and whether they are whitened before the covariance is shrunk.

    Shrinkage is towards a sphere. Without whitening it buries what varies little, which helps with few people and hides a
    person who shows in weak components only; so both are tried.
    """

    components: int
    whiten: bool


_SHAPES = tuple(_Shape(components, whiten) for whiten in (False, True) for components in (32, COMPONENTS))


@dataclass(frozen=True, slots=True)
class PersonSpace:
    """PCA and LDA of a feature: coordinates in which a person's images scatter by 1 and people by `spread`.

    Attributes:
        pca: Fitted on the training rows.
        axes: (c, k).
        spread: (k,) variance between people, positive.
    """

    pca: PCA
    axes: Doubles
    spread: Doubles

    @staticmethod
    def fit(values: Floats, people: Groups, seed: int) -> "PersonSpace":
        """Learn from (n, d) features of at least FEWEST_PEOPLE people with several rows.

        The regularization is the one that tells people apart best who are in one half of these and not in the other.
        """
        with threadpool_limits(1):
            pca = fit_components(values, COMPONENTS)
            reduced = pca.transform(values).astype(np.float64)
            if not _varies(pca):
                return PersonSpace(pca, np.zeros((pca.n_components_, 0)), np.zeros(0))
            half = halves(people, seed)
            names = people.names[people.index]
            pairs = sample_pairs(Rows(names), np.ones(len(names), np.bool_), within=half, seed=seed, limit=_TRIAL_PAIRS)
            best = _SHAPES[0]
            if isinstance(pairs, Pairs):
                best = max(_SHAPES, key=lambda shape: _held_out_auc(reduced, names, half, pairs, shape))
            axes, spread = _axes(reduced, people, best)
        return PersonSpace(pca, axes, spread)

    def coordinates(self, values: Floats) -> Doubles:
        """(n, k) of (n, d) features."""
        with threadpool_limits(1):
            return np.asarray(self.pca.transform(values).astype(np.float64) @ self.axes)

    def scores(self, first: Doubles, second: Doubles) -> Doubles:
        """(m,) log likelihood ratio of one person against two, from (m, k) coordinates of either image."""
        return _log_ratios(first, second, self.spread)


@dataclass(frozen=True, slots=True)
class Bridge:
    """From the normalized image to where the person is in the space of originals: ridge regression, with its error.

    Attributes:
        originals: The space.
        pca: Of the normalized images' features.
        weights: (c, k) from PCA components to coordinates.
        error: (k,) variance of what the bridge gets wrong about people it has not seen.
    """

    originals: PersonSpace
    pca: PCA
    weights: Doubles
    error: Doubles

    @staticmethod
    def fit(originals: Floats, normalized: Floats, people: Groups, seed: int) -> "Bridge":
        """Learn from (n, d) features of both images of the rows. The penalty is chosen on held-out halves of the people."""
        space = PersonSpace.fit(originals, people, seed)
        with threadpool_limits(1):
            pca = fit_components(normalized, COMPONENTS)
            inputs = pca.transform(normalized).astype(np.float64)
            coordinates = space.coordinates(originals)
            means = people.sums(coordinates) / people.counts[:, None]
            targets = (means * (space.spread / (space.spread + 1 / people.counts[:, None])))[people.index]
            halves = (np.random.default_rng(seed).permutation(len(people)) % 2)[people.index]
            best: tuple[float, float, Doubles] | None = None
            for ridge in _RIDGES:
                wrong = np.empty_like(targets)
                for half in (0, 1):
                    held = halves == half
                    weights = _ridge(inputs[~held], targets[~held], people.share[~held], ridge)
                    wrong[held] = targets[held] - inputs[held] @ weights
                error = people.share @ wrong**2 / len(people)
                loss = float((error / (1 + space.spread)).sum())
                if best is None or loss < best[0]:
                    best = loss, ridge, error
            assert best is not None
            weights = _ridge(inputs, targets, people.share, best[1])
        return Bridge(space, pca, weights, best[2])

    def places(self, normalized: Floats) -> Doubles:
        """(n, k) where the person of each normalized image is thought to be."""
        with threadpool_limits(1):
            return np.asarray(self.pca.transform(normalized).astype(np.float64) @ self.weights)

    def scores(self, original: Doubles, place: Doubles) -> Doubles:
        """(m,) log likelihood ratio of one person against two: (m, k) coordinates of the originals, (m, k) places."""
        near, far = 1 + self.error, 1 + self.originals.spread
        ratio = original**2 / far - (original - place) ** 2 / near + np.log(far / near)
        return np.asarray(ratio.sum(axis=1) / 2)


def halves(people: Groups, seed: int) -> Indices:
    """(n,) 0 or 1: the half that a row's person belongs to. People with several rows are spread evenly."""
    random = np.random.default_rng(seed)
    order = np.lexsort((random.permutation(len(people)), people.counts > 1))
    half = np.empty(len(people), np.intp)
    half[order] = np.arange(len(people)) % 2
    return half[people.index]


def _varies(pca: PCA) -> bool:
    """Whether the training rows differ by more than rounding."""
    return bool(pca.explained_variance_.sum() > 1e-10 * (pca.mean_.astype(np.float64) ** 2).sum())


def _axes(reduced: Doubles, people: Groups, shape: _Shape) -> tuple[Doubles, Doubles]:
    """Axes (c, k) of the components and the spread (k,) of people on them."""
    used = reduced[:, : shape.components]
    scale = 1 / np.sqrt(np.maximum(used.var(axis=0), 1e-12 * used.var())) if shape.whiten else np.ones(used.shape[1])
    scaled = used * scale
    means = people.sums(scaled) / people.counts[:, None]
    several = people.counts[people.index] > 1
    scatter = (scaled - means[people.index])[several]
    freedom = len(scatter) - int((people.counts > 1).sum())
    within = ledoit_wolf(scatter, assume_centered=True)[0] * len(scatter) / freedom
    # The means of people scatter by what is within people too, the less the more images they rest on.
    between = np.atleast_2d(np.cov(means.T)) - within * float((1 / people.counts).mean())
    floor = 1e-6 * float(scaled.var(axis=0).mean())  # one fixed face per person has no scatter within
    spread, axes = eigh(between, within + floor * np.eye(len(within)))
    kept = spread > 1e-6
    found = np.zeros((reduced.shape[1], int(kept.sum())))
    found[: used.shape[1]] = axes[:, kept] * scale[:, None]
    return found, spread[kept]


def _held_out_auc(reduced: Doubles, names: Names, half: Indices, pairs: Pairs, shape: _Shape) -> float:
    """AUC on pairs within the half that the axes were not fitted on."""
    scores = np.empty(len(pairs.first))
    for held in (0, 1):
        axes, spread = _axes(reduced[half != held], Groups.of(names[half != held]), shape)
        mine = half[pairs.first] == held
        one, two = (reduced[rows[mine]] @ axes for rows in (pairs.first, pairs.second))
        scores[mine] = _log_ratios(one, two, spread)
    return auc(scores, pairs)


def _log_ratios(first: Doubles, second: Doubles, spread: Doubles) -> Doubles:
    total = spread + 1
    rest = 2 * spread + 1  # total^2 - spread^2
    squares = first**2 + second**2
    joint = (total * squares - 2 * spread * first * second) / rest
    return np.asarray(((squares / total - joint) / 2 + np.log(total**2 / rest) / 2).sum(axis=1))


def _ridge(inputs: Doubles, targets: Doubles, weights: Doubles, ridge: float) -> Doubles:
    """(c, k) minimizer of the weighted squared error with a penalty in units of the inputs' mean variance."""
    share = (weights / weights.sum())[:, None]
    covariance = (inputs * share).T @ inputs
    penalty = ridge * np.trace(covariance) / len(covariance) + 1e-12
    return np.asarray(np.linalg.solve(covariance + penalty * np.eye(len(covariance)), (inputs * share).T @ targets))
