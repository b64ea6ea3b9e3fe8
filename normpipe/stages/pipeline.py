"""The whole flow on a stream of manifest rows: decode, detect, align, normalize, quality, encode, in micro-batches.

A micro-batch has at most 32 frames and about 32 megapixels, so that memory is bounded by neither the length of a clip nor the
size of its frames; once the faces are cut, the frames are gone. The stages are pure and know nothing of time: it is measured
here, by the micro-batch.

`run_stages` does it all in one go. Where something must cross shards, `analyze_stages` stops after detect, and `run_stages`
takes up from the faces that it left.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from normpipe.batches import AlignedFace, Face, FaceRow, Frame, Image
from normpipe.config import Pipeline
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.normalizers.protocol import Normalizer
from normpipe.records import Failure, Reason
from normpipe.sources.manifest import frame_refs
from normpipe.sources.root import Root
from normpipe.stages import align as align_stage
from normpipe.stages import decode as decode_stage
from normpipe.stages import detect as detect_stage
from normpipe.stages import encode as encode_stage
from normpipe.stages import neutrals as neutrals_stage
from normpipe.stages import normalize as normalize_stage
from normpipe.stages import quality as quality_stage
from normpipe.stages import tables
from normpipe.stages import tracks as tracks_stage
from normpipe.stages.align import align, template_detection
from normpipe.stages.decode import decode, idle
from normpipe.stages.detect import detect
from normpipe.stages.encode import encode
from normpipe.stages.faces_table import StoredFrame
from normpipe.stages.neutrals import Neutrals
from normpipe.stages.normalize import normalize
from normpipe.stages.quality import Remeasure, quality
from normpipe.stages.tables import faces_batch, first_failure, pairs_batch

MICRO_BATCH_FRAMES = 32
MICRO_BATCH_PIXELS = 1 << 25

# Each is raised by hand whenever its stage may give other values for the same input; part of every run's fingerprint.
ALGORITHM_VERSIONS = {
    "decode": decode_stage.ALGORITHM_VERSION,
    "detect": detect_stage.ALGORITHM_VERSION,
    "tracks": tracks_stage.ALGORITHM_VERSION,
    "neutrals": neutrals_stage.ALGORITHM_VERSION,
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
    """A finished micro-batch: parallel rows of one or more tables.

    Attributes:
        frames: Manifest rows that went in.
        batches: FACES_SCHEMA alone after `analyze_stages`; FACES_SCHEMA and PAIRS_SCHEMA after `run_stages`.
        failures: Failure of each row, None where it succeeded.
    """

    frames: int
    batches: tuple[pa.RecordBatch, ...]
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


@dataclass(frozen=True, slots=True)
class Flow:
    """What all micro-batches of a shard have in common.

    Attributes:
        root: Where the manifest's files are.
        pipeline: Configuration.
        models: Prepared models.
        clock: Takes the seconds of each stage.
        beat: Called at least once per frame, as a sign of life.
    """

    root: Root
    pipeline: Pipeline
    models: Models
    clock: StageClock
    beat: Callable[[], None] = idle


def analyze_stages(manifest: pa.Table, flow: Flow, excluded: Mapping[int, Reason]) -> Iterator[Rows]:
    """Manifest rows to rows of the faces table, in order.

    Args:
        manifest: Rows of MANIFEST_SCHEMA.
        flow: The rest.
        excluded: Rows of `manifest` that are not touched, and the reason they fail with.
    """
    frames = _frames(manifest, flow, excluded)
    while batch := _next_frames(frames, flow.clock):
        with flow.clock.measure("detect"):
            rows = _detected(batch, flow)
        with flow.clock.measure("tables"):
            table = faces_batch(rows)
            failures = [first_failure(row.face) for row in rows]
        yield Rows(len(batch), (table,), failures)


def run_stages(
    manifest: pa.Table,
    flow: Flow,
    excluded: Mapping[int, Reason],
    stored: Iterator[StoredFrame] | None = None,
    neutrals: Neutrals | None = None,
) -> Iterator[Rows]:
    """Manifest rows to rows of both tables, in order.

    Args:
        manifest: Rows of MANIFEST_SCHEMA.
        flow: The rest.
        excluded: Rows of `manifest` that are not touched, and the reason they fail with.
        stored: The faces of these rows where they are known already; None detects them.
        neutrals: The subjects' own neutral faces, None without `normalize.own_neutral`.
    """
    frames = _frames(manifest, flow, excluded)
    start = 0
    while batch := _next_frames(frames, flow.clock):
        rows = manifest.slice(start, len(batch))
        start += len(batch)
        with flow.clock.measure("detect"):
            found = _detected(batch, flow) if stored is None else _remembered(batch, stored)
        cut = _cut(batch, found, rows, neutrals, flow)
        del batch, found
        yield _render(rows, cut, flow)
    assert start == manifest.num_rows, "decode returns one frame per row"


@dataclass(frozen=True, slots=True)
class _Cut:
    """What is left of a micro-batch when its frames are freed; parallel lists, one entry per row."""

    table: pa.RecordBatch
    sources: list[int]
    faces: list[Face | Failure]
    frame_sizes: list[tuple[int, int] | None]
    aligned: list[AlignedFace | Failure]


def _frames(manifest: pa.Table, flow: Flow, excluded: Mapping[int, Reason]) -> Iterator[Frame]:
    """Every row's frame, in order; decode never sees the excluded ones."""
    refs = frame_refs(manifest)
    wanted = [ref for row, ref in enumerate(refs) if row not in excluded]
    decoded = decode(wanted, flow.root, flow.pipeline.decode, flow.beat)
    for row, ref in enumerate(refs):
        yield Frame(ref, Failure(excluded[row]), None) if row in excluded else next(decoded)
        flow.beat()


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


