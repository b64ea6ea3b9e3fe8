"""The reduce: features of a sample of rows become the answers of the audit, on the driver and on one thread.

Memory is bounded by the sample, whatever the size of the run: each section loads the columns that it needs and lets them go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from normpipe.audit.attackers import Attack, AttackLimits, Identity, identity, worst
from normpipe.audit.blendshapes import BLENDSHAPES
from normpipe.audit.classifier import Classification, ClassifierLimits, classification
from normpipe.audit.codes import LabelCode, LabelSurplus, label_code, label_surplus
from normpipe.audit.dependence import DependenceLimits, dependence
from normpipe.audit.expression import Blendshapes as BlendshapesKept
from normpipe.audit.expression import (
    Displacement,
    blendshapes,
    changes,
    displacement,
    own_names,
    pose_terms,
)
from normpipe.audit.features import (
    ANGLES,
    BLENDSHAPE,
    GROUND,
    HOG,
    SHAPE,
    SIDES,
    SOURCE_SHAPE,
    THUMBNAIL,
    FeatureColumns,
    FeatureStore,
    column,
    embedding_column,
)
from normpipe.audit.figures import NotMeasurable, Why
from normpipe.audit.findings import Angle, Expression, Findings, Sample, Shows, Surroundings
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices, finite_rows
from normpipe.audit.identity import Identification
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.jitter import Jitter, jitter
from normpipe.audit.losses import losses
from normpipe.audit.pairs import Rows
from normpipe.audit.plan import AuditOptions
from normpipe.audit.regions import shape_regions
from normpipe.audit.rows import RowFindings, tremble
from normpipe.audit.sample import sampled_people
from normpipe.audit.table import RowTable
from normpipe.faces.geometry import mean_shape, mirror_points
from normpipe.training.measures import expression_measures

ALGORITHM_VERSION = 3

_ORIGINAL, _NORMALIZED = SIDES
_CODE_COMPONENTS = 32
_DEPENDENCE_ROWS = 4000
_PERCENTILES = (50, 90, 95)


@dataclass(slots=True)
class Reduce:
    """The reduce of one run.

    Attributes:
        table: Rows of the run.
        store: Their features.
        columns: What features there are.
        options: How.
        announce: Told what is being done.
    """

    table: RowTable
    store: FeatureStore
    columns: FeatureColumns
    options: AuditOptions
    announce: Callable[[str], None]
    _rows: Indices = field(init=False)
    _bootstrap: Bootstrap = field(init=False)

    def __post_init__(self) -> None:
        usable = np.flatnonzero(self.table.ok)
        people = Groups.of(own_names(self.table.units)[usable])
        self._rows = usable[sampled_people(people, self.options.rows, self.options.seed)] if len(usable) else usable
        self._bootstrap = Bootstrap(draws=self.options.draws, seed=self.options.seed)

    def findings(self) -> tuple[Findings, RowFindings]:
        """Everything."""
        with threadpool_limits(1):
            self.announce("statistics: expression")
            shapes = {side: self._load(column(SHAPE, side)) for side in SIDES}
            faces = {side: int((~finite_rows(each)).sum()) for side, each in shapes.items()}
            # The turn of the head in the source: the crop has no roll any more.
            poses = np.stack([self.table.measures[name][self._rows] for name in ANGLES], axis=1)
            rows = RowFindings.empty(len(self.table))
            displaced, repeated = self._displacements(shapes, poses, rows)
            measures = {side: _measures(each) for side, each in shapes.items()}
            jittering = self._jitter(shapes, rows)
            del shapes
            kept, code, surplus = self._blendshapes(measures)
            self.announce("statistics: pose and background")
            surroundings = Surroundings(self._residual_angles(poses), self._shows(measures[_ORIGINAL], poses))
            self.announce("statistics: use")
            use = self._use()
            expression = Expression(displaced, repeated, kept, code, surplus, use, jittering)
            self.announce("statistics: identity")
            found = self._identity(rows)
            self.announce("statistics: groups")
            lost = losses(self.table, rows.kept, rows.size, rows.residual, self._bootstrap)
        people = self.table.subjects[self._rows]
        sample = Sample(
            len(self.table),
            int(self.table.ok.sum()),
            len(self._rows),
            len(np.unique(people[people != UNKNOWN])),
            self.table.crowded,
            self._matched,
            faces[_ORIGINAL],
            faces[_NORMALIZED],
        )
        return Findings(sample, found, expression, surroundings, lost), rows

    @property
    def _matched(self) -> bool:
        """Whether most rows have a label."""
        labels = self.table.labels[self._rows]
        return bool((labels != UNKNOWN).mean() > 0.5) if len(labels) else False

    def _load(self, name: str) -> Floats:
        return self.store.load(name, self.table.number[self._rows])

    def _displacements(
        self, shapes: Mapping[str, Floats], poses: Floats, rows: RowFindings
    ) -> tuple[Displacement | NotMeasurable, Displacement | NotMeasurable]:
        subjects, regions = self.table.units[self._rows], shape_regions()
        found = changes(shapes[_ORIGINAL], shapes[_NORMALIZED], subjects, poses)
        if isinstance(found, NotMeasurable):
            return found, found
        joint, own = found.products()
        places = self._rows[found.rows]
        rows.kept[places] = joint / np.maximum(own, np.finfo(np.float32).tiny)
        rows.residual[places] = found.residuals()
        rows.size[places] = np.sqrt(own * 2 / found.original.shape[1])
        kept = displacement(found, regions, self._bootstrap)
        del found
        again = changes(self._load(SOURCE_SHAPE), shapes[_ORIGINAL], subjects, poses)
        repeated = again if isinstance(again, NotMeasurable) else displacement(again, regions, self._bootstrap)
        return kept, repeated

    def _blendshapes(
        self, measures: Mapping[str, Floats]
    ) -> tuple[BlendshapesKept | NotMeasurable, LabelCode | NotMeasurable, LabelSurplus | NotMeasurable]:
        labels, subjects = self.table.labels[self._rows], self.table.units[self._rows]
        if not self.columns.blendshapes:
            missing = NotMeasurable(Why.NO_ROWS, "no blendshapes were measured: give --blendshapes")
            code = label_code(measures[_ORIGINAL], measures[_NORMALIZED], labels, subjects, self._bootstrap)
            return missing, code, missing
        scores = {side: self._load(column(BLENDSHAPE, side)) for side in SIDES}
        kept = blendshapes(scores[_ORIGINAL], scores[_NORMALIZED], BLENDSHAPES, subjects, self._bootstrap)
        code = label_code(scores[_ORIGINAL], scores[_NORMALIZED], labels, subjects, self._bootstrap)
        surplus = label_surplus(measures[_ORIGINAL], scores[_ORIGINAL], scores[_NORMALIZED], labels, subjects, self._bootstrap)
        return kept, code, surplus

    def _jitter(self, shapes: Mapping[str, Floats], found: RowFindings) -> Jitter | NotMeasurable:
        """Whole clips, as many as the limit of rows allows: a sample of single rows would have no neighbours."""
        in_clips = np.flatnonzero(self.table.ok & (self.table.clips != UNKNOWN))
        if not len(in_clips):
            return NotMeasurable(Why.NO_CLIPS, "no row is a frame of a clip")
        clips = Groups.of(self.table.clips[in_clips])
        order = np.random.default_rng(self.options.seed).permutation(len(clips))
        fits = np.cumsum(clips.counts[order]) <= max(self.options.rows, int(clips.counts[order[0]]))
        rows = in_clips[np.isin(clips.index, order[fits])]
        if np.array_equal(rows, self._rows):
            measured = shapes
        else:
            measured = {side: self.store.load(column(SHAPE, side), self.table.number[rows]) for side in SIDES}
        for side, trembling in zip(SIDES, (found.tremble_original, found.tremble_normalized), strict=True):
            trembling[rows] = tremble(measured[side], self.table.clips[rows], self.table.frames[rows])
        return jitter(
            measured[_ORIGINAL],
            measured[_NORMALIZED],
            self.table.clips[rows],
            self.table.frames[rows],
            self.table.subjects[rows],
            self._bootstrap,
        )

    def _residual_angles(self, before: Floats) -> dict[str, Angle] | NotMeasurable:
        after = np.stack([self._load(column(name, _NORMALIZED)).reshape(-1) for name in ANGLES], axis=1)
        both = finite_rows(before) & finite_rows(after)
        if not both.any():
            return NotMeasurable(Why.NO_ROWS, "no row has a face in both images")

        def percentiles(values: Floats) -> tuple[float, ...]:
            return tuple(float(each) for each in np.percentile(np.abs(values[both]), _PERCENTILES))

        return {name: Angle(percentiles(before[:, n]), percentiles(after[:, n])) for n, name in enumerate(ANGLES)}

    def _shows(self, measures: Floats, poses: Floats) -> dict[str, Shows]:
        expression = measures
        if self.columns.blendshapes:
            expression = np.concatenate([measures, self._load(column(BLENDSHAPE, _ORIGINAL))], axis=1)
        sharpness = np.log1p(self._load(column("sharpness", _ORIGINAL))).reshape(-1, 1)
        disturbances = {
            "pose": pose_terms(poses),
            "background": self._load(column(GROUND, _ORIGINAL)),
            "sharpness": sharpness,
        }
        codes = {side: _code(self._load(column(THUMBNAIL, side))) for side in SIDES}
        subjects = self.table.units[self._rows]
        limits = DependenceLimits(rows=_DEPENDENCE_ROWS, permutations=self.options.permutations)
        return {
            name: Shows(*(dependence(codes[side], each, expression, subjects, self._bootstrap, limits) for side in SIDES))
            for name, each in disturbances.items()
        }

    def _use(self) -> Classification | NotMeasurable:
        labels, subjects = self.table.labels[self._rows], self.table.subjects[self._rows]
        if not (labels != UNKNOWN).any():
            return NotMeasurable(Why.NO_LABELS, "no row has an emotion")
        limits = ClassifierLimits(seeds=self.options.repetitions)
        originals, normalized = (self._load(column(HOG, side)) for side in SIDES)
        return classification(originals, normalized, labels, subjects, self._bootstrap, limits)

    def _identity(self, rows: RowFindings) -> Identity:
        """One feature after the other: two at a time would be twice the memory."""
        names = {each.name: embedding_column(number) for number, each in enumerate(self.columns.embeddings)}
        people = Rows(
            self.table.subjects[self._rows],
            self.table.labels[self._rows] if self._matched else None,
            self.table.clips[self._rows] if (self.table.clips[self._rows] != UNKNOWN).any() else None,
        )
        limits = AttackLimits(pairs=self.options.pairs)
        before: list[Attack] = []
        attacks: list[Attack] = []
        ranks: tuple[dict[str, Identification | NotMeasurable], ...] = ({}, {})
        for name, stored in {**names, "HOG": HOG, "face shape": SHAPE}.items():
            one, two = (self._load(column(stored, side)) for side in SIDES)
            found = identity({name: one}, {name: two}, people, self._bootstrap, limits)
            before += found.before
            attacks += found.attacks
            ranks[0].update(found.identification_before)
            ranks[1].update(found.identification)
            if name in names:
                likeness = np.einsum("nk,nk->n", one, two)
                rows.similarity[self._rows] = np.fmax(rows.similarity[self._rows], likeness)
        return Identity(before, attacks, worst(attacks), *ranks)


def _measures(shapes: Floats) -> Floats:
    """(n, 32) brow heights, lid openings and the like, of (n, 936) deviations from the mean face."""
    return expression_measures(shapes, mirror_points(mean_shape().points))


def _code(thumbnails: Floats) -> Floats:
    """(n, 32) principal components of (n, 1024) pictures; NaN where there is none."""
    there = finite_rows(thumbnails)
    codes: Doubles = np.full((len(thumbnails), _CODE_COMPONENTS), np.nan)
    if there.any() and not np.ptp(thumbnails[there], axis=0).any():
        codes[there] = 0  # all pictures are one
    elif there.sum() > _CODE_COMPONENTS:
        codes[there] = PCA(_CODE_COMPONENTS, svd_solver="randomized", random_state=0).fit_transform(thumbnails[there])
    return codes.astype(np.float32)
