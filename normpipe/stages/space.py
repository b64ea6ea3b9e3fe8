"""Whether OUT's disk has room for a run: asked before hours of work, since a disk that fills up stops it in the middle."""

import shutil
from pathlib import Path

from normpipe.config import Pipeline

_LEAST_BYTES_PER_PIXEL = 0.25
"""Of one output row, by pixels of one of its two images: half of what portraits take at 256 px as JPEG of quality 92."""


def free_bytes(out: Path) -> int:
    """Free space of the file system that `out` lies on, or will lie on."""
    folder = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    return shutil.disk_usage(folder).free


def least_bytes(rows: int, pipeline: Pipeline) -> int:
    """What so many rows take at the very least, judged without looking at one."""
    return round(rows * pipeline.size**2 * _LEAST_BYTES_PER_PIXEL)
