"""Is the expression still there? Landmark displacements and blendshapes, original against normalized.

Displacement is what a person's landmarks do, not how the person is built: the frontal view's deviation from the person's own
mean, in eye distances, and, where the pose is given, without what goes linearly with the pose, since a landmarker's error on a
turned head is no expression. Blendshapes compare across people.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from normpipe.audit.figures import NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices, Names, finite_rows
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.moments import Agreement, Moments, within_weights

_COLUMNS = 64
_ANGLE_UNIT = 30.0
"""Degrees; keeps the terms of a regression on the pose near 1."""


@dataclass(frozen=True, slots=True)
class Displacement:
    """Landmark displacement kept.

    Attributes:
        whole: All landmarks; residual and size in eye distances.
        regions: The same by region.
        rows_alone: Rows that are their person's only one, or whose person is unknown: they have no own mean to deviate from.
        rows_without_face: Rows that lack a face in one of the images.
    """

    whole: Agreement | NotMeasurable
    regions: dict[str, Agreement | NotMeasurable]
    rows_alone: int
    rows_without_face: int


@dataclass(frozen=True, slots=True)
class Blendshapes:
    """Blendshapes kept.

    Attributes:
        mean: Correlation, slope and the others, each the mean over the blendshapes.
        by_name: Correlation and slope of each; None where the originals do not vary.
        rows_without_face: Rows that lack a measurement in one of the images.
    """

    mean: Agreement | NotMeasurable
    by_name: dict[str, tuple[float, float] | None]
    rows_without_face: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Deviations from people's own means, for rows of people with several.

    Attributes:
        rows: (m,) row numbers.
        people: Their people.
        original: (m, k) float32.
        normalized: (m, k) float32.
        alone: Rows left out for want of an own mean.
        missing: Rows left out for want of a face.
    """

    rows: Indices
    people: Groups
    original: Floats
    normalized: Floats
    alone: int
    missing: int

    def products(self) -> tuple[Doubles, Doubles]:
        """(m,) original * normalized and (m,) original * original, summed over columns: their ratio is the slope kept."""
        joint, own = (
            np.einsum("nk,nk->n", self.original, other, dtype=np.float64) for other in (self.normalized, self.original)
        )
        return joint, own

    def residuals(self, dimensions: int = 2) -> Doubles:
        """(m,) root mean square distance between the two displacements of a row, in eye distances."""
        gap = self.normalized - self.original
        squares = np.einsum("nk,nk->n", gap, gap, dtype=np.float64)
        return np.asarray(np.sqrt(squares * dimensions / gap.shape[1]))


def changes(original: Floats, normalized: Floats, subjects: Names, pose: Floats | None = None) -> Changes | NotMeasurable:
    """Take people's own means, and what goes with the pose, out of both measurements.

    Args:
        original: (n, k) landmarks of the originals in frontal view, eye distances; NaN where no face was found.
        normalized: (n, k) the same of the normalized images.
        subjects: (n,).
        pose: (n, 3) yaw, pitch, roll of the originals in degrees, None to leave the pose in.
    """
    known = subjects != UNKNOWN
    face = finite_rows(original) & finite_rows(normalized)
    if pose is not None:
        face &= finite_rows(pose)
    if not known.any():
        return NotMeasurable(Why.NO_SUBJECTS, "no row names its subject")
    use = np.flatnonzero(known & face)
    if not len(use):
        return NotMeasurable(Why.NO_ROWS, "no row with a subject has a face in both images")
    everyone = Groups.of(subjects[use])
    several = use[everyone.counts[everyone.index] > 1]
    if not len(several):
        return NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, f"{len(everyone)} people, one image of each: none has an own mean")
    people = Groups.of(subjects[several])
    first, second = (people.centred(each, several) for each in (original, normalized))
    if pose is not None:
        terms = people.centred(pose_terms(pose[several])).astype(np.float64)
        for each in (first, second):
            with threadpool_limits(1):
                _remove(each, terms, within_weights(people.index, people))
    return Changes(several, people, first, second, int(face.sum()) - len(several), int((~face).sum()))


def displacement(found: Changes, regions: Mapping[str, Indices], bootstrap: Bootstrap, *, dimensions: int = 2) -> Displacement:
    """Landmark displacement kept, whole and by region.

    Args:
        found: Changes of (x, y) columns.
        regions: Columns of each region by name.
        bootstrap: Draws of people.
        dimensions: Columns per landmark.
    """
    weights = within_weights(found.people.index, found.people)

    def agreement(columns: Indices | slice) -> Agreement | NotMeasurable:
        first, second = found.original[:, columns], found.normalized[:, columns]
        return Moments.pooled(first, second, weights, found.people, dimensions=dimensions).agreement(bootstrap)

    by_region = {name: agreement(columns) for name, columns in regions.items()}
    return Displacement(agreement(slice(None)), by_region, found.alone, found.missing)


def blendshapes(
    original: Floats, normalized: Floats, names: tuple[str, ...], subjects: Names, bootstrap: Bootstrap
) -> Blendshapes:
    """Blendshapes kept.

    Args:
        original: (n, k) 0 to 1, NaN where no face was found.
        normalized: (n, k).
        names: k names.
        subjects: (n,); rows of unknown people are people of their own.
        bootstrap: Draws of people.
    """
    usable = finite_rows(original) & finite_rows(normalized)
    if not usable.any():
        return Blendshapes(NotMeasurable(Why.NO_ROWS, "no row has a face in both images"), {}, int((~usable).sum()))
    people = Groups.of(own_names(subjects[usable]))
    sums = Moments.of(original[usable], normalized[usable], people.share, people)
    correlations, slopes = sums.by_column()
    by_name = {
        name: (float(correlation), float(slope)) if np.isfinite(slope) else None
        for name, correlation, slope in zip(names, correlations, slopes, strict=True)
    }
    return Blendshapes(sums.agreement(bootstrap), by_name, int((~usable).sum()))


def own_names(subjects: Names) -> Names:
    """(n,) subjects, with a name of its own for each row of an unknown person."""
    unknown = subjects == UNKNOWN
    if not unknown.any():
        return subjects
    numbers = np.char.add("\0", np.char.zfill(np.arange(len(subjects)).astype(str), 9))
    return np.where(unknown, numbers, subjects)


def pose_terms(pose: Floats) -> Floats:
    """(n, 6) float32 regressors, near 1, from (n, 3) yaw, pitch, roll in degrees: the angles, squares and yaw * pitch."""
    yaw, pitch, roll = pose.T / np.float32(_ANGLE_UNIT)
    return np.stack([yaw, pitch, roll, yaw**2, pitch**2, yaw * pitch], axis=1).astype(np.float32)


def _remove(values: Floats, terms: Doubles, weights: Doubles) -> None:
    """Take out of (n, k) values, in place, what is linear in (n, t) terms."""
    weighted = terms * weights[:, None]
    normal = weighted.T @ terms
    normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal)) + 1e-12 * np.eye(len(normal))
    for start in range(0, values.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        effect = np.linalg.solve(normal, weighted.T @ values[:, part])
        values[:, part] -= terms @ effect