def _detected(frames: Sequence[Frame], flow: Flow) -> list[FaceRow]:
    rows = []
    for frame in frames:
        rows += detect([frame], flow.models.detector, flow.models.landmarker, flow.pipeline.detect)
        flow.beat()
    return rows


def _remembered(frames: Sequence[Frame], stored: Iterator[StoredFrame]) -> list[FaceRow]:
    """The known faces of the frames, if the frames are still those that were analyzed."""
    rows = []
    for frame in frames:
        known = next(stored)
        assert known.sample_id == frame.ref.sample_id, "the faces table has one entry per row, in order"
        if isinstance(frame.image, Failure):
            rows.append(FaceRow(frame, None, frame.image))
        elif known.content_sha256 != frame.content_sha256:
            changed = Failure(Reason.CHANGED, "the file is not the one that was analyzed")
            rows.append(FaceRow(replace(frame, image=changed), None, changed))
        elif isinstance(known.found, Failure):
            rows.append(FaceRow(frame, None, known.found))
        else:
            rows += [FaceRow(frame, index, one.face, one.track_id) for index, one in enumerate(known.found)]
    return rows


def _cut(frames: Sequence[Frame], rows: Sequence[FaceRow], manifest: pa.Table, neutrals: Neutrals | None, flow: Flow) -> _Cut:
    pipeline = flow.pipeline
    position = {id(frame.ref): index for index, frame in enumerate(frames)}
    sources = [position[id(row.frame.ref)] for row in rows]
    with flow.clock.measure("align"):
        aligned = [align(row, pipeline.size, pipeline.align) for row in rows]
        if neutrals is not None:
            people = list(zip(*(manifest[name].to_pylist() for name in ("dataset", "subject")), strict=True))
            aligned = [
                face if isinstance(face, Failure) else replace(face, neutral=neutrals.of(*people[source]))
                for face, source in zip(aligned, sources, strict=True)
            ]
    with flow.clock.measure("tables"):
        images = [row.frame.image for row in rows]
        return _Cut(
            table=faces_batch(rows),
            sources=sources,
            faces=[row.face for row in rows],
            frame_sizes=[None if isinstance(image, Failure) else (image.shape[1], image.shape[0]) for image in images],
            aligned=aligned,
        )


def _render(manifest: pa.Table, cut: _Cut, flow: Flow) -> Rows:
    pipeline, models, clock = flow.pipeline, flow.models, flow.clock
    with clock.measure("normalize"):
        normalized = normalize(cut.aligned, models.normalizer)
    flow.beat()
    with clock.measure("quality"):
        remeasure = None
        if pipeline.quality.remeasure:
            remeasure = Remeasure(models.landmarker, template_detection(pipeline.size, pipeline.align.margin))
        qualities = quality(cut.faces, cut.frame_sizes, cut.aligned, normalized, remeasure)
    flow.beat()
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
    return Rows(manifest.num_rows, (cut.table, pairs), failures)


def _crop(face: AlignedFace | Failure) -> Image | Failure:
    return face.image if isinstance(face, AlignedFace) else face
