"""A few rows as one picture for the card, where every source's terms allow pictures: no caption, no name, no metadata."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image as PillowImage

from normpipe.shards.reader import open_part

_PAIRS = 8
_COLUMNS = 4
_SIDE = 128
_GAP = 6


def draw_sheet(files: Sequence[Path], columns: Sequence[str]) -> bytes:
    """PNG of rows spread over the first of the files, original above normalized."""
    with open_part(files[0]) as file:
        groups = sorted({round(number * (file.num_row_groups - 1) / (_PAIRS - 1)) for number in range(_PAIRS)})
        shown = [
            [row[column]["bytes"] for column in columns]
            for group in groups
            for row in file.read_row_group(group, columns=list(columns)).slice(0, -(-_PAIRS // len(groups))).to_pylist()
        ][:_PAIRS]
    cell = _SIDE + _GAP
    height = len(columns) * _SIDE + 2 * _GAP
    rows = -(-len(shown) // _COLUMNS)
    picture = PillowImage.new("RGB", (_COLUMNS * cell - _GAP, rows * height - 2 * _GAP), (255, 255, 255))
    for number, contents in enumerate(shown):
        for line, content in enumerate(contents):
            face = PillowImage.open(BytesIO(content)).convert("RGB").resize((_SIDE, _SIDE), PillowImage.Resampling.LANCZOS)
            picture.paste(face, (number % _COLUMNS * cell, number // _COLUMNS * height + line * _SIDE))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
