"""Between analyze and render, under policy `track`: the faces of successive frames become people, and one of them is kept.

Faces of a frame are matched with the people seen so far by the Hungarian method, on overlap and on the distance of the five
points, each person being expected where constant speed would have taken it. A person may be missing for `_LONGEST_GAP` frames.
This is tracking by detection without looking at pixels: Bewley et al., Simple online and realtime tracking (ICIP 2016),
https://arxiv.org/abs/1602.00763, with linear extrapolation in place of its Kalman filter. What it cannot tell is a cut to
another face of the same size at the same place.

A clip is the rows of one video or animation that follow one another, or of one `sequence` of stills; any other still is a clip
of its own. The person kept is the one with the largest sum of face area times detector score: large, often there, surely a
face.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from normpipe.batches import Floats
from normpipe.faces.boxes import iou
from normpipe.shards.atomic import remove_leftovers
from normpipe.shards.reader import open_part
from normpipe.shards.writer import ShardWriter
from normpipe.stages.faces_table import TRACKS_FOLDER, TRACKS_SCHEMA, FacesTable

ALGORITHM_VERSION = 1

_LONGEST_GAP = 25
"""Frames that a person may be missing: a second of most videos."""

_FARTHEST = 0.75
"""Distance of the five points from where they are expected, in sides of the face, beyond which it is somebody else."""

_INERTIA = 0.7
"""Share of the old speed in the new one: single steps are noisy."""

_FORBIDDEN = 1e6
_BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Seen:
    """What tracking needs of a face: box (4,), five points (5, 2), detector score."""

    box: Floats
    five_points: Floats
    score: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


@dataclass(slots=True)
class _Person:
    track_id: int
    last: Seen
    frame: int
    speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    weight: float = 0.0

    def expected(self, frame: int) -> Seen:
        shift = self.speed * (frame - self.frame)
        return Seen(
            (self.last.box + np.tile(shift, 2)).astype(np.float32),
            (self.last.five_points + shift).astype(np.float32),
            self.last.score,
        )

    def follow(self, seen: Seen, frame: int) -> None:
        step = (seen.five_points.mean(axis=0) - self.last.five_points.mean(axis=0)) / (frame - self.frame)
        self.speed = _INERTIA * self.speed + (1 - _INERTIA) * step
        self.last, self.frame = seen, frame


class Tracker:
    """Gives the faces of one clip, frame by frame, the numbers of its people, from 0 in order of appearance."""

    def __init__(self) -> None:
        self._people: list[_Person] = []
        self._gone: _Person | None = None  # of those who left for good, the one who would be kept
        self._count = 0
        self._frame = -1

    def step(self, faces: Sequence[Seen]) -> list[int]:
        """The next frame.

        Args:
            faces: In order of their place in the frame, which numbers those who are new.

        Returns:
            One track id per face.
        """
        self._frame += 1
        for person in [person for person in self._people if self._frame - person.frame > _LONGEST_GAP + 1]:
            self._people.remove(person)
            self._gone = person if self._gone is None else max(self._gone, person, key=_rank)
        present = list(self._people)
        known = _matches([person.expected(self._frame) for person in present], faces)
        ids = []
        for index, face in enumerate(faces):
            if index in known:
                person = present[known[index]]
                person.follow(face, self._frame)
            else:
                person = _Person(self._count, face, self._frame)
                self._people.append(person)
                self._count += 1
            person.weight += face.area * face.score
            ids.append(person.track_id)
        return ids

    @property
    def kept(self) -> int | None:
        """The person with the largest sum of area times score, None before the first face."""
        people = self._people if self._gone is None else [*self._people, self._gone]
        return max(people, key=_rank).track_id if people else None


def _rank(person: _Person) -> tuple[float, int]:
    return person.weight, -person.track_id


def write_tracks(analysis: FacesTable, manifest: Path) -> str:
    """Link the faces of a whole analysis and write one part of `tracks/` for each of its parts.

    Memory holds the numbers of one clip. What comes out depends on the faces alone, not on how they are cut into parts.

    Returns:
        Hex digest over all that was written, row by row: part of the fingerprint of what is rendered from it.
    """
    (analysis.out / TRACKS_FOLDER).mkdir(exist_ok=True)
    remove_leftovers(analysis.out / TRACKS_FOLDER)
    rows = _linked(analysis, manifest)
    digest = hashlib.sha256()
    for index in range(analysis.parts):
        with open_part(analysis.part(index)) as file:
            count = file.metadata.num_rows
        with ShardWriter(analysis.tracks_part(index), TRACKS_SCHEMA) as writer:
            for start in range(0, count, _BATCH_ROWS):
                part = [next(rows) for _ in range(min(_BATCH_ROWS, count - start))]
                for clip, track, kept in part:
                    digest.update(struct.pack("<qi?", clip, -1 if track is None else track, kept))
                columns = [
                    pa.array(values, kind.type) for values, kind in zip(zip(*part, strict=True), TRACKS_SCHEMA, strict=True)
                ]
                writer.append(pa.RecordBatch.from_arrays(columns, schema=TRACKS_SCHEMA))
    return digest.hexdigest()


def _linked(analysis: FacesTable, manifest: Path) -> Iterator[tuple[int, int | None, bool]]:
    """For each row of the analysis: number of its clip, track id (None without a face), whether this person is kept."""
    frames = zip(_clip_keys(manifest), _seen(analysis), strict=True)
    for clip, (_, group) in enumerate(groupby(frames, key=lambda item: item[0])):
        tracker = Tracker()
        ids: list[int | None] = []
        for _, faces in group:
            ids += tracker.step(faces) if faces else _missing(tracker)
        for track in ids:
            yield clip, track, track is not None and track == tracker.kept


def _missing(tracker: Tracker) -> list[None]:
    """A frame without faces is one row, and a step in time."""
    tracker.step([])
    return [None]


def _clip_keys(manifest: Path) -> Iterator[tuple[object, ...]]:
    """One key per manifest row; rows of a clip follow one another and share it."""
    with open_part(manifest) as file:
        row = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=["uri", "frame", "dataset", "subject", "sequence"]):
            for uri, frame, *sequence in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if frame is not None:
                    yield ("clip", uri)
                elif sequence[-1] is not None:
                    yield ("sequence", *sequence)
                else:
                    yield ("still", row)
                row += 1


def _seen(analysis: FacesTable) -> Iterator[list[Seen]]:
    """The faces of each manifest row."""
    columns = ["face_index", "box", "five_points", "detector_score"]
    for index in range(analysis.parts):
        waiting: list[Seen] | None = None
        with open_part(analysis.part(index)) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                for place, box, points, score in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if place is None or place == 0:
                        if waiting is not None:
                            yield waiting
                        waiting = []
                    if box is not None and waiting is not None:
                        waiting.append(Seen(np.array(box, np.float32), np.array(points, np.float32).reshape(5, 2), score))
        if waiting is not None:
            yield waiting


def _matches(expected: Sequence[Seen], faces: Sequence[Seen]) -> dict[int, int]:
    """Index of a face to index of the expected one that it is; costs are missing overlap plus distance in face sides."""
    if not expected or not faces:
        return {}
    boxes, points = np.stack([one.box for one in expected]), np.stack([one.five_points for one in expected])
    areas = np.array([one.area for one in expected])
    costs = np.empty((len(faces), len(expected)))
    for row, face in zip(costs, faces, strict=True):
        side = np.sqrt(np.maximum(np.minimum(areas, face.area), 1.0))  # of the smaller one
        distance = np.sqrt(((points - face.five_points) ** 2).sum(axis=2).mean(axis=1)) / side
        row[:] = np.where(distance > _FARTHEST, _FORBIDDEN, 1 - iou(face.box, boxes) + distance)
    found = zip(*linear_sum_assignment(costs), strict=True)
    return {int(face): int(person) for face, person in found if costs[face, person] < _FORBIDDEN}
