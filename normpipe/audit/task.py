"""Measuring pairs as a task of the engine: a shard is a part of the audited run, and becomes a part of the features.

Both pictures of a pair are measured by the same instruments in the same way, so that what differs is the pictures: landmarks
are placed again in the aligned crop, and not taken over from the source image, which has more pixels. Where the landmarker sees
no face in a picture the embeddings look at the place where it should be; an attacker would do so too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.audit import descriptors
from normpipe.audit.blendshapes import Blendshapes
from normpipe.audit.embeddings import Embedding
from normpipe.audit.features import (
    ANGLES,
    BLENDSHAPE,
    FEATURES_FOLDER,
    GROUND,
    HOG,
    SHAPE,
    SIDES,
    SOURCE_SHAPE,
    THUMBNAIL,
    FeatureColumns,
    column,
    embedding_column,
    features_batch,
)
from normpipe.audit.groups import Floats
from normpipe.audit.hog import hog_features
from normpipe.batches import Detection, Image
from normpipe.config import Pipeline
from normpipe.engine.tasks import Advance, OutputFile, Shard, ShardResult
from normpipe.engine.threads import limit_libraries
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import extent, five_points
from normpipe.faces.pose import pose
from normpipe.faces.protocols import Landmarker
from normpipe.records import LANDMARK_COUNT, Reason
from normpipe.shards.atomic import sha256_of
from normpipe.shards.commits import part_name
from normpipe.shards.reader import open_part, read_slice
from normpipe.shards.writer import ShardWriter
from normpipe.stages.align import alignment_matrix, template, template_detection, transform
from normpipe.stages.environment import environment, library_version
from normpipe.stages.faces_table import frame_starts
from normpipe.stages.parts import FACES_FOLDER, SHARDS_FOLDER
from normpipe.stages.quality import laplacian_variance

AUDIT_FOLDER = "audit"
ALGORITHM_VERSION = 1

_BATCH_ROWS = 32
_LOOKS = 2
_PAIR_COLUMNS = ("sample_id", "face_index", "reason", "original", "normalized")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a process measures with."""

    landmarker: Landmarker
    embeddings: tuple[Embedding, ...]
    blendshapes: Blendshapes | None


