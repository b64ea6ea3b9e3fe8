"""How well the embedded face engine finds faces and places points, against YuNet as the reference.

    python benchmarks/faces.py --yunet face_detection_yunet_2026may.onnx --portraits congress-portraits --clips sign-videos

Five measurements: portraits (all accounted for, five points), the same portraits as tight and tiny crops, the time that one
takes, clips (every frame, faces by size), and tiles of those clips without a face. YuNet runs on portraits enlarged twice,
because its points are coarse on small faces.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Face, Floats, Frame, FrameRef, Image
from normpipe.config import Align, Detect, FacePolicy
from normpipe.faces import build_detector
from normpipe.faces.boxes import iou
from normpipe.faces.embedded import EmbeddedEngine
from normpipe.stages.align import align
from normpipe.stages.detect import detect

Figures = dict[str, float | int]

_CLIP_ENDINGS = (".mkv", ".gif", ".mp4")
_TILE = 160
_TILES = 500
_MATCHED = 0.5


class YuNet:
    """The reference detector."""

    def __init__(self, model: Path) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._network = cv2.FaceDetectorYN.create(str(model), "", (64, 64), 0.3, 0.3, 5000)

    def faces(self, image: Image, min_score: float) -> Floats:
        """Rows of x0 y0 x1 y1, five points x y (order of batches.Face), score: (n, 15) float32, best first."""
        self._network.setInputSize((image.shape[1], image.shape[0]))
        _, found = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.zeros((0, 15), np.float32)
        rows = np.asarray(found, np.float32)
        rows = rows[rows[:, 14] >= min_score]
        rows[:, 2:4] += rows[:, :2]
        return rows[np.argsort(-rows[:, 14], kind="stable")]


def _faces(engine: EmbeddedEngine, policy: FacePolicy, images: Sequence[Image]) -> list[list[Face]]:
    """Faces of each image, through the stage itself."""
    options = Detect(policy=policy)
    frames = [Frame(FrameRef(str(number), ""), image, None) for number, image in enumerate(images)]
    faces: list[list[Face]] = [[] for _ in images]
    for row in detect(frames, engine, engine, options):
        if isinstance(row.face, Face):
            faces[int(row.frame.ref.sample_id)].append(row.face)
    return faces


def _point_error(face: Face, reference: Floats) -> float:
    """Mean distance of the five points in eye distances of the reference."""
    points = reference[4:14].reshape(5, 2)
    distances = np.linalg.norm(face.five_points - points, axis=1)
    return float(distances.mean() / np.linalg.norm(points[1] - points[0]))


def _read(path: Path) -> Image:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise click.ClickException(f"{path.name}: not a picture")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def _reference(yunet: YuNet, image: Image) -> Floats | None:
    """The largest face of a portrait."""
    found = yunet.faces(np.asarray(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8), 0.5)
    if not len(found):
        return None
    largest: Floats = found[np.argmax(np.prod(found[:, 2:4] - found[:, :2], axis=1))].copy()
    largest[:14] /= 2
    return largest


def portraits(engine: EmbeddedEngine, yunet: YuNet, folder: Path) -> dict[str, Figures]:
    """Portraits as they are, and cut to the reference's box."""
    images = [_read(path) for path in sorted(folder.glob("*.jpg"))]
    references = [_reference(yunet, image) for image in images]
    faces = _faces(engine, FacePolicy.LARGEST, images)
    table = {"portraits": _point_figures(faces, references)}
    for share in (1.0, 0.8):
        for side, grey in ((100, False), (48, True)):
            cuts = [
                _cut(image, known, share, side, grey)
                for image, known in zip(images, references, strict=True)
                if known is not None
            ]
            found = _faces(engine, FacePolicy.LARGEST, [cut for cut, _ in cuts])
            table[f"crops {share} {side} px {'grey' if grey else 'rgb'}"] = _point_figures(found, [known for _, known in cuts])
    table["time per portrait of 512 px, ms"] = _times(engine, images[:100])
    return table


