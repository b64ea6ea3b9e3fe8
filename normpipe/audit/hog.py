"""What the plain classifier sees of an image, and a feature for attackers that no network is needed for."""

import cv2
import numpy as np

from normpipe.audit.groups import Floats
from normpipe.batches import Image

HOG_SIDE = 128
"""Pixels of the side at which gradients are taken."""


def hog_features(image: Image) -> Floats:
    """(2592,) float32 histogram of oriented gradients of a square RGB image of any size.

    Grey at 128 px; 8 orientations, cells of 12 px, blocks of 2x2 cells, L2-Hys normalized.

    Source: Dalal and Triggs, Histograms of oriented gradients for human detection, CVPR 2005.
    """
    from skimage.feature import hog

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (HOG_SIDE, HOG_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(hog(grey, orientations=8, pixels_per_cell=(12, 12), cells_per_block=(2, 2)), np.float32)
