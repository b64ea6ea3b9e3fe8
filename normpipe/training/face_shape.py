"""Fits the mean face that pose and alignment rest on; the file that ships with the package was made by this.

    python -m normpipe.training.face_shape PORTRAITS.parquet PORTRAITS_ROOT LABELLED.parquet LABELLED_ROOT -o face_shape.npz

Generalized Procrustes analysis: all faces are moved onto the mean by a similarity, the mean is taken again, a few times over.
Only points that expression hardly moves count in the moves. The result is made symmetric, and turned so that official
portraits, whose sitters look into the camera, have no pitch on average. Of LABELLED only the split `train` is used.

Source: Gower, Generalized Procrustes analysis, Psychometrika 40 (1975), https://doi.org/10.1007/BF02291478
"""

import io
from pathlib import Path

import click
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from normpipe.batches import Floats
from normpipe.config import Pipeline
from normpipe.faces.geometry import Similarity, fit_similarity
from normpipe.faces.pose import angles, rotation
from normpipe.shards.atomic import write_bytes
from normpipe.sources.manifest import read_manifest
from normpipe.training.samples import analyze

Doubles = NDArray[np.float64]

# Forehead, temples, bridge of the nose, cheek contour, eye corners, base of the nose.
RIGID_POINTS = (
    10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361,
    151, 9, 8, 168, 6, 197, 195, 5, 33, 133, 362, 263, 98, 327, 2,
)  # fmt: skip
_EYE_CORNERS = ((33, 133), (362, 263))
_ROUNDS = 4
# A few points and their mirror images, from which the others' are found.
_SIDES = ((33, 263), (133, 362), (61, 291), (234, 454), (127, 356), (93, 323))
_MIDLINE = (10, 152, 4, 168)


def mean_face(faces: Doubles, weights: Doubles) -> Doubles:
    """(468, 3) Procrustes mean of (n, 468, 3) faces, with the eyes at distance 1 about the origin."""
    mean = _unit(faces[0])
    for _ in range(_ROUNDS):
        mean = _unit(_moved_onto(faces, mean, weights).mean(axis=0))
    return mean


def symmetric(face: Doubles) -> Doubles:
    """(468, 3) face averaged with its mirror image and turned until the mirror plane is x = 0."""
    first, second = zip(*_SIDES, *((point, point) for point in _MIDLINE), strict=True)
    known, images = [*first, *second], [*second, *first]
    reflected = face * np.array([-1, 1, 1])
    moved = _fit(reflected[known], face[images], reflected)
    for _ in range(_ROUNDS):
        distances = np.linalg.norm(moved[:, None] - face[None], axis=-1)
        mirror = linear_sum_assignment(distances + distances.T)[1]
        moved = _fit(reflected, face[mirror], reflected)
    balanced = np.empty_like(face)
    balanced[mirror] = (moved + face[mirror]) / 2
    sideways = balanced - balanced[mirror]
    across = balanced[263] - balanced[33]
    right = _unit_vector((sideways * np.sign(sideways @ across)[:, None]).sum(axis=0))
    down = balanced[152] - balanced[10]
    down = _unit_vector(down - (down @ right) * right)
    return _unit(balanced @ np.stack([right, down, np.cross(right, down)], axis=1))


def level(face: Doubles, portraits: Doubles, weights: Doubles) -> Doubles:
    """Turn a (468, 3) face about the x axis until its rigid fit to the portraits has no pitch on average."""
    fits = _similarity(face, portraits, weights)
    pitch = float(angles(fits.rotation)[:, 1].mean())
    return _unit(face @ rotation(np.array([[0.0, pitch, 0.0]], np.float32))[0].T)


def _moved_onto(faces: Doubles, mean: Doubles, weights: Doubles) -> Doubles:
    fits = _similarity(mean, faces, weights)
    centred = faces - fits.translation[:, None]
    return np.asarray(np.einsum("npi,nij->npj", centred, fits.rotation) / fits.scale[:, None, None])


def _fit(source: Doubles, target: Doubles, points: Doubles) -> Doubles:
    """Points moved by the similarity that takes source onto target."""
    return np.asarray(_similarity(source, target[None], np.ones(len(source))).apply(points)[0])


def _similarity(source: Doubles, targets: Doubles, weights: Doubles) -> Similarity:
    return fit_similarity(_single(source), _single(targets), _single(weights))


def _single(values: Doubles) -> Floats:
    return values.astype(np.float32)


def _unit(face: Doubles) -> Doubles:
    left, right = (face[list(corners)].mean(axis=0) for corners in _EYE_CORNERS)
    return np.asarray((face - (left + right) / 2) / np.linalg.norm(right - left))


def _unit_vector(vector: Doubles) -> Doubles:
    return np.asarray(vector / np.linalg.norm(vector))


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("portraits", type=_FILE)
@click.argument("portraits_root", type=_FOLDER)
@click.argument("labelled", type=_FILE)
@click.argument("labelled_root", type=_FOLDER)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(portraits: Path, portraits_root: Path, labelled: Path, labelled_root: Path, output: Path) -> None:
    """Fit the mean face on two manifests."""
    table = read_manifest(labelled)
    train = table.filter(pc.equal(table["split"], "train"))
    sets = [
        np.stack([face.landmarks for _, face in analyze(rows, root, Pipeline())]).astype(np.float64)
        for rows, root in ((read_manifest(portraits), portraits_root), (train, labelled_root))
    ]
    weights = np.zeros(sets[0].shape[1])
    weights[list(RIGID_POINTS)] = 1
    points = level(symmetric(mean_face(np.concatenate(sets), weights)), sets[0], weights)
    buffer = io.BytesIO()
    np.savez(buffer, points=points.astype(np.float32), weights=weights.astype(np.float32))
    write_bytes(output, buffer.getvalue())
    click.echo(f"{output}: mean of {sum(map(len, sets))} faces")


if __name__ == "__main__":
    main()
