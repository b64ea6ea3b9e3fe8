"""The one place that knows OpenCV's software rasteriser: triangles with per-vertex attributes onto a pixel grid.

cv2.triangleRasterize is a perspective renderer. Handing it points that are already projected (pixel position and depth) makes
any camera possible, orthographic included, and keeps the pixel convention of this project: (0, 0) is the outer corner of the
first pixel, so a pixel's centre lies at +0.5.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats

cv2.setNumThreads(1)


def rasterize(
    points: Floats, triangles: NDArray[np.int32], attributes: Floats, size: tuple[int, int]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Interpolate three attributes over the visible triangles.

    Args:
        points: (n, 3) float32: x and y in pixels, depth > 0 (larger is farther; only its order matters to the result).
        triangles: (t, 3) int32 indices into `points`; both sides are drawn.
        attributes: (n, 3) float32, each within 0 to 1 (a limit of the rasteriser).
        size: Height and width of the result in pixels.

    Returns:
        (height, width, 3) float32 attributes, zero where nothing was drawn, and the (height, width) mask of what was.
    """
    height, width = size
    values = np.zeros((height, width, 3), np.float32)
    depth = points[:, 2] / points[:, 2].max()  # 0 to 1, so that the clipping planes below hold for any unit
    near, far = float(depth.min()) * 0.5, 2.0  # nothing lies beyond 1; cleared pixels come back as about 2
    buffer = np.full((height, width), far, np.float32)
    camera = np.stack(
        [(points[:, 0] - width / 2) / (height / 2) * depth, (height / 2 - points[:, 1]) / (height / 2) * depth, -depth], axis=1
    )
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    world_to_camera = np.eye(4, dtype=np.float32)
    cv2.triangleRasterize(
        camera.astype(np.float32), triangles, attributes, values, buffer, world_to_camera, np.pi / 2, near, far, settings
    )
    return values, buffer < 1.5


def rasterize_flat(
    points: Floats, triangles: NDArray[np.int32], attributes: Floats, size: tuple[int, int]
) -> tuple[Floats, NDArray[np.bool_]]:
    """`rasterize` for (n, 2) points of a flat mesh: nothing hides anything."""
    at_one_depth = np.column_stack([points, np.ones(len(points))]).astype(np.float32)
    return rasterize(at_one_depth, triangles, attributes, size)
