"""Is the expression still there, and is the person gone? mean_face at five detail strengths, judged from outside.

    python benchmarks/fidelity.py MANIFEST ROOT --identity identity.onnx --blendshapes face_landmarker.task --split test

MANIFEST has subject, emotion and split. Every figure is of the people in the split, whom the renderer has never seen. Identity:
AUC and rank 1 of an embedding. Expression: correlation and slope of blendshapes, original against normalized. Use: macro-F1 and
balanced accuracy of the plain classifier on originals, normalized images, both, and the originals twice. Intervals: 95 %,
paired bootstrap over subjects. A row without a face counts: both its images are empty.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from judges import BLENDSHAPES, Blendshapes, IdentityEmbedding, matched_auc, rank_one
from numpy.typing import NDArray
from plain_classifier import features, predictions, subject_folds

from normpipe.audit.classifier import judged
from normpipe.audit.figures import Figure, NotMeasurable
from normpipe.audit.groups import Doubles, Groups
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.moments import Moments
from normpipe.batches import AlignedFace, Floats, Image
from normpipe.config import Normalize, Pipeline
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import five_points
from normpipe.normalizers.mean_face import MeanFace
from normpipe.sources.manifest import read_manifest
from normpipe.stages.align import template, template_detection
from normpipe.training.samples import analyze

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NEUTRAL = ("mouthSmile", "jawOpen", "browDown", "browInnerUp")


@dataclass(frozen=True, slots=True)
class People:
    """Rows of the split: faces (None where none was found), subjects and emotions."""

    faces: list[AlignedFace | None]
    subjects: NDArray[np.str_]
    emotions: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the instruments say of one image set."""

    vectors: Floats
    blendshapes: Floats
    features: Floats


@dataclass(frozen=True, slots=True)
class Instruments:
    """The judges."""

    identity: IdentityEmbedding
    blendshapes: Blendshapes

    def measure(self, images: list[Image], points: list[Floats], margin: float) -> Measured:
        """Every instrument on every image; `points` are the five points, `margin` is cut off for the classifier."""
        border = int(images[0].shape[0] * margin)
        return Measured(
            np.stack([self.identity.embed(image, five) for image, five in zip(images, points, strict=True)]),
            np.stack([self.blendshapes.measure(image) for image in images]),
            np.stack([features(image[border:-border, border:-border]) for image in images]),
        )


def agreement(original: Floats, normalized: Floats, subjects: NDArray[np.str_]) -> tuple[Doubles, Doubles, int]:
    """Pearson correlation and slope per blendshape, subjects weighted equally, and the number of rows without a face."""
    usable = np.isfinite(original).all(axis=1) & np.isfinite(normalized).all(axis=1)
    people = Groups.of(subjects[usable])
    correlation, slope = Moments.of(original[usable], normalized[usable], people.share, people).by_column()
    return correlation, slope, int((~usable).sum())


def load(manifest: Path, root: Path, split: str, pipeline: Pipeline) -> People:
    """Analyze the split's rows of the five classes."""
    table = read_manifest(manifest)
    wanted = [row["split"] == split and row["emotion"] in CLASSES for row in table.select(["split", "emotion"]).to_pylist()]
    table = table.filter(wanted)
    faces: list[AlignedFace | None] = [None] * table.num_rows
    for number, face in analyze(table, root, pipeline):
        faces[number] = face
    return People(faces, np.array(table["subject"].to_pylist()), np.array(table["emotion"].to_pylist()))


def render(people: People, strength: float, pipeline: Pipeline) -> tuple[list[Image], list[Floats]]:
    """Normalized images of all rows, and their five points as the face engine finds them."""
    renderer = MeanFace(pipeline.model_copy(update={"normalize": Normalize(detail=strength)}))
    renderer.prepare("cpu")
    landmarker = build_landmarker(pipeline.detect, "cpu")
    expected = template_detection(pipeline.size, pipeline.align.margin)
    images, points = [], []
    for face in people.faces:
        image = _empty(pipeline) if face is None else renderer.render(face)
        assert isinstance(image, np.ndarray)
        found = landmarker.landmarks(image, [expected])[0]
        images.append(image)
        points.append(_template_points(pipeline) if found is None else five_points(found.points))
    return images, points


def neutral_scores(instruments: Instruments, pipeline: Pipeline) -> dict[str, float]:
    """Blendshapes of the common face without expression."""
    renderer = MeanFace(pipeline)
    renderer.prepare("cpu")
    scores = dict(zip(BLENDSHAPES, instruments.blendshapes.measure(renderer.neutral()).tolist(), strict=True))
    return {name: scores[name] for name in _NEUTRAL}


def _empty(pipeline: Pipeline) -> Image:
    image = np.empty((pipeline.size, pipeline.size, 3), np.uint8)
    image[:] = pipeline.normalize.background
    return image


def _template_points(pipeline: Pipeline) -> Floats:
    return five_points(template(pipeline.size, pipeline.align.margin))


