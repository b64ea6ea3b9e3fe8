"""The chosen rows with everything a contact sheet draws: the pair's images, the face's outline, the source where readable."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from normpipe.batches import Floats, FrameRef, Image
from normpipe.config import Decode
from normpipe.errors import UsageError
from normpipe.records import Failure, Reason
from normpipe.report.survey import MEASURES, RowAddress
from normpipe.shards.reader import TableName, read_slice
from normpipe.sources.root import Root
from normpipe.stages.decode import decode
from normpipe.stages.parts import MANIFEST_FILE

cv2.setNumThreads(1)

_SOURCE_SIDE = 512  # longer side in pixels to which a source is reduced as soon as it is decoded


class _EncodedImage(TypedDict):
    bytes: bytes | None


class _Pair(TypedDict):
    sample_id: str
    face_index: int | None
    reason: str | None
    original: _EncodedImage | None
    normalized: _EncodedImage | None
    box: list[float] | None


@dataclass(frozen=True, slots=True)
class Source:
    """A source picture, reduced.

    Attributes:
        image: RGB, at most 512 pixels on its longer side.
        scale: Pixels of `image` per pixel of the source.
    """

    image: Image
    scale: float


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row of a contact sheet.

    Attributes:
        sample_id: As in the run.
        face_index: None when the frame has no face.
        reason: None when the row is ok.
        original: Aligned crop, None when there is none.
        normalized: Normalized image, None when there is none.
        measures: Value by column of MEASURES, where measured.
        box: (4,) float32 in source pixels, None without a face.
        landmarks: (468, 2) float32 in source pixels, None without a face.
        source: None when it was not asked for or cannot be read.
    """

    sample_id: str
    face_index: int | None
    reason: Reason | None
    original: Image | None
    normalized: Image | None
    measures: dict[str, float]
    box: Floats | None
    landmarks: Floats | None
    source: Source | None


def read_rows(out: Path, addresses: Iterable[RowAddress], root: Root | None = None) -> dict[RowAddress, SheetRow]:
    """Read the chosen rows; each costs the reading of one row group.

    Args:
        out: Folder of the run.
        addresses: Which rows.
        root: Where the source files lie; None leaves the sources out, and what cannot be read is left out too.

    Returns:
        The rows by address, in run order.
    """
    wanted = sorted(set(addresses))
    pairs = {address: _read_pair(out, address) for address in wanted}
    sources: dict[str, Source] = {}
    if root is not None:
        ids = sorted({pair["sample_id"] for pair, _ in pairs.values()})
        sources = dict(_read_sources(root, _references(out / MANIFEST_FILE, ids)))
    rows = {}
    for address, (pair, measures) in pairs.items():
        rows[address] = SheetRow(
            sample_id=pair["sample_id"],
            face_index=pair["face_index"],
            reason=None if pair["reason"] is None else Reason(pair["reason"]),
            original=_decode_image(pair["original"]),
            normalized=_decode_image(pair["normalized"]),
            measures=measures,
            box=None if pair["box"] is None else np.array(pair["box"], np.float32),
            landmarks=_read_landmarks(out, address) if pair["sample_id"] in sources else None,
            source=sources.get(pair["sample_id"]),
        )
    return rows


def _read_pair(out: Path, address: RowAddress) -> tuple[_Pair, dict[str, float]]:
    record = _read_record(out, "shards", address)
    measures = {measure.column: cast("float", record[measure.column]) for measure in MEASURES}
    return cast("_Pair", record), {column: value for column, value in measures.items() if value is not None}


def _read_landmarks(out: Path, address: RowAddress) -> Floats | None:
    if not (out / "faces" / f"{address.part}.parquet").is_file():
        return None
    values = _read_record(out, "faces", address)["landmarks"]
    return None if values is None else np.array(values, np.float32).reshape(-1, 3)[:, :2]


def _read_record(out: Path, table: TableName, address: RowAddress) -> dict[str, object]:
    rows = read_slice(out / table / f"{address.part}.parquet", address.index, address.index + 1)
    record: dict[str, object] = rows.to_pylist()[0]
    return record


def _decode_image(encoded: _EncodedImage | None) -> Image | None:
    if encoded is None or not encoded["bytes"]:
        return None
    image = cv2.imdecode(np.frombuffer(encoded["bytes"], np.uint8), cv2.IMREAD_COLOR_RGB)
    return None if image is None else np.asarray(image, np.uint8)


def _references(manifest: Path, sample_ids: Sequence[str]) -> list[FrameRef]:
    """Where the files of some samples are; streams the run's copy of the manifest, which may have millions of rows."""
    wanted = ds.field("sample_id").isin(list(sample_ids))
    try:
        table = ds.dataset(manifest).to_table(columns=["sample_id", "uri", "frame", "pts"], filter=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{manifest.name}: missing or damaged; report without --root shows no sources") from error
    rows = table.sort_by([("uri", "ascending"), ("frame", "ascending")]).to_pylist()
    return [FrameRef(row["sample_id"], row["uri"], row["frame"], row["pts"]) for row in rows]


def _read_sources(root: Root, references: Sequence[FrameRef]) -> Iterator[tuple[str, Source]]:
    """Decode and reduce one picture after the other; those that cannot be read are passed over."""
    for frame in decode(references, root, Decode()):
        if isinstance(frame.image, Failure):
            continue
        height, width = frame.image.shape[:2]
        scale = min(1.0, _SOURCE_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        reduced = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        yield frame.ref.sample_id, Source(np.asarray(reduced, np.uint8), scale)
