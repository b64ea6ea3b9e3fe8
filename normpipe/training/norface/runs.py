"""Finished runs as a source of faces: pairs that were rendered are read back as the aligned faces they were rendered from."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats
from normpipe.config import Align
from normpipe.engine.journal import Journal
from normpipe.engine.plan import Plan, read_plan
from normpipe.errors import UsageError
from normpipe.normalizers.mean_face.expression import shape_deviation
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.records import LANDMARK_COUNT, Status
from normpipe.shards.reader import open_part, read_slice
from normpipe.stages.align import alignment_matrix, transform
from normpipe.stages.parts import FACES_FOLDER, SHARDS_FOLDER
from normpipe.stages.tables import stored_faces

_NORMALIZER = "mean_face"
_FRONTAL_LIMIT = 15.0  # degrees of yaw and pitch
_CALM_SHARE = 0.25
_INNER_LIPS = (13, 14)
_EYE_CORNERS = (33, 263)
_SHUT = 0.04  # eye distances between lips that show nothing behind them


@dataclass(frozen=True, slots=True)
class RunFace:
    """A face of a run.

    Attributes:
        name: Sample and number of the face in it.
        person: The subject, else the sample.
        face: As its normalizer got it.
    """

    name: str
    person: str
    face: AlignedFace


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The faces of a finished run that have a pair, in the order of its parts.

    Attributes:
        out: Its folder.
        digest: Hex digest over the content of all its parts.
        size: Side of its crops.
        parts: Stems of its parts.
        rows: For each part the rows that have a pair.
    """

    out: Path
    digest: str
    size: int
    parts: tuple[str, ...]
    rows: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def faces(self, start: int, stop: int) -> Iterator[RunFace]:
        """Faces [start, stop).

        Raises:
            UsageError: a part is damaged.
        """
        first = 0
        for part, rows in zip(self.parts, self.rows, strict=True):
            chosen = rows[max(start - first, 0) : max(stop - first, 0)]
            first += len(rows)
            if len(chosen):
                pairs, faces = (self._taken(folder, part, chosen) for folder in (SHARDS_FOLDER, FACES_FOLDER))
                yield from _run_faces(pairs, faces, self.size)

    def face(self, number: int) -> RunFace:
        """One face; errors as for `faces`."""
        return next(self.faces(number, number + 1))

    def near_frontal(self) -> NDArray[np.int64]:
        """Numbers of the faces that look into the camera.

        Raises:
            UsageError: there is none.
        """
        poses = [self._columns(part, rows, ("yaw", "pitch")) for part, rows in zip(self.parts, self.rows, strict=True)]
        turned = np.concatenate([np.abs(np.column_stack([part["yaw"], part["pitch"]])).max(axis=1) for part in poses])
        found = np.flatnonzero(turned < _FRONTAL_LIMIT)
        if not len(found):
            raise UsageError(f"{self.out.name}: none of its {len(self)} faces looks into the camera; give a run of portraits")
        return found

    def calm(self, model: MeanFaceModel) -> NDArray[np.int64]:
        """Numbers of the calmest near-frontal faces, at most a quarter of these and at least one.

        Their lips are shut, and mean_face draws them with the least expression.

        Raises:
            UsageError: no face looks into the camera with shut lips.
        """
        frontal = self.near_frontal()
        amounts, openings = [], []
        for part, rows in zip(self.parts, self.rows, strict=True):
            flat = self._columns(part, rows, ("landmarks",))["landmarks"].combine_chunks().flatten().to_numpy()
            landmarks = flat.reshape(-1, LANDMARK_COUNT, 3)
            offsets = shape_deviation(landmarks, model) @ model.shape_in @ model.shape_out
            amounts.append(np.sqrt((offsets**2).mean(axis=1)))
            openings.append(mouth_opening(landmarks))
        shut = frontal[np.concatenate(openings)[frontal] < _SHUT]
        if not len(shut):
            raise UsageError(f"{self.out.name}: nobody who looks into the camera has shut lips; give a run of portraits")
        order = np.argsort(np.concatenate(amounts)[shut], kind="stable")
        return np.sort(shut[order[: max(int(len(frontal) * _CALM_SHARE), 1)]])

    def _taken(self, folder: str, part: str, rows: NDArray[np.int64]) -> pa.Table:
        """Some rows of a part, in rising order."""
        first = int(rows[0])
        return read_slice(self.out / folder / f"{part}.parquet", first, int(rows[-1]) + 1).take(pa.array(rows - first))

    def _columns(self, part: str, rows: NDArray[np.int64], names: Sequence[str]) -> pa.Table:
        with open_part(self.out / FACES_FOLDER / f"{part}.parquet") as file:
            return file.read(columns=list(names)).take(pa.array(rows))


