"""Faces that an earlier phase or run has found, read back frame by frame: what rendering takes in the place of a detector.

The tables are parts of FACES_SCHEMA, cut at manifest rows; whoever reads may cut elsewhere. Under policy `track` the parts
hold every face of a frame, and `tracks/` says of each, row for row, to which person of the clip it belongs and whether that
person is the one who is kept. A frame's rows depend on nothing but its own and, with smoothing, on those of its `smoothing`
neighbours on either side, so they are the same wherever the reader cuts.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.batches import Face
from normpipe.errors import UsageError
from normpipe.faces import geometry
from normpipe.faces.pose import pose
from normpipe.records import Failure, Reason, ReasonClass
from normpipe.shards.commits import part_name
from normpipe.shards.reader import open_part, read_slice
from normpipe.stages.tables import stored_faces

TRACKS_FOLDER = "tracks"

# Parallel to the rows of an analysis part. `clip` counts the clips of the manifest.
TRACKS_SCHEMA = pa.schema([pa.field("clip", pa.int64()), pa.field("track_id", pa.int32()), pa.field("kept", pa.bool_())])

_FRAMES_AT_ONCE = 256

_ABSENT = Failure(Reason.NO_FACE, "the clip's tracked person is not in this frame")


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face and the person of the clip that it belongs to, None where faces are not tracked."""

    face: Face
    track_id: int | None


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """What is known of one manifest row.

    Attributes:
        sample_id: Its id.
        content_sha256: Digest of the source file as it was analyzed, None where it was not read.
        found: Its faces, in order and at least one, or why there is none.
    """

    sample_id: str
    content_sha256: str | None
    found: Sequence[StoredFace] | Failure