@dataclass(slots=True)
class AuditTask:
    """A ShardTask that writes `audit/features/`.

    Attributes:
        out: The audited run's folder.
        pipeline: Its configuration.
        columns: What to measure.
        blendshapes: The FaceLandmarker bundle, with its sha256.
        environment: What the plan says of the environment; a worker that differs refuses.
    """

    out: Path
    pipeline: Pipeline
    columns: FeatureColumns
    blendshapes: tuple[Path, str] | None
    environment: dict[str, str]
    _loaded: _Loaded | None = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Set thread counts and load the instruments.

        Raises:
            IncompatibleRunError: this worker would measure otherwise than the plan says.
            NormpipeError: an instrument is missing or unusable.
        """
        limit_libraries()
        here = audit_environment(self.pipeline, self.columns)
        different = [name for name in self.environment if self.environment[name] != here.get(name)]
        if different:
            raise IncompatibleRunError(f"a worker's environment differs from the plan's in: {', '.join(different)}")
        for embedding in self.columns.embeddings:
            _check(embedding.path, embedding.sha256)
        if self.blendshapes is not None:
            _check(*self.blendshapes)
        self._loaded = _Loaded(
            build_landmarker(self.pipeline.detect, "cpu"),
            tuple(Embedding(each.path) for each in self.columns.embeddings),
            None if self.blendshapes is None else Blendshapes(self.blendshapes[0]),
        )

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Measure one part."""
        began = perf_counter()
        starts = frame_starts(self.out / FACES_FOLDER / f"{shard.name}.parquet")
        if len(starts) != shard.rows + 1:
            raise UsageError(f"{FACES_FOLDER}/{shard.name}.parquet: holds other rows than the run's plan says")
        untouched = {row for frame in excluded for row in range(starts[frame - shard.start], starts[frame - shard.start + 1])}
        failed: Counter[Reason] = Counter()
        rows = frames = 0
        path = f"{FEATURES_FOLDER}/{shard.name}.parquet"
        with ShardWriter(self.out / AUDIT_FOLDER / path, self.columns.schema) as writer:
            for batch, landmarks in self._batches(shard):
                skipped = [rows + number in untouched for number in range(batch.num_rows)]
                writer.append(self._measured(batch, landmarks, skipped))
                reasons = [Reason(word) for word in batch["reason"].to_pylist() if word is not None]
                failed.update(reasons)
                rows += batch.num_rows
                done = int(np.searchsorted(starts[1:], rows, side="right"))
                advance(done - frames, batch.num_rows - len(reasons), len(reasons))
                frames = done
        written = writer.written
        return ShardResult(
            files=(OutputFile(path, written.sha256, written.size),),
            rows=rows,
            ok=rows - failed.total(),
            failed=dict(failed),
            seconds_by_stage={"measure": perf_counter() - began},
            settled=dict(failed),  # the run is done with them
        )

    def probe(self, row: int) -> None:
        """Measure the rows of one frame alone."""
        index = row // self.pipeline.shard_size
        name = f"{part_name(index)}.parquet"
        starts = frame_starts(self.out / FACES_FOLDER / name)
        low, high = (int(starts[row - index * self.pipeline.shard_size + step]) for step in (0, 1))
        pairs = read_slice(self.out / SHARDS_FOLDER / name, low, high).select(_PAIR_COLUMNS).combine_chunks()
        faces = read_slice(self.out / FACES_FOLDER / name, low, high)["landmarks"].to_pylist()
        for number, batch in enumerate(pairs.to_batches(max_chunksize=1)):
            self._measured(batch, [_points(faces[number])], [False])

    def _batches(self, shard: Shard) -> Iterator[tuple[pa.RecordBatch, list[Floats | None]]]:
        """Rows of the pairs with their landmarks in the source image."""
        name = f"{shard.name}.parquet"
        with open_part(self.out / SHARDS_FOLDER / name) as pairs, open_part(self.out / FACES_FOLDER / name) as faces:
            found = faces.iter_batches(_BATCH_ROWS, columns=["sample_id", "landmarks"])
            for batch, points in zip(pairs.iter_batches(_BATCH_ROWS, columns=list(_PAIR_COLUMNS)), found, strict=True):
                if not batch["sample_id"].equals(points["sample_id"]):
                    raise UsageError(f"{SHARDS_FOLDER}/{name} and {FACES_FOLDER}/{name} hold different rows; run again")
                yield batch, [_points(each) for each in points["landmarks"].to_pylist()]

    def _measured(self, batch: pa.RecordBatch, landmarks: list[Floats | None], skipped: list[bool]) -> pa.RecordBatch:
        values = {name: np.full(batch.num_rows, np.nan, np.float32) for name in self.columns.scalars}
        for name, size in self.columns.vectors.items():
            values[name] = np.full((batch.num_rows, size), np.nan, np.float32)
        expected = template_detection(self.pipeline.size, self.pipeline.align.margin)
        drawn_points = template(self.pipeline.size, self.pipeline.align.margin)
        pictures = [batch[side].to_pylist() for side in SIDES]
        for row, (original, normalized) in enumerate(zip(*pictures, strict=True)):
            if original is None or normalized is None or landmarks[row] is None or skipped[row]:
                continue
            source = landmarks[row]
            assert source is not None
            cut = transform(source, alignment_matrix(source, self.pipeline.size, self.pipeline.align.margin))
            values[SOURCE_SHAPE][row] = descriptors.shape_deviations(source)
            for side, encoded, fallback in ((SIDES[0], original, cut), (SIDES[1], normalized, drawn_points)):
                self._measure(_decoded(encoded["bytes"]), side, row, expected, fallback, values)
        return features_batch(batch["sample_id"].to_pylist(), batch["face_index"].to_pylist(), values, self.columns.schema)

    def _measure(
        self, image: Image, side: str, row: int, detection: Detection, fallback: Floats, values: dict[str, Floats]
    ) -> None:
        """Every instrument on one picture."""
        loaded = self._loaded
        assert loaded is not None, "prepare comes first"
        found = _placed(loaded.landmarker, image, detection)
        points = fallback if found is None else found
        if found is not None:
            values[column(SHAPE, side)][row] = descriptors.shape_deviations(points)
            for name, angle in zip(ANGLES, pose(points[None])[0], strict=True):
                values[column(name, side)][row] = angle
        five = five_points(points)
        for number, embedding in enumerate(loaded.embeddings):
            values[column(embedding_column(number), side)][row] = embedding.embed(image, five)
        if loaded.blendshapes is not None:
            values[column(BLENDSHAPE, side)][row] = loaded.blendshapes.measure(image)
        border = int(self.pipeline.size * self.pipeline.align.margin)
        values[column(HOG, side)][row] = hog_features(image[border : image.shape[0] - border, border : image.shape[1] - border])
        values[column(GROUND, side)][row] = descriptors.ground(image, points)
        values[column(THUMBNAIL, side)][row] = descriptors.thumbnail(image)
        grey: NDArray[np.uint8] = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        values[column("sharpness", side)][row] = laplacian_variance(grey)


def audit_environment(pipeline: Pipeline, columns: FeatureColumns) -> dict[str, str]:
    """Libraries and processor that decide about the features."""
    used = environment(pipeline.model_copy(update={"execution": Pipeline().execution}))
    extra = ["scikit-image"]
    extra += ["onnxruntime"] if columns.embeddings else []
    extra += ["mediapipe"] if columns.blendshapes else []
    return used | {library: library_version(library) for library in extra}


def _placed(landmarker: Landmarker, image: Image, expected: Detection) -> Floats | None:
    """Landmarks of a picture, looked for twice: where a face is expected, and then where it was found.

    The square that the network looks at moves its answer. Both pictures of a pair are therefore looked at alike, beginning
    where `align` puts a face: with the run's landmarks as the beginning for originals, and one look, a picture that is
    compared with itself came out 12 % weaker in its movement.
    """
    points = None
    for _ in range(_LOOKS):
        found = landmarker.landmarks(image, [expected])[0]
        if found is None:
            return None
        points = found.points
        expected = Detection(extent(points), 1.0, five_points(points)[:2])
    return points


def _points(values: list[float] | None) -> Floats | None:
    return None if values is None else np.array(values, np.float32).reshape(LANDMARK_COUNT, 3)


def _decoded(content: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UsageError("a stored picture cannot be decoded; delete its part and finish the run again")
    return np.asarray(image, np.uint8)


def _check(path: Path, sha256: str) -> None:
    try:
        same = sha256_of(path) == sha256
    except OSError:
        same = False
    if not same:
        raise IncompatibleRunError(f"{path.name}: a worker does not see the file that the plan names; put it where all see it")