def finished_run(out: Path, side: int) -> FinishedRun:
    """Open a run whose faces pictures of `side` pixels can be made of.

    Raises:
        UsageError: it is no run's folder, not finished, without a pair, or of another normalizer, margin or side.
    """
    out = out.absolute()  # `.` has no name to tell
    plan = read_plan(out)
    if plan is None:
        raise UsageError(f"{out.name}: not a run's folder (it has no plan.json); name the OUT of `normpipe run`")
    normalizer, margin, size = (_setting(plan, name) for name in ("normalize.normalizer", "align.margin", "size"))
    if normalizer != _NORMALIZER:
        raise UsageError(f"{out.name}: a run of the normalizer {normalizer}; examples are made of runs of {_NORMALIZER}")
    if margin != Align().margin:
        raise UsageError(f"{out.name}: its align.margin is {margin}; examples are made of runs with {Align().margin}")
    assert isinstance(size, int)
    if size < side:
        raise UsageError(f"{out.name}: its pictures have {size} pixels a side, fewer than the {side} of the examples")
    records = Journal(out, plan.fingerprint.digest).committed(plan.shards)
    if len(records) < len(plan.shards):
        raise UsageError(f"{out.name}: the run is not finished ({len(records)} of {len(plan.shards)} shards); finish it first")
    parts = tuple(record.shard.name for record in records)
    rows = tuple(_pairs(out / SHARDS_FOLDER / f"{part}.parquet") for part in parts)
    if not sum(map(len, rows)):
        raise UsageError(f"{out.name}: none of its rows has a pair; look at its summary with `normpipe report`")
    digests = (file.sha256 for record in records for file in record.result.files)
    return FinishedRun(out, hashlib.sha256("".join(digests).encode()).hexdigest(), size, parts, rows)


def mouth_opening(landmarks: Floats) -> Floats:
    """(n,) distances between the inner lips of (n, 468, 3) landmarks, in distances of the eyes' outer corners."""
    lips, eyes = (
        np.linalg.norm(landmarks[:, first, :2] - landmarks[:, second, :2], axis=1)
        for first, second in (_INNER_LIPS, _EYE_CORNERS)
    )
    return np.asarray(lips / np.maximum(eyes, 1e-6), np.float32)


def _run_faces(pairs: pa.Table, faces: pa.Table, size: int) -> Iterator[RunFace]:
    names = ("sample_id", "face_index", "subject", "original")
    columns = [pairs[name].to_pylist() for name in names] + [faces[name].to_pylist() for name in ("width", "height")]
    for found, (sample, index, subject, original, width, height) in zip(
        stored_faces(faces), zip(*columns, strict=True), strict=True
    ):
        matrix = alignment_matrix(found.landmarks, size, Align().margin)
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ matrix[:, :2].T + matrix[:, 2]
        image = cv2.imdecode(np.frombuffer(original["bytes"], np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None, "a pair holds pictures"
        landmarks: Floats = transform(found.landmarks, matrix)
        face = AlignedFace(np.asarray(image, np.uint8), landmarks, found.pose, corners.astype(np.float32))
        yield RunFace(f"{sample}/{index}", subject or sample, face)


def _pairs(part: Path) -> NDArray[np.int64]:
    with open_part(part) as file:
        status = file.read(columns=["status"])["status"]
    return np.asarray(pc.indices_nonzero(pc.equal(status, Status.OK.value)), np.int64)


def _setting(plan: Plan, name: str) -> object:
    """A key of the run's pipeline file."""
    return json.loads(plan.fingerprint.parts[f"config.{name}"])
