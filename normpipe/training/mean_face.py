"""Fits the arrays of mean_face and writes them to one file; the file that ships with the package was made by this.

    python -m normpipe.training.mean_face LABELLED.parquet LABELLED_ROOT PORTRAITS.parquet PORTRAITS_ROOT \
        --rig ict_facekit.npz -o mean_face.npz

LABELLED is a manifest with subject, emotion and split; only its split `train` is used. It gives the estimates of expression,
for shape and for detail (see wiener.py). PORTRAITS is a manifest of many people; those with the least expression give the
colours of the common face. Every face also counts mirrored, as another person, so that the result treats both sides alike.
Last, the gains: faces are rendered and measured again, and the amplitude that the renderer loses is given back.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import mean_shape, mirror_points
from normpipe.normalizers.mean_face.detail import ATLAS_SIDE, extract_detail
from normpipe.normalizers.mean_face.expression import expression_of, measured_shape
from normpipe.normalizers.mean_face.identity import texture_of
from normpipe.normalizers.mean_face.model import MeanFaceModel, save_model
from normpipe.normalizers.mean_face.normalizer import MeanFace
from normpipe.raster import rasterize_flat
from normpipe.sources.manifest import read_manifest
from normpipe.stages.align import template_detection, template_map
from normpipe.training.measures import Region, expression_measures, measure_regions
from normpipe.training.mesh import eye_triangles, mouth_triangles, skin_triangles
from normpipe.training.samples import Samples, collect
from normpipe.training.turned_heads import TurnedHeads, turned_heads
from normpipe.training.wiener import Doubles, Groups, estimator, explained, thin

_SHAPE_COMPONENTS = 80  # 99.8 % of the variance
_SHAPE_RANK = 40
_DETAIL_COMPONENTS = 250
_DETAIL_RANK = 24
# Each face counts twice, as itself and mirrored, and the mean takes one dimension.
_LEAST_FACES = max(_SHAPE_COMPONENTS, _DETAIL_COMPONENTS) // 2 + 1
_SIGN_NOISE = 0.05
_SHAPE_FLOOR = 0.05  # share of the mean variance
_DETAIL_FLOOR = 1.0
_DETAIL_CONTRAST = 0.11  # standard deviation of log luminance at strength 1, over faces and pixels
_TEXTURE_SIDE = 384
_TEXTURE_FACES = 48
_SHARPEN, _SHARPEN_BLUR = 0.7, 4.5  # averaging blurs brows and lips; pixels of the texture
_BROW = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55])  # image-left
_EYE_CORNERS = np.array([33, 133, 362, 263])
_BROW_DROP, _BROW_REACH = 0.04, 0.12  # eye distances
_MIRRORED_POSE = np.array([-1, 1, 1, 1, -1, -1], np.float32)
_TURN_NOISE = 25.0  # how much more a change by turning counts than one by anything else
_GAIN_FACES = 600
_GAIN_ROUNDS = 3
# Slopes, rendering over source; `fit_gains` says of what and why above 1.
_GAIN_TARGETS = {Region.BROW: 1.25, Region.EYE: 1.15, Region.MOUTH: 1.35}
_REGION_POINTS = {
    Region.BROW: (*_BROW, 336, 296, 334, 293, 300, 285, 295, 282, 283, 276),
    Region.EYE: (33, 246, 160, 159, 158, 133, 144, 145, 153, 263, 466, 387, 386, 385, 362, 373, 374, 380),
    Region.MOUTH: (61, 291, 0, 13, 14, 17, 2, 98, 327, 50, 280, 205, 425, 152, 172, 397, 40, 270, 181, 405),
}
_REGION_REACH = 0.25  # eye distances over which one region's gain gives way to the next
_LIMIT_QUANTILE = 0.95  # of faces in training: where offsets are compressed noticeably


def fit(labelled: Samples, portraits: Samples, turned: TurnedHeads, pipeline: Pipeline) -> MeanFaceModel:
    """All arrays; shape has the amplitude of what is observed, before gains, and its offsets no limit.

    Raises:
        UsageError: there are fewer faces than the components need, or none of them is labelled neutral.
    """
    if len(labelled.faces) < _LEAST_FACES:
        raise UsageError(f"{len(labelled.faces)} labelled faces to fit on: mean_face needs at least {_LEAST_FACES} faces")
    if "neutral" not in labelled.emotions:
        raise UsageError("no labelled face to fit on has the emotion neutral: expression is measured from there")
    mirror = mirror_points(mean_shape().points)
    people = Groups.of(np.concatenate([labelled.subjects, np.char.add(labelled.subjects, " mirrored")]))
    emotions = np.concatenate([labelled.emotions, labelled.emotions])
    poses = _both(labelled.poses, labelled.poses * _MIRRORED_POSE)
    measured = _both(labelled.shapes, _mirrored_shapes(labelled.shapes, mirror))
    views = Groups.of(np.concatenate([turned.heads, np.char.add(turned.heads, " mirrored")]))
    turned_poses = _both(turned.poses, turned.poses * _MIRRORED_POSE)
    turned_shapes = _both(turned.shapes, _mirrored_shapes(turned.shapes, mirror))
    effect = _pose_effect(
        (people.centred(measured), people.centred(poses)), (views.centred(turned_shapes), views.centred(turned_poses))
    )
    shapes: Doubles = measured - poses @ effect
    shape = _Components.of(shapes, people, emotions, _SHAPE_COMPONENTS)

    neutral = (mean_shape().points[:, :2] + shape.neutral.reshape(-1, 2)).astype(np.float32)
    scale, shift = template_map(1, pipeline.align.margin)
    atlas_points = (neutral * scale + shift).astype(np.float32)
    skin = skin_triangles(mean_shape().points)
    mask = _detail_mask(atlas_points, skin)
    found = [extract_detail(face, atlas_points, skin, mask) for face in labelled.faces]
    weights = np.stack([detail.weights for detail in found])
    calm = labelled.emotions == "neutral"
    values = np.stack([detail.values for detail in found])
    unseen_as = np.average(values[calm], axis=0, weights=weights[calm] + 1e-6)
    unseen_as = (unseen_as + _mirrored_details(unseen_as[None].astype(np.float32), mask)[0]) / 2
    seen = unseen_as + (values - unseen_as) * weights
    details = _both(seen, _mirrored_details(seen.astype(np.float32), mask))
    detail = _Components.of(details, people, emotions, _DETAIL_COMPONENTS)
    seen = np.stack([unseen_as + extract_detail(face, atlas_points, skin, mask).deviation(unseen_as) for face in turned.faces])
    turned_details = _both(seen, _mirrored_details(seen.astype(np.float32), mask))

    balance, labels = _balance(emotions), _labels(emotions)
    measures = people.centred(expression_measures(shapes.astype(np.float32), mirror).astype(np.float64))
    signs = np.column_stack([labels, measures])
    expression = explained(shape.scores, shape.scores, signs, balance, _SIGN_NOISE)
    unstable = np.column_stack(
        [views.centred(turned_shapes - turned_poses @ effect) @ shape.axes.T, views.centred(turned_details) @ detail.axes.T]
    )
    floor = _floor(shape, detail, unstable / np.sqrt(1 - len(views.counts) / len(unstable)))
    shape_floor = floor[:_SHAPE_COMPONENTS, :_SHAPE_COMPONENTS]
    inwards, outwards = thin(estimator(expression, shape.scores, shape_floor).T, _SHAPE_RANK)
    outwards *= shape.scores.std() / (shape.scores @ inwards @ outwards).std()
    shape_in, shape_out = shape.axes.T @ inwards, outwards @ shape.axes

    observed = np.column_stack([shape.scores, detail.scores])
    expression = explained(detail.scores, observed, signs, balance, _SIGN_NOISE)
    inwards, outwards = thin(estimator(expression, observed, floor).T, _DETAIL_RANK)
    by_shape, by_detail = np.split(inwards, [_SHAPE_COMPONENTS])
    detail_from_shape, detail_from_detail, detail_out = (
        shape.axes.T @ by_shape,
        detail.axes.T @ by_detail,
        outwards @ detail.axes,
    )
    drawn = ((shapes - shape.neutral) @ detail_from_shape + (details - detail.neutral) @ detail_from_detail) @ detail_out
    model = MeanFaceModel(
        neutral=neutral + _lowered_brows(neutral, mirror),
        atlas_points=atlas_points,
        texture=np.zeros((_TEXTURE_SIDE, _TEXTURE_SIDE, 3), np.uint8),
        skin_triangles=skin,
        eye_triangles=eye_triangles(),
        mouth_triangles=mouth_triangles(),
        pose_effect=effect.astype(np.float32),
        shape_offset=shape.neutral.astype(np.float32),
        detail_mask=mask,
        detail_offset=detail.neutral.astype(np.float32),
        shape_in=shape_in.astype(np.float32),
        shape_out=shape_out.astype(np.float32),
        offset_limit=np.array([np.inf], np.float32),
        detail_from_shape=detail_from_shape.astype(np.float32),
        detail_from_detail=detail_from_detail.astype(np.float32),
        detail_out=(detail_out * _DETAIL_CONTRAST / drawn.std()).astype(np.float32),
    )
    return replace(model, texture=common_texture(portraits, model))


@dataclass(frozen=True, slots=True)
class _Components:
    """Principal components of one kind of measurement, about the face without expression.

    Attributes:
        neutral: (k,), mean of people's mean neutral faces.
        axes: (c, k), orthonormal.
        scores: (n, c).
    """

    neutral: Doubles
    axes: Doubles
    scores: Doubles

    @staticmethod
    def of(values: Doubles, people: Groups, emotions: NDArray[np.str_], count: int) -> "_Components":
        """Components of (n, k) values; the neutral point is kept within their span."""
        middle = values.mean(axis=0)
        axes = _principal_axes(values - middle, count)
        calm = emotions == "neutral"
        means = Groups.of(people.index[calm].astype(str)).means(values[calm])
        neutral = middle + (means.mean(axis=0) - middle) @ axes.T @ axes
        return _Components(neutral, axes, (values - neutral) @ axes.T)


def _floor(shape: _Components, detail: _Components, unstable: Doubles) -> Doubles:
    """(c, c) covariance of what misleads the estimate: (n, c) changes observed on heads that only turn, and a rest."""
    rest = np.concatenate(
        [
            np.full(_SHAPE_COMPONENTS, _SHAPE_FLOOR * shape.scores.var()),
            np.full(_DETAIL_COMPONENTS, _DETAIL_FLOOR * detail.scores.var()),
        ]
    )
    return np.diag(rest) + _TURN_NOISE * unstable.T @ unstable / len(unstable)


def _lowered_brows(neutral: Floats, mirror: NDArray[np.intp]) -> Floats:
    """(468, 2) shift of the brows and what is near: averaging smears them upwards, so that neutral reads as surprised."""
    brows = np.concatenate([_BROW, mirror[_BROW]])
    distance = np.linalg.norm(neutral[:, None] - neutral[None, brows], axis=-1).min(axis=1)
    shift = np.zeros_like(neutral)
    shift[:, 1] = _BROW_DROP * np.exp(-((distance / _BROW_REACH) ** 2))
    shift[_EYE_CORNERS] = 0
    return shift


def common_texture(portraits: Samples, model: MeanFaceModel) -> Image:
    """(a, a, 3) uint8: the average of the least expressive colour portraits and their mirror images."""
    amount = np.array([np.linalg.norm(expression_of(face, model).offsets) for face in portraits.faces])
    amount[np.array([_colourless(face) for face in portraits.faces])] = np.inf
    amount[np.array([abs(face.pose[0]) > 15 for face in portraits.faces])] = np.inf
    chosen = np.argsort(amount, kind="stable")[:_TEXTURE_FACES]
    mean = np.mean([texture_of(portraits.faces[index], model).astype(np.float64) for index in chosen], axis=0)
    mean = (mean + mean[:, ::-1]) / 2
    sharp = mean + _SHARPEN * (mean - cv2.GaussianBlur(mean, (0, 0), _SHARPEN_BLUR))
    return np.asarray(np.clip(np.round(sharp), 0, 255), np.uint8)


def _measured_again(model: MeanFaceModel, pipeline: Pipeline, faces: Sequence[AlignedFace]) -> Floats:
    """(n, 468, 3) landmarks of the faces' renderings."""
    landmarker = build_landmarker(pipeline.detect, "cpu")
    expected = template_detection(pipeline.size, pipeline.align.margin)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model.npz")
        renderer = MeanFace(pipeline, Path(folder) / "model.npz")
        renderer.prepare("cpu")
        found = []
        for face in faces:
            image = renderer.render(face)
            assert isinstance(image, np.ndarray)
            landmarks = landmarker.landmarks(image, [expected])[0]
            assert landmarks is not None, "the renderer's own faces are found"
            found.append(landmarks.points)
    return np.stack(found)


