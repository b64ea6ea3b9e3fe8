"""Boxes (x0, y0, x1, y1): how much two overlap, and one face found many times merged into one."""

import numpy as np

from normpipe.batches import Floats

SAME_FACE_IOU = 0.3
"""Candidates of a detector that overlap more are one face."""


def iou(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box (4 or more,) with many (n, 4 or more); columns past the fourth are not read."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:4], box[2:4])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0), axis=1)
    area = np.prod(np.maximum(box[2:4] - box[:2], 0))
    union = areas + area - shared
    overlap: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).astype(np.float32)
    return overlap


def weighted_nms(shapes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Merge the candidates that overlap a better one into their score-weighted mean.

    Steadier than dropping them: the corners of many coarse answers average out (as in BlazeFace).

    Args:
        shapes: (k, 4 or more): box first, whatever points after it.
        scores: (k,).

    Returns:
        The merged shapes and their best scores, best first.
    """
    order = np.argsort(-scores, kind="stable")
    shapes, scores = shapes[order], scores[order]
    merged, best = [], []
    while len(scores):
        same = iou(shapes[0], shapes) > SAME_FACE_IOU
        same[0] = True
        merged.append(np.average(shapes[same], axis=0, weights=scores[same]))
        best.append(scores[0])
        shapes, scores = shapes[~same], scores[~same]
    return np.array(merged, np.float32).reshape(-1, shapes.shape[1]), np.array(best, np.float32)
