"""What a classifier should at least beat: gradients of the pictures and a linear model, nothing tuned.

Histograms of oriented gradients of each picture, 250 principal components of them, standardized; logistic regression with
balanced classes of emotions and action units, ridge regression of what is measured in numbers. The constants are those of the
audit's plain classifier, and where a penalty has to be chosen it is chosen on the rows to train on. Pictures of a pair are
joined by putting their components side by side.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from normpipe.audit.classifier import COMPONENTS, plain_model
from normpipe.audit.components import fit_components
from normpipe.audit.groups import Floats, Groups, Indices, sampled_rows
from normpipe.audit.hog import HOG_SIDE, hog_features
from normpipe.classify.arms import Arm
from normpipe.classify.feed import Feed, Share
from normpipe.classify.folds import Fold
from normpipe.classify.labels import MAX_INTENSITY, Targets, Task
from normpipe.classify.material import Material
from normpipe.classify.order import step_count
from normpipe.classify.reader import BatchReader
from normpipe.classify.results import judged_sides

MOST_ROWS = 20_000
"""That components and models are fitted on; more are drawn from, equally many of each person. It bounds memory."""

_BATCH = 64
_PENALTIES = np.logspace(0, 5, 11)


def floor_scores(material: Material, fold: Fold, arms: Collection[Arm]) -> dict[Arm, dict[str, Floats]]:
    """What the plain classifier says of the rows that it did not learn from.

    Args:
        material: Whose rows.
        fold: Which of them are learnt from.
        arms: Which pictures are seen; each is read once for all arms.

    Returns:
        By arm and side of the fold, (n, C) scores as of losses.scores.

    Raises:
        UsageError: a picture cannot be decoded.
    """
    columns = sorted({name for arm in arms for name in arm.columns})
    seen = next(arm for arm in Arm if sorted(arm.columns) == columns)
    train = fold.train[sampled_rows(Groups.of(material.units[fold.train]), MOST_ROWS, seed=0)]
    gradients = np.concatenate(list(_gradients(material, train, seen)))
    truth, task = material.truth.taken(train), material.protocol.task
    with threadpool_limits(1):  # more of them would round otherwise
        reductions = [fit_components(view, COMPONENTS) for view in gradients.swapaxes(0, 1)]

        def components(found: Floats) -> list[Floats]:
            return [each.transform(view) for each, view in zip(reductions, found.swapaxes(0, 1), strict=True)]

        learnt = components(gradients)
        del gradients
        sides = {
            side: [np.concatenate(parts) for parts in zip(*map(components, _gradients(material, rows, seen)), strict=True)]
            for side, rows in judged_sides(fold).items()
        }
        found = {}
        for arm in arms:
            views = [seen.columns.index(name) for name in arm.columns]
            scaler = StandardScaler().fit(_joined(learnt, views))
            judged = {side: scaler.transform(_joined(parts, views)) for side, parts in sides.items()}
            found[arm] = _fitted(task, scaler.transform(_joined(learnt, views)), truth, judged)
    return found


def _joined(parts: Sequence[Floats], views: Sequence[int]) -> Floats:
    return np.concatenate([parts[view] for view in views], axis=1)


def _gradients(material: Material, rows: Indices, arm: Arm) -> Iterator[Floats]:
    """(b, V, features) of batches of rows, in rising order of the rows."""
    reader = BatchReader(material.shards.places.taken(rows), Feed(arm=arm, size=HOG_SIDE, batch=_BATCH), Share())
    for step in range(step_count(len(rows), _BATCH)):
        pictures = reader.read(0, step).pictures
        assert not isinstance(pictures, int), "no slots were given"
        yield np.stack([[hog_features(view.transpose(1, 2, 0)) for view in row] for row in pictures.numpy()])


def _fitted(task: Task, learnt: Floats, truth: Targets, sides: dict[str, Floats]) -> dict[str, Floats]:
    """Scores by side, each label by a model of its own, but for emotions, which exclude each other."""
    found = {side: np.zeros((len(values), truth.values.shape[1]), np.float32) for side, values in sides.items()}
    if task is Task.EMOTION:
        known = truth.known.all(axis=1)
        model = plain_model().fit(learnt[known], truth.values[known].argmax(axis=1), truth.weights[known])
        for side, values in sides.items():
            found[side][:, model.classes_] = model.predict_proba(values)
        return found
    for number, (wanted, known) in enumerate(zip(truth.values.T, truth.known.T, strict=True)):
        values_known, weights = wanted[known], truth.weights[known]
        if not len(values_known) or values_known.min() == values_known.max():
            for scores in found.values():
                scores[:, number] = values_known[0] if len(values_known) else 0
            continue
        if task is Task.AU:
            model = plain_model().fit(learnt[known], values_known > 0, weights)
            for side, values in sides.items():
                found[side][:, number] = model.predict_proba(values)[:, 1]
        else:
            low = 0 if task is Task.AU_INTENSITY else -1
            high = MAX_INTENSITY if task is Task.AU_INTENSITY else 1
            ridge = RidgeCV(_PENALTIES).fit(learnt[known], values_known, weights)
            for side, values in sides.items():
                found[side][:, number] = ridge.predict(values).clip(low, high)
    return found