def fit_gains(model: MeanFaceModel, labelled: Samples, pipeline: Pipeline) -> MeanFaceModel:
    """Amplify the expression, region by region, until its slope measured again is the target.

    A slope is that of a measure of the landmarks (measures.py) found on the rendering over the same measure of the source, both
    as differences from the person's mean. Targets are the median over a region's measures. They exceed 1 because an independent
    instrument sees less: by MediaPipe's blendshapes the slope over people comes out near 0.78 with these targets, since their
    correlation between source and rendering is about 0.6. They were chosen on the dev split.

    Raises:
        UsageError: a region's expression is absent from the renderings, or inverted.
    """
    mirror = mirror_points(mean_shape().points)
    regions = measure_regions(mirror)
    chosen = np.random.default_rng(pipeline.seed).permutation(len(labelled.faces))[:_GAIN_FACES]
    people = Groups.of(labelled.subjects[chosen])
    source = labelled.shapes[chosen] - labelled.poses[chosen] @ model.pose_effect
    wanted = people.centred(expression_measures(source, mirror).astype(np.float64))
    for _ in range(_GAIN_ROUNDS):
        model = replace(model, offset_limit=_offset_limit(model, labelled))
        found = measured_shape(_measured_again(model, pipeline, [labelled.faces[index] for index in chosen]))[0]
        got = people.centred(expression_measures(found, mirror).astype(np.float64))
        slopes = (wanted * got).sum(axis=0) / (wanted**2).sum(axis=0)
        medians = {region: float(np.median(slopes[regions == region])) for region in Region}
        click.echo("median slopes: " + ", ".join(f"{region.name.lower()} {slope:.3f}" for region, slope in medians.items()))
        lost = [region.name.lower() for region, slope in medians.items() if slope <= 0]
        if lost:
            raise UsageError(
                f"expression of the faces to fit on is not found again on their renderings: {', '.join(lost)}; "
                "give more faces, with stronger expressions"
            )
        gains = {region: _GAIN_TARGETS[region] / medians[region] for region in Region}
        model = replace(model, shape_out=_amplified(model, gains))
    return replace(model, offset_limit=_offset_limit(model, labelled))


