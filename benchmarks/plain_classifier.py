"""The plain classifier: HOG, PCA and logistic regression, fixed, so that image sets compare and nothing can be tuned to them.

Grey image at 128 px; HOG with 8 orientations, cells of 12 px, blocks of 2x2; PCA to 250 components, fitted per image set on the
training folds; standardized; multinomial logistic regression with C = 0.003 and balanced class weights; subject-exclusive
folds. Two image sets are joined by concatenating their PCA features.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from normpipe.batches import Image

_SIDE = 128
_COMPONENTS = 250


def features(image: Image) -> NDArray[np.float32]:
    """(2592,) float32 HOG of an RGB image of any square size."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    cells = hog(grey, orientations=8, pixels_per_cell=(12, 12), cells_per_block=(2, 2))
    return np.asarray(cells, np.float32)


def subject_folds(subjects: NDArray[np.str_], folds: int, seed: int) -> NDArray[np.intp]:
    """(n,) fold of each row; the rows of a subject share one."""
    _, index = np.unique(subjects, return_inverse=True)
    order = np.random.default_rng(seed).permutation(index.max() + 1)
    return np.asarray(order[index] % folds)


def predictions(
    sets: dict[str, NDArray[np.float32]],
    arms: dict[str, tuple[str, ...]],
    labels: NDArray[np.str_],
    fold: NDArray[np.intp],
) -> dict[str, NDArray[np.str_]]:
    """Out-of-fold predictions of each arm.

    Args:
        sets: Features (n, 2592) by name of the image set.
        arms: Names of the sets that an arm joins.
        labels: (n,) classes.
        fold: (n,) from `subject_folds`.

    Returns:
        (n,) predicted classes by arm.
    """
    predicted = {arm: np.empty(len(labels), labels.dtype) for arm in arms}
    for held_out in np.unique(fold):
        train = fold != held_out
        reduced = {}
        for name, values in sets.items():
            pca = PCA(min(_COMPONENTS, int(train.sum()) - 1), svd_solver="randomized", random_state=0).fit(values[train])
            reduced[name] = pca.transform(values)
        for arm, names in arms.items():
            joined = np.concatenate([reduced[name] for name in names], axis=1)
            joined = StandardScaler().fit(joined[train]).transform(joined)
            model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=500).fit(joined[train], labels[train])
            predicted[arm][~train] = model.predict(joined[~train])
    return predicted
