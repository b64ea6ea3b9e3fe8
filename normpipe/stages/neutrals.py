"""Between analyze and render, with `normalize.own_neutral`: each subject's own face without expression.

The neutral face of a subject is the mean of its frames, seen from the front. With `normalize.neutral_labels` those that the
manifest labels neutral count alone where there are any; else labels decide about no picture, so that whoever learns the
labels from the pictures finds nothing in them but what the faces show. A mean of few frames is mostly their expression, so it
comes with a weight: the share of a normal prior's posterior mean that the data have, `evidence / (evidence + 1)`. A
normalizer moves its own point of zero expression by that share towards the subject's mean: all the way for a subject with
many frames, hardly for one with a single still.

Evidence counts in frames labelled neutral, since for those the variance within and between subjects is about the same. Other
frames count far less than their variance says: people who smile in one photo smile in the next, and the mean would take
that smile for their face. The figures below are from photos of subjects with neutral and other labels.

Source: the posterior mean of a normal mean, as in Gelman et al., Bayesian data analysis, 3rd ed., section 2.5.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normpipe.batches import Floats, OwnNeutral
from normpipe.faces.geometry import fit_head
from normpipe.records import LANDMARK_COUNT, LANDMARKS_TYPE
from normpipe.shards.atomic import AtomicFile
from normpipe.shards.reader import open_part
from normpipe.stages.faces_table import FacesTable

ALGORITHM_VERSION = 2

NEUTRALS_FILE = "neutrals.parquet"

_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string()),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("shape", LANDMARKS_TYPE, nullable=False),
    ]
)

_OTHER_FRAME = 1 / 8
"""Evidence of a frame that is not labelled neutral."""

_CLIP_FRAME = _OTHER_FRAME / 25
"""Evidence of a further frame of the same clip: about a second passes until a face does something else."""

_FRONTAL = 25.0
"""Degrees of yaw or pitch at which a frame counts 1/e: landmarks on the far side of a turned head are guessed."""

_BATCH_ROWS = 4096

Subject = tuple[str | None, str]
"""Dataset and subject: the same name in two datasets is two people."""


@dataclass(frozen=True, slots=True)
class Neutrals:
    """The neutral faces of a run's subjects."""

    shapes: Mapping[Subject, OwnNeutral]

    def of(self, dataset: str | None, subject: str | None) -> OwnNeutral | None:
        """A subject's own, None where the row names no subject or none of its frames shows a face."""
        return None if subject is None else self.shapes.get((dataset, subject))


@dataclass(slots=True)
class _Sums:
    """Weighted sum of frontal shapes, and how much it tells."""

    shape: NDArray[np.float64] = field(default_factory=lambda: np.zeros((LANDMARK_COUNT, 3)))
    weight: float = 0.0
    frames: int = 0
    evidence: float = 0.0

    def add(self, shape: NDArray[np.float64], weight: float, evidence: float) -> None:
        self.shape += weight * shape
        self.weight += weight
        self.frames += 1
        self.evidence += weight * evidence


@dataclass(slots=True)
class _Subject:
    neutral: _Sums = field(default_factory=_Sums)
    other: _Sums = field(default_factory=_Sums)


def write_neutrals(faces: FacesTable, manifest: Path, target: Path, *, by_labels: bool = False) -> str:
    """Estimate the neutral face of every subject of a run.

    One pass in manifest order, in float64, so that the result does not depend on how the faces are cut into parts; memory holds
    one shape per subject. Frames with several faces are left out: who of them is the subject is not known.

    Args:
        faces: The faces that are rendered.
        manifest: The run's manifest.
        target: File to write.
        by_labels: Whether frames that the manifest labels neutral count alone.

    Returns:
        Hex digest of the file: part of the fingerprint of what is rendered with it.
    """
    subjects: dict[Subject, _Subject] = {}
    last_uri = None
    rows = _labels(manifest)
    for (dataset, subject, uri, is_clip, emotion), frame in zip(rows, faces.frames(0, faces.rows), strict=True):
        if subject is None or not isinstance(frame.found, list) or len(frame.found) != 1:
            continue
        face = frame.found[0].face
        weight = float(np.exp(-((face.pose[:2].astype(np.float64) / _FRONTAL) ** 2).sum()))
        sums = subjects.setdefault((dataset, subject), _Subject())
        shape = frontal_shape(face.landmarks)
        if by_labels and emotion == "neutral":
            sums.neutral.add(shape, weight, 1.0)
        else:
            sums.other.add(shape, weight, _CLIP_FRAME if is_clip and uri == last_uri else _OTHER_FRAME)
            last_uri = uri
    return _write(subjects, target)


def read_neutrals(path: Path) -> Neutrals:
    """What `write_neutrals` wrote.

    Raises:
        UsageError: the file is damaged.
    """
    with open_part(path) as file:
        table = file.read()
    shapes = table["shape"].combine_chunks().flatten().to_numpy().reshape(-1, LANDMARK_COUNT, 3)
    keys = zip(table["dataset"].to_pylist(), table["subject"].to_pylist(), strict=True)
    weights = table["weight"].to_pylist()
    return Neutrals({key: OwnNeutral(shape, weight) for key, shape, weight in zip(keys, shapes, weights, strict=True)})


def forget_neutrals(path: Path, subjects: Collection[Subject]) -> str:
    """Write the file anew without some subjects.

    Returns:
        Hex digest of the file.

    Raises:
        UsageError: the file is damaged.
    """
    with open_part(path) as file:
        table = file.read()
    keys = zip(table["dataset"].to_pylist(), table["subject"].to_pylist(), strict=True)
    left = [row for key, row in zip(keys, table.to_pylist(), strict=True) if key not in subjects]
    return _store(left, path)


def frontal_shape(landmarks: Floats) -> NDArray[np.float64]:
    """(468, 3) landmarks in any pixels as seen from the front, in face units: the rigid fit of the head undone."""
    head = fit_head(landmarks[None])
    frontal: NDArray[np.float64] = (landmarks - head.translation[0]) @ head.rotation[0] / head.scale[0]
    return frontal


def _labels(manifest: Path) -> Iterator[tuple[str | None, str | None, str, bool, str | None]]:
    """Dataset, subject, uri, whether it is a frame of a clip, emotion: of each manifest row."""
    with open_part(manifest) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["dataset", "subject", "uri", "frame", "emotion"]):
            for dataset, subject, uri, frame, emotion in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield dataset, subject, uri, frame is not None, emotion


def _write(subjects: Mapping[Subject, _Subject], target: Path) -> str:
    rows = []
    for (dataset, subject), both in sorted(subjects.items(), key=lambda item: (item[0][0] or "", item[0][1])):
        sums = both.neutral if both.neutral.frames else both.other
        mean = (sums.shape / sums.weight).astype(np.float32)
        weight = sums.evidence / (sums.evidence + 1)
        rows.append(
            {
                "dataset": dataset,
                "subject": subject,
                "frames": sums.frames,
                "weight": weight,
                "shape": mean.reshape(-1),
            }
        )
    return _store(rows, target)


def _store(rows: Sequence[Mapping[str, object]], target: Path) -> str:
    with AtomicFile(target) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), file, compression="zstd")
    assert file.written is not None
    return file.written.sha256
