"""Principal components as the attackers and the classifier fit them: one solver and seed, and constant images do no harm."""

import numpy as np
from sklearn.decomposition import PCA

from normpipe.audit.groups import Floats


def fit_components(values: Floats, most: int) -> PCA:
    """Fit at most `most` components of (n, d) rows; rows without variation give components that say nothing."""
    count = min(most, len(values) - 1, values.shape[1])
    with np.errstate(invalid="ignore"):  # shares of no variance, which nobody reads
        return PCA(count, svd_solver="randomized", random_state=0).fit(values)