def _offset_limit(model: MeanFaceModel, labelled: Samples) -> Floats:
    shapes = labelled.shapes - labelled.poses @ model.pose_effect - model.shape_offset
    amounts = np.sqrt(((shapes @ model.shape_in @ model.shape_out) ** 2).mean(axis=1))
    return np.array([np.quantile(amounts, _LIMIT_QUANTILE)], np.float32)


def _amplified(model: MeanFaceModel, gains: Mapping[Region, float]) -> Floats:
    """`shape_out` with each landmark's columns scaled by the gain of its region, blended between regions."""
    distances = np.linalg.norm(model.neutral[:, None] - model.neutral[None], axis=-1)
    nearest = np.stack([distances[:, list(_REGION_POINTS[region])].min(axis=1) for region in Region])
    weights = np.exp(-((nearest - nearest.min(axis=0)) / _REGION_REACH))
    weights /= weights.sum(axis=0)
    scale = np.array([gains[region] for region in Region]) @ weights
    amplified = model.shape_out.reshape(-1, len(scale), 2) * scale[:, None]
    return np.asarray(amplified.reshape(model.shape_out.shape), np.float32)


def _principal_axes(centred: Doubles, count: int) -> Doubles:
    """(count, k) leading axes of (n, k) values."""
    covariance = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    _, vectors = np.linalg.eigh(covariance)
    leading = vectors[:, ::-1][:, :count]
    if covariance.shape[0] != centred.shape[1]:
        leading = centred.T @ leading
        leading /= np.linalg.norm(leading, axis=0)
    return np.asarray(leading.T)


