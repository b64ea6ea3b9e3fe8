"""Draws the picture of the README: photos and synthetic heads, each as source, aligned crop and normalized image.

    python benchmarks/readme_picture.py astronaut.png portrait.jpg --rig ict_facekit.npz -o docs/images/pairs.png

The photos stand in the order given. The heads come from the same morphable rig as those of rig_heads.py, painted with the
average face, and show every expression twice: from the front and turned. All pictures take the way that `normpipe run` takes,
with the default pipeline unless told otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from rig_heads import Chain

from normpipe.batches import Frame, FrameRef, Image
from normpipe.config import Pipeline, load_pipeline
from normpipe.faces import build_detector, build_landmarker
from normpipe.normalizers.build import build_normalizer
from normpipe.normalizers.mean_face import MeanFace
from normpipe.records import Failure
from normpipe.sources.root import Root
from normpipe.stages.align import template_detection
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import fit_face_atlas

cv2.setNumThreads(1)

ROWS = ("source", "aligned", "normalized")
YAWS = (0.0, 30.0)


def _both(weight: float, *shapes: str) -> dict[str, float]:
    """Both sides of the face alike."""
    return {f"{shape}_{side}": weight for shape in shapes for side in "LR"}


EXPRESSIONS = (
    _both(1.0, "mouthSmile") | _both(0.5, "mouthUpperUp", "mouthLowerDown", "cheekRaiser"),
    _both(1.0, "browDown") | _both(0.6, "noseSneer", "mouthUpperUp", "eyeSquint"),
)

_HEAD = HeadParams(size=512, extent=30.0, centre=(0.5, 0.56), background=(96, 104, 112))
_TEXTURE_SIDE = 512

_TILE, _GAP, _GROUP_GAP, _MARGIN, _TITLE, _LABEL = 160, 4, 24, 24, 30, 96
_GROUND, _BRIGHT, _DIM = (38, 39, 41), (232, 233, 235), (160, 163, 168)
_COLOURS = 256


@dataclass(frozen=True, slots=True)
class Column:
    """One face: three pictures of any size, square."""

    source: Image
    aligned: Image
    normalized: Image


def build_chain(pipeline: Pipeline) -> Chain:
    """The stages detect, align and normalize."""
    normalizer = build_normalizer(pipeline)
    normalizer.prepare("cpu")
    return Chain(pipeline, build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu"), normalizer)


def column(name: str, image: Image, chain: Chain) -> Column:
    """Send one picture through the chain.

    Raises:
        click.ClickException: it shows no face.
    """
    row = detect([Frame(FrameRef(name, name), image, None)], chain.detector, chain.landmarker, chain.pipeline.detect)[0]
    pictures = chain.pictures(image)
    if isinstance(row.face, Failure) or isinstance(pictures, Failure):
        raise click.ClickException(f"{name}: no face was rendered; choose another picture")
    middle = (row.face.box[:2] + row.face.box[2:]) / 2
    return Column(square_around(image, float(middle[0]), float(middle[1])), pictures.aligned, pictures.normalized)


def square_around(image: Image, x: float, y: float) -> Image:
    """The largest square of the picture whose middle is as near as possible to (x, y)."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (round(min(max(at - side / 2, 0), limit - side)) for at, limit in ((x, width), (y, height)))
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def read_photo(path: Path, pipeline: Pipeline) -> Image:
    """Decode as a run does.

    Raises:
        click.ClickException: the file is no picture.
    """
    frame = next(iter(decode([FrameRef(path.name, path.name)], Root(str(path.parent)), pipeline.decode)))
    if isinstance(frame.image, Failure):
        raise click.ClickException(f"{path.name}: {frame.image.reason.value} {frame.image.detail}")
    return frame.image


def painted_atlas(rig: HeadRig, chain: Chain) -> Image:
    """The rig's atlas painted with the neutral average face."""
    large = chain.pipeline.model_copy(update={"size": _TEXTURE_SIDE})
    renderer = MeanFace(large)
    renderer.prepare("cpu")
    texture = renderer.neutral()
    landmarks = chain.landmarker.landmarks(texture, [template_detection(large.size, large.align.margin)])[0]
    assert landmarks is not None, "the renderer's own face is found"
    return fit_face_atlas(rig, texture, landmarks.points[:, :2], chain.detector, chain.landmarker)


def draw(groups: Sequence[tuple[str, Sequence[Column]]]) -> PillowImage.Image:
    """Groups of columns side by side, each under its title; one row for each kind of picture."""
    widths = [len(columns) * (_TILE + _GAP) - _GAP for _, columns in groups]
    width = 2 * _MARGIN + _LABEL + sum(widths) + _GROUP_GAP * (len(groups) - 1)
    height = 2 * _MARGIN + _TITLE + len(ROWS) * (_TILE + _GAP) - _GAP
    canvas = PillowImage.new("RGB", (width, height), _GROUND)
    pen = ImageDraw.Draw(canvas)
    top = _MARGIN + _TITLE
    for index, label in enumerate(ROWS):
        middle = top + index * (_TILE + _GAP) + _TILE / 2
        pen.text((_MARGIN, middle), label, _BRIGHT, ImageFont.load_default(16), anchor="lm")
    left = _MARGIN + _LABEL
    for (title, columns), group_width in zip(groups, widths, strict=True):
        pen.text((left, _MARGIN), title, _DIM, ImageFont.load_default(15), anchor="lt")
        for place, one in enumerate(columns):
            for index, picture in enumerate((one.source, one.aligned, one.normalized)):
                tile = cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
                canvas.paste(PillowImage.fromarray(tile), (left + place * (_TILE + _GAP), top + index * (_TILE + _GAP)))
        left += group_width + _GROUP_GAP
    return canvas


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("photos", nargs=-1, required=True, type=_FILE)
@click.option("--rig", type=_FILE, help="ict_facekit.npz; without it, no synthetic heads.")
@click.option("--pipeline", "pipeline_file", type=_FILE, help="Pipeline file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the pipeline.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG file to write.")
def main(
    *, photos: tuple[Path, ...], rig: Path | None, pipeline_file: Path | None, overrides: tuple[str, ...], output: Path
) -> None:
    """Draw pairs of the given photos and of synthetic heads."""
    chain = build_chain(load_pipeline(pipeline_file, overrides))
    groups = [("photographs", [column(photo.name, read_photo(photo, chain.pipeline), chain) for photo in photos])]
    if rig is not None:
        head_rig = HeadRig.load(rig)
        atlas = painted_atlas(head_rig, chain)
        heads = [replace(_HEAD, expression=expression, yaw=yaw) for expression in EXPRESSIONS for yaw in YAWS]
        pictures = [head_rig.render(head, atlas).image for head in heads]
        groups.append(("synthetic heads, frontal and turned", [column("head", picture, chain) for picture in pictures]))
    canvas = draw(groups).quantize(_COLOURS, PillowImage.Quantize.MEDIANCUT, kmeans=2, dither=PillowImage.Dither.FLOYDSTEINBERG)
    output.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(output, optimize=True)
    click.echo(f"{output}: {canvas.width} x {canvas.height} pixels, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