@dataclass(frozen=True, slots=True)
class FacesTable:
    """The faces of all rows of a manifest.

    Attributes:
        out: Folder of the run that holds them.
        folder: Its subfolder with the parts.
        rows: Rows of the manifest.
        shard_size: Manifest rows of a part.
        digest: Hex digest that tells these faces from others.
        tracked: Whether `tracks/` chooses among them.
        smoothing: Neighbouring frames on either side that steady a tracked face's landmarks.
    """

    out: Path
    folder: str
    rows: int
    shard_size: int
    digest: str
    tracked: bool = False
    smoothing: int = 0

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.rows // self.shard_size)

    def part(self, index: int) -> Path:
        """File of one part."""
        return self.out / self.folder / f"{part_name(index)}.parquet"

    def tracks_part(self, index: int) -> Path:
        """File that says which faces of a part are kept."""
        return self.out / TRACKS_FOLDER / f"{part_name(index)}.parquet"

    def frames(self, start: int, stop: int) -> Iterator[StoredFrame]:
        """Manifest rows [start, stop), in order; memory holds a few hundred.

        Raises:
            UsageError: a part is missing or damaged.
        """
        for first in range(start, stop, _FRAMES_AT_ONCE):
            yield from self._frames(first, min(first + _FRAMES_AT_ONCE, stop))

    def untouchable(self, start: int, stop: int) -> dict[int, Reason]:
        """Manifest rows of [start, stop) whose analysis failed for a reason of the environment: nothing is known of them."""
        failed = {}
        for index in range(start // self.shard_size, -(-stop // self.shard_size)):
            first, starts = index * self.shard_size, self._starts(index)
            with open_part(self.part(index)) as file:
                words = file.read(columns=["reason"])["reason"].take(pa.array(starts[:-1])).to_pylist()
            for row, word in enumerate(words, first):
                if start <= row < stop and word is not None and Reason(word).reason_class is ReasonClass.ENVIRONMENT:
                    failed[row] = Reason(word)
        return failed

    def _frames(self, start: int, stop: int) -> Iterator[StoredFrame]:
        low, high = max(0, start - self.smoothing), min(self.rows, stop + self.smoothing)
        found: defaultdict[int, list[StoredFace]] = defaultdict(list)
        clips: dict[int, int] = {}
        heads: dict[int, tuple[str, str | None, Failure]] = {}
        for table, owners in self._read(low, high):
            _, firsts = np.unique(owners, return_index=True)
            heads.update(zip(owners[firsts].tolist(), _heads(table.take(pa.array(firsts))), strict=True))
            chosen = pc.is_valid(table["landmarks"])
            if self.tracked:
                chosen = pc.and_(chosen, table["kept"])
            kept = table.filter(chosen)
            places = owners[chosen.to_numpy()].tolist()
            for owner, face, track in zip(places, stored_faces(kept), kept["track_id"].to_pylist(), strict=True):
                found[owner].append(StoredFace(face, track))
            if self.tracked:
                clips.update(zip(places, kept["clip"].to_pylist(), strict=True))
        for row in range(start, stop):
            sample_id, content_sha256, failure = heads[row]
            faces = found.get(row)
            if faces and self.smoothing:
                faces = [StoredFace(self._steadied(row, found, clips), faces[0].track_id)]
            yield StoredFrame(sample_id, content_sha256, faces or failure)

    def _steadied(self, row: int, found: dict[int, list[StoredFace]], clips: dict[int, int]) -> Face:
        """The face on landmarks averaged over the person's neighbouring frames, nearer ones counting more.

        A normalized convolution with a Gaussian: frames without the person have no weight, and no frame lags behind. Source:
        Knutsson and Westin, Normalized and differential convolution (CVPR 1993), https://doi.org/10.1109/CVPR.1993.341081
        """
        near = range(row - self.smoothing, row + self.smoothing + 1)
        same = [other for other in near if other in found and clips[other] == clips[row]]
        distances = np.array(same) - row
        weights = np.exp(-0.5 * (2 * distances / self.smoothing) ** 2)
        stack = np.stack([found[other][0].face.landmarks for other in same]).astype(np.float64)
        landmarks = (np.einsum("n,npi->pi", weights, stack) / weights.sum()).astype(np.float32)
        face = found[row][0].face
        return Face(
            box=geometry.extent(landmarks),
            five_points=geometry.five_points(landmarks),
            landmarks=landmarks,
            pose=pose(landmarks[None])[0],
            detector_score=face.detector_score,
            landmark_score=face.landmark_score,
        )

    def _read(self, start: int, stop: int) -> Iterator[tuple[pa.Table, NDArray[np.int64]]]:
        """Rows of manifest rows [start, stop) by part, and the manifest row that each belongs to."""
        for index in range(start // self.shard_size, -(-stop // self.shard_size)):
            first, starts = index * self.shard_size, self._starts(index)
            low, high = max(start - first, 0), min(stop - first, len(starts) - 1)
            table = read_slice(self.part(index), int(starts[low]), int(starts[high]))
            if self.tracked:
                tracks = read_slice(self.tracks_part(index), int(starts[low]), int(starts[high]))
                table = table.drop_columns("track_id")
                for name in TRACKS_SCHEMA.names:
                    table = table.append_column(name, tracks[name])
            yield table, np.repeat(np.arange(first + low, first + high), np.diff(starts[low : high + 1]))

    def _starts(self, index: int) -> NDArray[np.int64]:
        starts = frame_starts(self.part(index))
        if len(starts) != min(self.shard_size, self.rows - index * self.shard_size) + 1:
            raise UsageError(f"{self.folder}/{self.part(index).name}: holds other rows than its plan says; use another OUT")
        return starts


def frame_starts(part: Path) -> NDArray[np.int64]:
    """For each frame of a faces part, the place of its first row, and at the end the number of rows."""
    with open_part(part) as file:
        indices = file.read(columns=["face_index"])["face_index"]
    first = pc.fill_null(pc.equal(indices, 0), True)
    return np.append(np.flatnonzero(first.to_numpy()), len(indices)).astype(np.int64)


def _heads(firsts: pa.Table) -> Iterator[tuple[str, str | None, Failure]]:
    """Of each frame's first row: id, digest, and the failure that stands if the frame gives no face."""
    columns = [firsts[name].to_pylist() for name in ("sample_id", "content_sha256", "reason", "detail")]
    for sample_id, content_sha256, reason, detail in zip(*columns, strict=True):
        failure = _ABSENT if reason is None else Failure(Reason(reason), detail or "")
        yield sample_id, content_sha256, failure