def _pose_effect(*sets: tuple[Doubles, Doubles]) -> Doubles:
    """(6, 936) ridge regression of shape on pose, each set of (shapes, poses) centred by person and counting alike."""
    inner, cross = np.zeros((6, 6)), np.zeros((6, sets[0][0].shape[1]))
    for shape, pose in sets:
        inner += pose.T @ pose / len(pose)
        cross += pose.T @ shape / len(pose)
    return np.asarray(np.linalg.solve(inner + 1e-3 * np.trace(inner) / 6 * np.eye(6), cross))


def _labels(emotions: NDArray[np.str_]) -> Doubles:
    """(n, m) one column per emotion that occurs, 1 where it is the label."""
    names = [name for name in np.unique(emotions) if name]
    return np.stack([emotions == name for name in names], axis=1).astype(np.float64)


def _balance(emotions: NDArray[np.str_]) -> Doubles:
    """(n,) weights between counting faces alike and counting emotions alike."""
    _, index, counts = np.unique(emotions, return_inverse=True, return_counts=True)
    return np.asarray(1 / np.sqrt(counts[index]))


def _both(values: NDArray[np.floating], mirrored: NDArray[np.floating]) -> Doubles:
    return np.concatenate([values, mirrored]).astype(np.float64)


def _mirrored_shapes(shapes: Floats, mirror: NDArray[np.intp]) -> Floats:
    points = shapes.reshape(len(shapes), -1, 2)[:, mirror] * np.array([-1, 1], np.float32)
    return points.reshape(shapes.shape)


