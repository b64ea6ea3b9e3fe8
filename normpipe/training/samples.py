"""Training faces in memory: what the fits of the embedded arrays have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats
from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.records import Failure
from normpipe.sources.manifest import frame_refs
from normpipe.sources.root import Root
from normpipe.stages.align import align
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect


@dataclass(frozen=True, slots=True)
class Samples:
    """Analyzed faces of a manifest, those without a face left out.

    Attributes:
        faces: n aligned faces.
        subjects: (n,) str.
        emotions: (n,) str, "" where not annotated.
        shapes: (n, 936) float32, see `measured_shape`.
        poses: (n, 6) float32, see `pose_terms`.
    """

    faces: list[AlignedFace]
    subjects: NDArray[np.str_]
    emotions: NDArray[np.str_]
    shapes: Floats
    poses: Floats


def analyze(manifest: pa.Table, root: Path, pipeline: Pipeline) -> Iterator[tuple[int, AlignedFace]]:
    """Row number and aligned face of every row that shows one.

    Raises:
        UsageError: none does.
    """
    detector, landmarker = build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu")
    frames = decode(frame_refs(manifest), Root(str(root)), pipeline.decode)
    found = False
    for number, frame in enumerate(frames):
        face = align(detect([frame], detector, landmarker, pipeline.detect)[0], pipeline.size, pipeline.align)
        if not isinstance(face, Failure):
            found = True
            yield number, face
    if not found:
        raise UsageError(f"none of the {manifest.num_rows} rows to fit on shows a face; check the manifest and its ROOT")


def collect(manifest: pa.Table, root: Path, pipeline: Pipeline) -> Samples:
    """Analyze a manifest; rows without a subject are one person each. Errors as for `analyze`."""
    numbers, faces = zip(*analyze(manifest, root, pipeline), strict=True)
    subjects = [value or f"row {row}" for row, value in enumerate(manifest["subject"].to_pylist())]
    emotions = [value or "" for value in manifest["emotion"].to_pylist()]
    shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
    chosen = list(numbers)
    return Samples(list(faces), np.array(subjects)[chosen], np.array(emotions)[chosen], shapes, poses)