def judge(people: People, instruments: Instruments, seeds: int, pipeline: Pipeline) -> list[dict[str, object]]:
    """One record per arm: originals first, then each strength."""
    margin = pipeline.align.margin
    originals = instruments.measure(
        [_empty(pipeline) if face is None else face.image for face in people.faces],
        [_template_points(pipeline) if face is None else five_points(face.landmarks) for face in people.faces],
        margin,
    )
    sets = {"original": originals.features}
    arms: dict[str, tuple[str, ...]] = {"original": ("original",), "original twice": ("original", "original")}
    measured = {}
    for strength in STRENGTHS:
        name = f"{strength:g}"
        measured[name] = instruments.measure(*render(people, strength, pipeline), margin)
        sets[name] = measured[name].features
        arms[name] = (name,)
        arms[f"original + {name}"] = ("original", name)
    subjects = Groups.of(people.subjects)
    folds = [subject_folds(subjects, 5, seed) for seed in range(seeds)]
    repeated = [predictions(sets, arms, people.emotions, fold) for fold in folds]
    by_arm = {arm: [each[arm] for each in repeated] for arm in arms}
    names = [f"{strength:g}" for strength in STRENGTHS]
    pairs = [(name, "original") for name in names] + [(f"original + {name}", "original twice") for name in names]
    judged_arms, contrasts = judged(people.emotions, by_arm, pairs, subjects, Bootstrap())
    gaps = {(each.arm, each.minus): each.scores.macro_f1 for each in contrasts}

    def scores(arm: str) -> dict[str, float]:
        found = judged_arms[arm]
        return {"macro_f1": _figure(found.macro_f1).value, "balanced_accuracy": _figure(found.balanced_accuracy).value}

    def difference(arm: str, minus: str) -> tuple[float, float, float]:
        """Macro-F1 of one arm minus another's in points, with its 95 % interval over subjects."""
        gap = _figure(gaps[arm, minus])
        return 100 * gap.value, 100 * gap.low, 100 * gap.high

    records: list[dict[str, object]] = [
        {"images": "original", "auc": matched_auc(originals.vectors, people.subjects, people.emotions),
         "rank1": rank_one(originals.vectors, people.subjects), "alone": scores("original"), "twice": scores("original twice")}
    ]  # fmt: skip
    for name, found in measured.items():
        correlation, slope, missing = agreement(originals.blendshapes, found.blendshapes, people.subjects)
        records.append(
            {
                "images": f"mean_face, detail {name}",
                "auc": matched_auc(found.vectors, people.subjects, people.emotions),
                "rank1": rank_one(found.vectors, people.subjects),
                "correlation": float(np.nanmean(correlation)),
                "slope": float(np.nanmean(slope)),
                "by_blendshape": {
                    shape: [round(float(pair[0]), 3), round(float(pair[1]), 3)]
                    for shape, pair in zip(BLENDSHAPES, zip(correlation, slope, strict=True), strict=True)
                },
                "rows_without_blendshapes": missing,
                "alone": scores(name),
                "with_originals": scores(f"original + {name}"),
                "alone_minus_original": difference(name, "original"),
                "both_minus_twice": difference(f"original + {name}", "original twice"),
            }
        )
    return records


def _figure(measured: Figure | NotMeasurable) -> Figure:
    if isinstance(measured, NotMeasurable):
        raise click.ClickException(f"cannot be measured: {measured.detail}")
    return measured


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("manifest", type=_FILE)
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--identity", required=True, type=_FILE, help="ONNX embedding, 112 px, NHWC, RGB 0 to 255.")
@click.option("--blendshapes", required=True, type=_FILE, help="FaceLandmarker bundle (.task).")
@click.option("--split", default="test", show_default=True)
@click.option("--seeds", default=10, show_default=True, help="Repetitions of the 5 folds.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
def main(manifest: Path, root: Path, identity: Path, blendshapes: Path, split: str, seeds: int, output: Path | None) -> None:
    """Print the table of identity, expression and use."""
    cv2.setNumThreads(1)
    pipeline = Pipeline()
    instruments = Instruments(IdentityEmbedding(identity), Blendshapes(blendshapes))
    people = load(manifest, root, split, pipeline)
    neutral = neutral_scores(instruments, pipeline)
    records = judge(people, instruments, seeds, pipeline)
    instruments.blendshapes.close()
    rows = {"split": split, "rows": len(people.faces), "without_face": sum(face is None for face in people.faces)}
    rows["subjects"] = len(np.unique(people.subjects))
    print(f"split {split}: {rows['rows']} rows, {rows['subjects']} subjects, {rows['without_face']} rows without a face")
    print("expressionless render: " + ", ".join(f"{name} {value:.3f}" for name, value in neutral.items()))
    heads = " ".join(f"{name:>6}" for name in ("AUC", "rank1", "corr", "slope", "F1", "bal"))
    print(f"{'images':24} {heads}  F1 both  alone - original, both - twice")
    for record in records:
        print(_line(record))
    if output is not None:
        output.write_text(json.dumps({**rows, "neutral": neutral, "records": records}, indent=1) + "\n")


def _line(record: dict[str, object]) -> str:
    alone, joined = record["alone"], record.get("with_originals", record.get("twice"))
    assert isinstance(alone, dict)
    assert isinstance(joined, dict)
    text = f"{record['images']:24} {record['auc']:6.3f} {record['rank1']:6.3f} "
    if "slope" in record:
        text += f"{record['correlation']:6.3f} {record['slope']:6.3f} "
    else:
        text += " " * 14
    text += f"{alone['macro_f1']:6.3f} {alone['balanced_accuracy']:6.3f} {joined['macro_f1']:8.3f}"
    for key in ("alone_minus_original", "both_minus_twice"):
        if key in record:
            gap = record[key]
            assert isinstance(gap, tuple)
            text += f"  {gap[0]:+.1f} [{gap[1]:+.1f}, {gap[2]:+.1f}]"
    return text


if __name__ == "__main__":
    main()
