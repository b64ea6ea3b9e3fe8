"""Whether a normalizer keeps the expression and drops pose and background, on synthetic heads whose truth is known.

    python benchmarks/rig_heads.py --rig ict_facekit.npz --json rig_heads.json

Heads of a morphable rig with ten pairs of named expressions and five identities go through the stages detect and align and
through the normalizer. All differences are mean absolute RGB differences in grey levels (0 to 255) of two normalized images
inside the face mask, the hull of the template that `align` puts the face on. Targets: turning the head changes the output by
at most a quarter of what another expression changes; another background changes it by at most one grey level.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Frame, FrameRef, Image
from normpipe.config import Pipeline, load_pipeline
from normpipe.faces import build_detector, build_landmarker
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.normalizers.build import build_normalizer
from normpipe.normalizers.mean_face.model import load_model
from normpipe.normalizers.protocol import Normalizer
from normpipe.records import Failure
from normpipe.stages.align import align, template
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import fit_face_atlas

cv2.setNumThreads(1)

YAWS = (0.0, 15.0, 30.0, 45.0)
IDENTITIES = 5
POSE_TARGET = 0.25
BACKGROUND_TARGET = 1.0


def _both(weight: float, *shapes: str) -> dict[str, float]:
    return {f"{shape}_{side}": weight for shape in shapes for side in "LR"}


EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "smile": _both(0.9, "mouthSmile") | _both(0.5, "cheekRaiser"),
    "frown": _both(0.9, "mouthFrown"),
    "brows up": _both(1.0, "browInnerUp", "browOuterUp"),
    "brows down": _both(1.0, "browDown"),
    "eyes closed": _both(1.0, "eyeBlink"),
    "eyes wide": _both(1.0, "eyeWide"),
    "jaw open": {"jawOpen": 0.7},
    "pucker": {"mouthPucker": 0.9},
    "stretch": _both(0.9, "mouthStretch"),
    "upper lip up": _both(0.9, "mouthUpperUp") | _both(0.6, "noseSneer"),
    "lower lip down": _both(0.9, "mouthLowerDown"),
}

PAIRS = (
    ("neutral", "smile"),
    ("neutral", "jaw open"),
    ("neutral", "brows up"),
    ("neutral", "eyes closed"),
    ("smile", "frown"),
    ("brows up", "brows down"),
    ("eyes wide", "eyes closed"),
    ("pucker", "stretch"),
    ("upper lip up", "lower lip down"),
    ("jaw open", "smile"),
)

_SOURCE = HeadParams(size=512, extent=42.0)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One picture: an expression on a person, under an angle, before a background."""

    expression: str
    identity: int
    yaw: float = 0.0
    background: str = "plain"

    def __str__(self) -> str:
        return f"{self.expression}, identity {self.identity}, yaw {self.yaw:g}, {self.background} background"


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean absolute differences in grey levels.

    Attributes:
        expression: Between the two expressions of a pair, same person, yaw 0, mean over the pairs.
        expression_by_pair: The same for each pair.
        yaw: Between a turned head and the same head at yaw 0, by degrees.
        background: Between two backgrounds.
        identity: Between two people with the same expression.
    """

    expression: float
    expression_by_pair: dict[str, float]
    yaw: dict[str, float]
    background: float
    identity: float


@dataclass(frozen=True, slots=True)
class Pictures:
    """The normalizer's input, as a control, and its output."""

    aligned: Image
    normalized: Image


@dataclass(frozen=True, slots=True)
class Chain:
    """The stages that a picture goes through."""

    pipeline: Pipeline
    detector: Detector
    landmarker: Landmarker
    normalizer: Normalizer

    def pictures(self, image: Image) -> Pictures | Failure:
        """Crop and normalized image of the largest face."""
        frame = Frame(FrameRef("head", ""), image, None)
        row = detect([frame], self.detector, self.landmarker, self.pipeline.detect)[0]
        aligned = align(row, self.pipeline.size, self.pipeline.align)
        if isinstance(aligned, Failure):
            return aligned
        normalized = self.normalizer.normalize([aligned])[0]
        return normalized if isinstance(normalized, Failure) else Pictures(aligned.image, normalized)


def cases() -> list[Case]:
    """All pictures that the figures need."""
    named = sorted({name for pair in PAIRS for name in pair})
    people = range(IDENTITIES)
    turned = [Case(name, person, yaw) for name in named for person in people for yaw in YAWS]
    return turned + [Case(name, person, 0.0, "picture") for name in named for person in people]


