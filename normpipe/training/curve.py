"""The curve of a training: a file of JSON lines, each with the step that it belongs to.

A training that goes on from a checkpoint takes back the lines after it, so that it writes what one that nobody stopped does.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from normpipe.shards.atomic import write_bytes

CURVE_FILE = "curve.jsonl"

STEP = "step"


class CurveFile:
    """Lines of a file, up to a step.

    Args:
        path: The file; its folder is made when it is needed.
        start: Lines of later steps, and a line that was not finished, are dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, "".join(_written(path, start)).encode())

    def append(self, step: int, line: Mapping[str, float | None]) -> None:
        """Add the line of a step."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({STEP: step, **line}) + "\n")


def curve_lines(path: Path, until: int | None = None) -> list[dict[str, float | None]]:
    """The lines up to a step, or all; none where there is no file."""
    return [json.loads(line) for line in _written(path, until)]


def _written(path: Path, until: int | None) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n") and (until is None or json.loads(line)[STEP] <= until)]