def _times(engine: EmbeddedEngine, images: Sequence[Image]) -> Figures:
    """Median milliseconds of the steps, one picture after the other."""
    steps: list[tuple[float, float]] = []
    for image in images:
        picture = np.asarray(cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
        start = time.perf_counter()
        row = detect([Frame(FrameRef("", ""), picture, None)], engine, engine, Detect())[0]
        middle = time.perf_counter()
        align(row, 256, Align())
        steps.append((middle - start, time.perf_counter() - middle))
    detection, alignment = 1e3 * np.median(steps, axis=0)
    return {"detect": float(detection), "align": float(alignment)}


def _point_figures(faces: Sequence[Sequence[Face]], references: Sequence[Floats | None]) -> Figures:
    errors = [
        _point_error(found[0], known) for found, known in zip(faces, references, strict=True) if found and known is not None
    ]
    return {
        "pictures": len(faces),
        "ok": sum(bool(found) for found in faces),
        "compared": len(errors),
        "error_median": float(np.median(errors)),
        "error_p99": float(np.percentile(errors, 99)),
        "error_below_0.12": float(np.mean(np.array(errors) < 0.12)),
    }


def _cut(image: Image, reference: Floats, share: float, side: int, grey: bool) -> tuple[Image, Floats]:
    """The reference's box made square, as far as the picture reaches, resized; and the reference in its pixels."""
    centre = (reference[:2] + reference[2:4]) / 2
    half = share / 2 * float((reference[2:4] - reference[:2]).max())
    low = np.maximum(np.round(centre - half).astype(int), 0)
    high = np.minimum(np.round(centre + half).astype(int), (image.shape[1], image.shape[0]))
    cut = cv2.resize(image[low[1] : high[1], low[0] : high[0]], (side, side), interpolation=cv2.INTER_AREA)
    if grey:
        cut = cv2.cvtColor(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    moved = reference.copy()
    moved[:14] = ((reference[:14].reshape(-1, 2) - low) * (side / (high - low))).reshape(-1)
    return np.asarray(cut, np.uint8), moved


def _frames(folder: Path, stride: int) -> Iterator[tuple[str, Image]]:
    for path in sorted(folder.iterdir()):
        if path.suffix not in _CLIP_ENDINGS:
            continue
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % stride == 0:
                    yield path.name, np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def clips(engine: EmbeddedEngine, yunet: YuNet, folder: Path, stride: int, seed: int) -> dict[str, Figures]:
    """Faces of all frames by size, and false faces on tiles that hold none."""
    sizes = {"48 px or more": (48, 1e9), "20 to 48 px": (20, 48)}
    known = dict.fromkeys(sizes, 0)
    matched = dict.fromkeys(sizes, 0)
    frames = unmatched = total = 0
    generator = np.random.default_rng(seed)
    tiles: list[tuple[float, Image]] = []
    for _, image in _frames(folder, stride):
        references = yunet.faces(image, 0.3)
        boxes = np.array([face.box for face in _faces(engine, FacePolicy.ALL, [image])[0]], np.float32).reshape(-1, 4)
        frames, total = frames + 1, total + len(boxes)
        unmatched += sum(not len(references) or float(iou(box, references).max()) < 0.1 for box in boxes)
        for reference in references[references[:, 14] >= 0.8]:
            size = float((reference[2:4] - reference[:2]).max())
            for name, (low, high) in sizes.items():
                if low <= size < high:
                    known[name] += 1
                    matched[name] += bool(len(boxes)) and float(iou(reference, boxes).max()) >= _MATCHED
        tiles += _empty_tiles(image, references, generator)
    # A uniform choice of the tiles of all frames, whatever their number.
    chosen = [tile for _, tile in sorted(tiles, key=lambda entry: entry[0])[:_TILES]]
    found = _faces(engine, FacePolicy.ALL, chosen)
    table: dict[str, Figures] = {
        f"clips {name}": {
            "frames": frames,
            "faces": known[name],
            "matched": matched[name],
            "share": matched[name] / max(known[name], 1),
        }
        for name in sizes
    }
    table["clips, faces that touch no reference"] = {"frames": frames, "faces": total, "untouched": unmatched}
    false = sum(bool(own) for own in found)
    table[f"tiles of {_TILE} px without a face"] = {"tiles": len(chosen), "false": false, "share": false / max(len(chosen), 1)}
    return table


def _empty_tiles(image: Image, references: NDArray[np.float32], generator: np.random.Generator) -> list[tuple[float, Image]]:
    """At most one random tile of the frame, with a random rank, if no reference touches it."""
    x, y = (int(generator.integers(0, extent - _TILE + 1)) for extent in (image.shape[1], image.shape[0]))
    rank = float(generator.random())
    apart = (
        (references[:, 0] >= x + _TILE) | (references[:, 2] <= x) | (references[:, 1] >= y + _TILE) | (references[:, 3] <= y)
    )
    return [(rank, image[y : y + _TILE, x : x + _TILE].copy())] if apart.all() else []


@click.command()
@click.option("--yunet", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="YuNet's ONNX file.")
@click.option(
    "--portraits", "portrait_folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="JPEG portraits."
)
@click.option("--clips", "clip_folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Clips and GIFs.")
@click.option("--stride", default=1, show_default=True, help="Every n-th frame.")
@click.option("--seed", default=0, show_default=True, help="Of the tiles.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    *,
    yunet: Path,
    portrait_folder: Path | None,
    clip_folder: Path | None,
    stride: int,
    seed: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Measure the face engine."""
    reference = YuNet(yunet)
    table: dict[str, Figures] = {}
    if portrait_folder is not None:
        table |= portraits(_engine(FacePolicy.LARGEST, device), reference, portrait_folder)
    if clip_folder is not None:
        table |= clips(_engine(FacePolicy.ALL, device), reference, clip_folder, stride, seed)
    for name, figures in table.items():
        click.echo(name)
        for figure, value in figures.items():
            click.echo(f"    {figure:<20}{value:>10.4f}" if isinstance(value, float) else f"    {figure:<20}{value:>10}")
    if json_file is not None:
        json_file.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _engine(policy: FacePolicy, device: str) -> EmbeddedEngine:
    engine = build_detector(Detect(policy=policy), device)
    assert isinstance(engine, EmbeddedEngine)
    return engine


if __name__ == "__main__":
    main()
