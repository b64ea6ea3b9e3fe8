"""What the run itself says of its rows: names, labels, outcome, quality. Read without a picture, sorted by id.

The order of ids is what makes every draw independent of the order of the manifest and of how it was cut into parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.audit.groups import UNKNOWN, Floats, Groups, Indices, Mask, Names, row_order
from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA, Reason, Status
from normpipe.shards.reader import open_part
from normpipe.stages.parts import SHARDS_FOLDER

_MEASURES = ("yaw", "pitch", "roll", "eye_distance", "sharpness", "brightness", "inside_frame")
_NAMES = ("sample_id", "face_index", "track_id", "dataset", "subject", "sequence", "frame", "emotion", "status", "reason")
_SEPARATOR = "\x1f"
_NO_GROUPS = {"sample_id", "content_sha256", "detail", "frame", "pts"}  # of one row each, and some name it


@dataclass(frozen=True, slots=True)
class RowTable:
    """All rows of a run, in the order of their ids.

    Attributes:
        number: (n,) place of the row among all rows of the parts, in part order.
        sample_ids: (n,).
        ok: (n,) whether there is a pair.
        subjects: (n,) dataset and subject; UNKNOWN where the manifest names none, and in frames with several faces, of which
            it does not say whose they are.
        labels: (n,) emotion.
        clips: (n,) clip, and person of it where people are tracked; UNKNOWN for stills and frames with several faces.
        frames: (n,) number of the frame in its clip, 0 for stills.
        measures: (n,) of the run's quality columns by name, NaN where null.
        groups: (n,) of the columns that were asked for by name.
        crowded: Rows in frames with several faces.
        withdrawn: (n,) whether the row is that of somebody who withdrew, of which nothing is known.
    """

    number: Indices
    sample_ids: Names
    ok: Mask
    subjects: Names
    labels: Names
    clips: Names
    frames: NDArray[np.int64]
    measures: dict[str, Floats]
    groups: dict[str, Names]
    crowded: int
    withdrawn: Mask

    def __len__(self) -> int:
        return len(self.number)

    @property
    def units(self) -> Names:
        """(n,) whose movement a row is part of, and what is independent: the person, else the clip; UNKNOWN for other rows."""
        return np.where(self.subjects == UNKNOWN, self.clips, self.subjects)


def read_table(out: Path, parts: Sequence[str], columns: Sequence[str]) -> RowTable:
    """Read the rows of a run.

    Args:
        out: The run's folder.
        parts: Stems of its parts, in order.
        columns: Manifest columns to group by.

    Raises:
        UsageError: a part is damaged.
    """
    wanted = [*dict.fromkeys((*_NAMES, *_MEASURES, *columns))]
    tables = []
    for part in parts:
        with open_part(out / SHARDS_FOLDER / f"{part}.parquet") as file:
            tables.append(file.read(columns=wanted).replace_schema_metadata(None))
    whole = pa.concat_tables(tables)
    sample_ids = _names(whole["sample_id"])
    ids = np.char.add(np.char.add(sample_ids, _SEPARATOR), _names(whole["face_index"]))
    order = row_order(ids)
    crowd = Groups.of(sample_ids)
    crowded = (crowd.counts[crowd.index] > 1)[order]
    subjects = _joined(_names(whole["dataset"]), _names(whole["subject"]))[order]
    clips = _clips(whole)[order]
    return RowTable(
        number=order,
        sample_ids=sample_ids[order],
        ok=(_names(whole["status"]) == Status.OK.value)[order],
        subjects=np.where(crowded, UNKNOWN, subjects),
        labels=_names(whole["emotion"])[order],
        clips=np.where(crowded & (_names(whole["track_id"])[order] == UNKNOWN), UNKNOWN, clips),
        frames=np.asarray(pc.fill_null(whole["frame"], 0).to_numpy(), np.int64)[order],
        measures={name: np.asarray(whole[name].to_numpy(), np.float32)[order] for name in _MEASURES},
        groups={name: _names(whole[name])[order] for name in columns},
        crowded=int(crowded.sum()),
        withdrawn=(_names(whole["reason"]) == Reason.WITHDRAWN.value)[order],
    )


def check_columns(columns: Sequence[str]) -> None:
    """Make sure that rows can be grouped by the columns.

    Raises:
        UsageError: by one they cannot.
    """
    for name in columns:
        kind = PAIRS_SCHEMA.field(name).type if name in PAIRS_SCHEMA.names else None
        if name in _NO_GROUPS or kind is None or not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
            raise UsageError(f"--columns {name}: rows cannot be grouped by it; name a column of words or whole numbers")


def _clips(table: pa.Table) -> Names:
    """The clip of each row; frames of one clip follow one another, stills of one sequence need not."""
    clips, tracks = _names(table["sequence"]), _names(table["track_id"])
    still = np.asarray(pc.is_null(table["frame"]).to_numpy())
    return np.where(still | (clips == UNKNOWN), UNKNOWN, _joined(_names(table["dataset"]), _joined(tracks, clips)))


def _joined(first: Names, second: Names) -> Names:
    """The words first/second, UNKNOWN where there is no second."""
    return np.where(second == UNKNOWN, UNKNOWN, np.char.add(np.char.add(first, "/"), second))


def _names(column: pa.ChunkedArray) -> Names:
    """Words; UNKNOWN for null."""
    words = pc.fill_null(column.cast(pa.string()), UNKNOWN)
    return np.asarray(words.to_pylist() or [""], np.str_)[: len(column)]