def render_pictures(rig: HeadRig, atlas: Image, chain: Chain, seed: int) -> dict[Case, Pictures | Failure]:
    """Render every case and send it through the chain."""
    random = np.random.default_rng(seed)
    people = random.standard_normal((IDENTITIES, len(rig.identity_deltas)))
    blobs = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(blobs, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
    pictures: dict[Case, Pictures | Failure] = {}
    with click.progressbar(cases(), label="heads", show_pos=True) as bar:
        for case in bar:
            head = replace(
                _SOURCE, yaw=case.yaw, expression=EXPRESSIONS[case.expression], identity=people[case.identity].tolist()
            )
            if case.background == "picture":
                head = replace(head, background=picture)
            pictures[case] = chain.pictures(rig.render(head, atlas).image)
    return pictures


def measure(images: Mapping[Case, Image], mask: NDArray[np.bool_]) -> Figures:
    """All figures; a difference of which one picture is missing is left out of its mean."""

    def difference(first: Case, second: Case) -> float:
        if first not in images or second not in images:
            return float("nan")
        return float(np.abs(images[first][mask].astype(np.float64) - images[second][mask]).mean())

    named, people = sorted({name for pair in PAIRS for name in pair}), range(IDENTITIES)
    by_pair = {f"{a} / {b}": _mean(difference(Case(a, p), Case(b, p)) for p in people) for a, b in PAIRS}
    return Figures(
        expression=_mean(by_pair.values()),
        expression_by_pair=by_pair,
        yaw={f"{yaw:g}": _mean(difference(Case(n, p), Case(n, p, yaw)) for n in named for p in people) for yaw in YAWS[1:]},
        background=_mean(difference(Case(n, p), Case(n, p, background="picture")) for n in named for p in people),
        identity=_mean(difference(Case(n, p), Case(n, q)) for n in named for p, q in combinations(people, 2)),
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def face_mask(pipeline: Pipeline) -> NDArray[np.bool_]:
    """Hull of the template's landmarks: where `align` puts an average face, so the same for every normalizer."""
    mask = np.zeros((pipeline.size, pipeline.size), np.uint8)
    hull = cv2.convexHull(template(pipeline.size, pipeline.align.margin)[:, :2].astype(np.float32))
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    return mask.astype(bool)


def table(control: Figures, figures: Figures) -> str:
    """The figures as lines of text, those of the untouched crops beside them."""

    def line(name: str, before: float, after: float, target: float | None = None) -> str:
        shares = f"{before / control.expression:>10.2f}{after / figures.expression:>12.2f}"
        verdict = "" if target is None else ("   met" if after / figures.expression <= target else "   missed")
        return f"{name:<38}{before:>8.2f}{after:>12.2f}{shares}{verdict}"

    lines = [f"{'grey levels':<38}{'crop':>8}{'normalized':>12}{'share of expression':>22}"]
    lines.append(line("another expression", control.expression, figures.expression))
    lines += [
        line(f"    {pair}", control.expression_by_pair[pair], value) for pair, value in figures.expression_by_pair.items()
    ]
    lines += [
        line(f"same expression, yaw {yaw} against 0", control.yaw[yaw], value, POSE_TARGET)
        for yaw, value in figures.yaw.items()
    ]
    lines.append(line("same expression, another identity", control.identity, figures.identity))
    met = "met" if figures.background <= BACKGROUND_TARGET else "missed"
    lines.append(f"{line('another background', control.background, figures.background)}   {BACKGROUND_TARGET:g} level {met}")
    return "\n".join(lines)


@click.command()
@click.option("--rig", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="ict_facekit.npz.")
@click.option("--pipeline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Pipeline file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the pipeline.")
@click.option(
    "--texture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Frontal face to paint the heads with; default: the average face.",
)
@click.option("--seed", default=0, show_default=True, help="Of identities and background.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too.")
@click.option(
    "--pictures", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write each crop beside its output here."
)
def main(
    *,
    rig: Path,
    pipeline: Path | None,
    overrides: tuple[str, ...],
    texture: Path | None,
    seed: int,
    device: str,
    json_file: Path | None,
    folder: Path | None,
) -> None:
    """Measure a normalizer on rig heads."""
    options = load_pipeline(pipeline, overrides)
    normalizer = build_normalizer(options)
    normalizer.prepare(device)
    chain = Chain(options, build_detector(options.detect, device), build_landmarker(options.detect, device), normalizer)
    head_rig = HeadRig.load(rig)
    atlas = _mean_textured(head_rig, chain) if texture is None else _painted(head_rig, texture, chain)
    pictures = render_pictures(head_rig, atlas, chain, seed)
    failures = {str(case): found.reason.value for case, found in sorted(pictures.items()) if isinstance(found, Failure)}
    found = {case: one for case, one in pictures.items() if isinstance(one, Pictures)}
    mask = face_mask(options)
    control = measure({case: one.aligned for case, one in found.items()}, mask)
    figures = measure({case: one.normalized for case, one in found.items()}, mask)
    click.echo(f"{len(pictures)} heads, {len(failures)} not normalized")
    for case, reason in failures.items():
        click.echo(f"    {case}: {reason}")
    click.echo(table(control, figures))
    if json_file is not None:
        document = {"heads": len(pictures), "not_normalized": failures, "crop": asdict(control), "normalized": asdict(figures)}
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, one in found.items():
            both = np.hstack([one.aligned, one.normalized])
            cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(both, cv2.COLOR_RGB2BGR))


def _mean_textured(rig: HeadRig, chain: Chain) -> Image:
    """The rig painted with the average face of mean_face."""
    model = load_model()
    points = model.atlas_points * model.texture.shape[0]
    return fit_face_atlas(rig, model.texture, points, chain.detector, chain.landmarker)


def _painted(rig: HeadRig, texture: Path, chain: Chain) -> Image:
    image = cv2.imread(str(texture), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise click.ClickException(f"{texture.name}: not a picture")
    picture = np.asarray(image, np.uint8)
    face = detect([Frame(FrameRef("texture", ""), picture, None)], chain.detector, chain.landmarker, chain.pipeline.detect)[
        0
    ].face
    if isinstance(face, Failure):
        raise click.ClickException(f"{texture.name}: {face.reason}")
    return fit_face_atlas(rig, picture, face.landmarks[:, :2], chain.detector, chain.landmarker)


if __name__ == "__main__":
    main()
