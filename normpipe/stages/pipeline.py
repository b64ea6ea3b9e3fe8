"""The whole flow on a stream of manifest rows: decode, detect, align, normalize, quality, encode, in micro-batches.

A micro-batch has at most 32 frames and about 32 megapixels, so that memory is bounded by neither the length of a clip nor the
size of its frames; once the faces are cut, the frames are gone. The stages are pure and know nothing of time: it is measured
here, by the micro-batch.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from normpipe.batches import AlignedFace, Face, Frame, Image
from normpipe.config import Pipeline
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.normalizers.protocol import Normalizer
from normpipe.records import Failure
from normpipe.sources.manifest import frame_refs
from normpipe.sources.root import Root
from normpipe.stages import align as align_stage
from normpipe.stages import decode as decode_stage
from normpipe.stages import detect as detect_stage
from normpipe.stages import encode as encode_stage
from normpipe.stages import normalize as normalize_stage
from normpipe.stages import quality as quality_stage
from normpipe.stages import tables
from normpipe.stages.align import align, template_detection
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect
from normpipe.stages.encode import encode
from normpipe.stages.normalize import normalize
from normpipe.stages.quality import Remeasure, quality
from normpipe.stages.tables import faces_batch, first_failure, pairs_batch

MICRO_BATCH_FRAMES = 32
MICRO_BATCH_PIXELS = 1 << 25

# Each is raised by hand whenever its stage may give other values for the same input; part of every run's fingerprint.
ALGORITHM_VERSIONS = {
    "decode": decode_stage.ALGORITHM_VERSION,
    "detect": detect_stage.ALGORITHM_VERSION,
    "align": align_stage.ALGORITHM_VERSION,
    "normalize": normalize_stage.ALGORITHM_VERSION,
    "quality": quality_stage.ALGORITHM_VERSION,
    "encode": encode_stage.ALGORITHM_VERSION,
    "tables": tables.ALGORITHM_VERSION,
}


@dataclass(frozen=True, slots=True)
class Models:
    """The networks of a run, made once per process."""

    detector: Detector
    landmarker: Landmarker
    normalizer: Normalizer


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished micro-batch: parallel rows of both tables.

    Attributes:
        frames: Manifest rows that went in.
        faces: FACES_SCHEMA.
        pairs: PAIRS_SCHEMA.
        failures: Failure of each row, None where it succeeded.
    """

    frames: int
    faces: pa.RecordBatch
    pairs: pa.RecordBatch
    failures: Sequence[Failure | None]


class StageClock:
    """Wall-clock seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the duration of the `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def run_stages(manifest: pa.Table, root: Root, pipeline: Pipeline, models: Models, clock: StageClock) -> Iterator[Rows]:
    """Manifest rows to rows of both tables, in order.

    Args:
        manifest: Rows of MANIFEST_SCHEMA.
        root: Where their files are.
        pipeline: Configuration.
        models: Prepared models.
        clock: Takes the seconds of each stage.
    """
    frames = decode(frame_refs(manifest), root, pipeline.decode)
    start = 0
    while batch := _next_frames(frames, clock):
        rows = manifest.slice(start, len(batch))
        start += len(batch)
        cut = _cut(batch, pipeline, models, clock)
        del batch
        yield _render(rows, cut, pipeline, models, clock)
    assert start == manifest.num_rows, "decode returns one frame per row"


@dataclass(frozen=True, slots=True)
class _Cut:
    """What is left of a micro-batch when its frames are freed; parallel lists, one entry per row."""

    table: pa.RecordBatch
    sources: list[int]
    faces: list[Face | Failure]
    frame_sizes: list[tuple[int, int] | None]
    aligned: list[AlignedFace | Failure]


def _next_frames(frames: Iterator[Frame], clock: StageClock) -> list[Frame]:
    """Decode until the micro-batch is full."""
    batch: list[Frame] = []
    pixels = 0
    with clock.measure("decode"):
        while len(batch) < MICRO_BATCH_FRAMES and pixels < MICRO_BATCH_PIXELS:
            frame = next(frames, None)
            if frame is None:
                break
            batch.append(frame)
            if not isinstance(frame.image, Failure):
                pixels += frame.image.shape[0] * frame.image.shape[1]
    return batch


def _cut(frames: Sequence[Frame], pipeline: Pipeline, models: Models, clock: StageClock) -> _Cut:
    with clock.measure("detect"):
        rows = detect(frames, models.detector, models.landmarker, pipeline.detect)
    with clock.measure("align"):
        aligned = [align(row, pipeline.size, pipeline.align) for row in rows]
    with clock.measure("tables"):
        position = {id(frame): index for index, frame in enumerate(frames)}
        images = [row.frame.image for row in rows]
        return _Cut(
            table=faces_batch(rows),
            sources=[position[id(row.frame)] for row in rows],
            faces=[row.face for row in rows],
            frame_sizes=[None if isinstance(image, Failure) else (image.shape[1], image.shape[0]) for image in images],
            aligned=aligned,
        )


def _render(manifest: pa.Table, cut: _Cut, pipeline: Pipeline, models: Models, clock: StageClock) -> Rows:
    with clock.measure("normalize"):
        normalized = normalize(cut.aligned, models.normalizer)
    with clock.measure("quality"):
        remeasure = None
        if pipeline.quality.remeasure:
            remeasure = Remeasure(models.landmarker, template_detection(pipeline.size, pipeline.align.margin))
        qualities = quality(cut.faces, cut.frame_sizes, cut.aligned, normalized, remeasure)
    with clock.measure("encode"):
        originals = [encode(_crop(face), pipeline.encode) for face in cut.aligned]
        pictures = [encode(image, pipeline.encode) for image in normalized]
    with clock.measure("tables"):
        failures = [first_failure(*steps) for steps in zip(cut.faces, cut.aligned, normalized, strict=True)]
        pairs = pairs_batch(
            manifest=manifest,
            sources=cut.sources,
            faces=cut.table,
            originals=originals,
            normalized=pictures,
            qualities=qualities,
            failures=failures,
        )
    return Rows(manifest.num_rows, cut.table, pairs, failures)


def _crop(face: AlignedFace | Failure) -> Image | Failure:
    return face.image if isinstance(face, AlignedFace) else face
