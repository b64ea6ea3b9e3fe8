"""One sample at full size: source, aligned crop and normalized image side by side, one line per face."""

from collections.abc import Sequence

import cv2
import numpy as np

from normpipe.batches import Image
from normpipe.report.rows import SheetRow

_GREY = 127


def side_by_side(rows: Sequence[SheetRow]) -> Image | None:
    """Draw the rows of a sample.

    Args:
        rows: Its faces, with sources where they were asked for.

    Returns:
        (height, width, 3) uint8 RGB of square tiles as large as the crops; None when there is no picture at all.
    """
    lines = [_pictures(row) for row in rows]
    sides = [picture.shape[0] for line in lines for picture in line[1:] if picture is not None]
    if not sides:
        return None
    columns = [column for column in range(3) if any(line[column] is not None for line in lines)]
    tiles = [[_tile(line[column], max(sides)) for column in columns] for line in lines]
    return np.concatenate([np.concatenate(line, axis=1) for line in tiles])


def _pictures(row: SheetRow) -> tuple[Image | None, Image | None, Image | None]:
    return (None if row.source is None else row.source.image, row.original, row.normalized)


def _tile(picture: Image | None, side: int) -> Image:
    """The whole picture, centred on grey."""
    tile = np.full((side, side, 3), _GREY, np.uint8)
    if picture is None:
        return tile
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = fitted
    return tile
