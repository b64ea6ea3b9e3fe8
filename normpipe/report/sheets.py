"""Contact sheets: what a person looks at before trusting a run.

Three PNG files: a random sample, failures, and the pairs of lowest quality. A card shows source, aligned crop and normalized
image side by side, with the sample's id and scores below. The ground is a neutral dark grey, so that neither
colours nor brightness of the faces are judged against a tinted or glaring surround.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from normpipe.batches import Floats, Image
from normpipe.errors import shown_sample
from normpipe.report.rows import SheetRow, Source, read_rows
from normpipe.report.survey import RowAddress, Survey, survey_run
from normpipe.shards.atomic import write_bytes
from normpipe.sources.root import Root

REPORT_FOLDER = "report"

_TILE_GAP = 6
_CARD_GAP = 40
_ROW_GAP = 26
_MARGIN = 32
_HEADER = 64
_LABELS = 24
_CAPTION = 48
_SHEET_WIDTH = 1320

_GROUND, _EMPTY = (38, 39, 41), (50, 51, 54)
_BRIGHT, _DIM, _WARN = (232, 233, 235), (160, 163, 168), (240, 170, 110)
_OUTLINE = (120, 220, 255)

# Closed contours of MediaPipe's face mesh: face oval, image-left eye, image-right eye, outer lips.
_CONTOURS = (
    (
        *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
        *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    ),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)


@dataclass(frozen=True, slots=True)
class SheetOptions:
    """What the sheets show.

    Attributes:
        count: Most rows on each sheet.
        seed: Seed of the random sample and of the choice of failures.
        hash_ids: Write the first 12 hex digits of an id's SHA-256 instead of the id.
    """

    count: int = 24
    seed: int = 0
    hash_ids: bool = False


SHEET_TITLES = {
    "sample": "Random sample",
    "lowest": "Lowest quality",
    "failures": "Failures",
}


def write_contact_sheets(out: Path, root: Root | None, options: SheetOptions, survey: Survey | None = None) -> dict[str, Path]:
    """Write OUT/report/{sample,lowest,failures}.png; a sheet without rows is not written, and an old one is removed.

    Args:
        out: Folder of the run.
        root: Where the source files lie. The source column is left out where it is None or nothing of it can be read.
        options: Choice and naming of rows.
        survey: Result of `survey_run`, if the caller has it already.

    Returns:
        Path of each sheet written, by name.

    Raises:
        UsageError: `out` is not the folder of a run, or a committed file is missing.
    """
    survey = survey or survey_run(out, options.count, options.seed)
    choices = {"sample": survey.sample, "lowest": survey.lowest, "failures": survey.failures}
    rows = read_rows(out, [address for choice in choices.values() for address in choice], root)
    (out / REPORT_FOLDER).mkdir(exist_ok=True)
    written = {}
    for name, addresses in choices.items():
        path = out / REPORT_FOLDER / f"{name}.png"
        if addresses:
            write_bytes(path, _png(draw_sheet(SHEET_TITLES[name], _pick(rows, addresses), options.hash_ids)))
            written[name] = path
        else:
            path.unlink(missing_ok=True)
    return written


def draw_sheet(title: str, rows: Sequence[SheetRow], hash_ids: bool = False) -> Image:
    """Draw the cards of one sheet in a grid.

    Args:
        title: Heading.
        rows: At least one row.
        hash_ids: As in SheetOptions.

    Returns:
        (height, 1320, 3) uint8 RGB.
    """
    columns = [name for name in ("source", "aligned", "normalized") if any(_has(row, name) for row in rows)]
    columns = columns or ["normalized"]
    across = 6 // len(columns)
    card_width = (_SHEET_WIDTH - 2 * _MARGIN - (across - 1) * _CARD_GAP) // across
    side = (card_width - (len(columns) - 1) * _TILE_GAP) // len(columns)
    pitch = side + _CAPTION + _ROW_GAP
    height = _HEADER + _LABELS + -(-len(rows) // across) * pitch - _ROW_GAP + _MARGIN
    sheet = PillowImage.new("RGB", (_SHEET_WIDTH, height), _GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, _BRIGHT, _font(24), anchor="lm")
    noun = "row" if len(rows) == 1 else "rows"
    pen.text((_SHEET_WIDTH - _MARGIN, _MARGIN), f"{len(rows)} {noun}", _DIM, _font(16), anchor="rm")
    for place, row in enumerate(rows):
        left = _MARGIN + (place % across) * (card_width + _CARD_GAP)
        top = _HEADER + _LABELS + (place // across) * pitch
        for number, column in enumerate(columns):
            x = left + number * (side + _TILE_GAP)
            if place < across:
                pen.text((x, top - 8), column, _DIM, _font(14), anchor="ls")
            pen.rectangle((x, top, x + side - 1, top + side - 1), _EMPTY)
            tile = _tile(row, column, side)
            if tile is None:
                word = row.reason.value.replace("_", " ") if row.reason else "not available"
                pen.text((x + side // 2, top + side // 2), word, _DIM, _font(14), anchor="mm")
            else:
                drawn = PillowImage.fromarray(tile)
                sheet.paste(drawn, (x + (side - drawn.width) // 2, top + (side - drawn.height) // 2))
        _draw_caption(pen, left, top + side, card_width, row=row, hash_ids=hash_ids)
    return np.asarray(sheet)


def shown_id(row: SheetRow, hash_ids: bool) -> str:
    """Id as captions write it: escaped to the ASCII that the bundled font can draw, with the face's index where it is not 0."""
    name = shown_sample(row.sample_id, hash_ids).encode("unicode_escape").decode("ascii")
    return f"{name} · face {row.face_index}" if row.face_index else name


