"""The plain classifier: HOG, PCA and logistic regression, fixed, so that image sets compare and nothing can be tuned to them.

It is the audit's own (`normpipe.audit.classifier`), under the names that benchmarks use.
"""

from normpipe.audit.classifier import predictions
from normpipe.audit.crossfit import subject_folds
from normpipe.audit.hog import hog_features as features

__all__ = ["features", "predictions", "subject_folds"]