def _mirrored_details(details: Floats, mask: NDArray[np.bool_]) -> Floats:
    atlas = np.zeros((len(details), *mask.shape), np.float32)
    atlas[:, mask] = details
    return atlas[:, :, ::-1][:, mask]


def _detail_mask(atlas_points: Floats, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Skin pixels of the detail atlas, on both sides alike."""
    _, mask = rasterize_flat(
        atlas_points * ATLAS_SIDE, triangles, np.zeros((len(atlas_points), 3), np.float32), (ATLAS_SIDE, ATLAS_SIDE)
    )
    return mask & mask[:, ::-1]


def _colourless(face: AlignedFace) -> bool:
    """Whether a portrait is in black and white."""
    saturation = cv2.cvtColor(face.image, cv2.COLOR_RGB2HSV)[..., 1]
    quarter = face.image.shape[0] // 4
    return float(saturation[quarter:-quarter, quarter:-quarter].mean()) < 40


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("labelled", type=_FILE)
@click.argument("labelled_root", type=_FOLDER)
@click.argument("portraits", type=_FILE)
@click.argument("portraits_root", type=_FOLDER)
@click.option("--rig", required=True, type=_FILE, help="Head rig (ict_facekit.npz) that shows what turning does.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(labelled: Path, labelled_root: Path, portraits: Path, portraits_root: Path, rig: Path, output: Path) -> None:
    """Fit the arrays of mean_face on two manifests."""
    pipeline = Pipeline()
    table = read_manifest(labelled)
    train = collect(table.filter(pc.equal(table["split"], "train")), labelled_root, pipeline)
    click.echo(f"{len(train.faces)} faces of {len(set(train.subjects))} people in split train")
    many = collect(read_manifest(portraits), portraits_root, pipeline)
    click.echo(f"{len(many.faces)} portraits")
    turned = turned_heads(rig, many.faces, pipeline)
    click.echo(f"{len(turned.heads)} views of synthetic heads")
    save_model(fit_gains(fit(train, many, turned, pipeline), train, pipeline), output)
    click.echo(f"{output}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