def _pick(rows: dict[RowAddress, SheetRow], addresses: Sequence[RowAddress]) -> list[SheetRow]:
    return [rows[address] for address in addresses]


def _has(row: SheetRow, column: str) -> bool:
    return {"source": row.source, "aligned": row.original, "normalized": row.normalized}[column] is not None


def _tile(row: SheetRow, column: str, side: int) -> Image | None:
    """One picture of a row, its longer side `side` pixels; None where there is none."""
    if column == "source":
        return None if row.source is None else _marked_source(row, row.source, side)
    image = row.original if column == "aligned" else row.normalized
    return None if image is None else _fit(image, side)


def _marked_source(row: SheetRow, source: Source, side: int) -> Image:
    """The source with the face's box and the outlines of face, eyes and lips."""
    picture = _fit(source.image, side)
    scale = source.scale * side / max(source.image.shape[:2])
    if row.box is not None:
        x0, y0, x1, y1 = row.box * scale
        _polyline(picture, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32))
    if row.landmarks is not None:
        for contour in _CONTOURS:
            _polyline(picture, row.landmarks[list(contour)] * np.float32(scale))
    return picture


def _polyline(picture: Image, points: Floats) -> None:
    fixed = np.rint((points - 0.5) * 16).astype(np.int32)  # 4 fractional bits; cv2 counts from pixel centres
    cv2.polylines(picture, [fixed], True, _OUTLINE, 1, cv2.LINE_AA, 4)


def _fit(image: Image, side: int) -> Image:
    """The image scaled so that its longer side is `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(resized, np.uint8)


def _draw_caption(pen: ImageDraw.ImageDraw, x: int, y: int, width: int, *, row: SheetRow, hash_ids: bool) -> None:
    pen.text((x, y + 20), _shorten(shown_id(row, hash_ids), width, 15), _BRIGHT, _font(15), anchor="ls")
    if row.reason:
        pen.text((x, y + 40), row.reason.value, _WARN, _font(14), anchor="ls")
    else:
        pen.text((x, y + 40), _shorten(_scores(row.measures), width, 14), _DIM, _font(14), anchor="ls")


def _scores(measures: dict[str, float]) -> str:
    formats = (
        ("expression_kept", "kept {:.0%}"),
        ("expression_residual", "off by {:.3f}"),
        ("identity_similarity", "likeness {:.2f}"),
        ("residual_yaw", "yaw {:+z.0f}°"),
        ("residual_pitch", "pitch {:+z.0f}°"),
        ("normalized_score", "score {:.2f}"),
        ("normalized_yaw", "yaw {:+z.0f}°"),
        ("eye_distance", "eyes {:.0f} px"),
        ("sharpness", "sharp {:.0f}"),
    )
    return "  ·  ".join(text.format(measures[column]) for column, text in formats if column in measures)


def _shorten(text: str, width: int, size: int) -> str:
    """The text with its middle left out, so that it is at most `width` pixels wide; ends carry what tells ids apart."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and font.getlength(_without_middle(text, keep)) > width:
        keep -= 1
    return _without_middle(text, keep)


def _without_middle(text: str, keep: int) -> str:
    return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's bundled font: the same letters on every machine."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _png(image: Image) -> bytes:
    buffer = BytesIO()
    PillowImage.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
