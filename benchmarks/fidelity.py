"""Is the expression still there, and is the person gone? Several ways to normalize, held against each other by the audit.

    python benchmarks/fidelity.py MANIFEST ROOT --identity identity.onnx --blendshapes face_landmarker.task --split test

Each arm is a `normpipe run` over the rows of the split whose emotion is one of the five classes, and a `normpipe audit` of it:
every figure is read from audit.json. The arms are mean_face at five strengths of detail, or what --arm says. MANIFEST has
subject, emotion and split; the renderer must never have seen the people in the split. The page of the last audit, with all arms
on its scoreboard, stays under --keep.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pyarrow as pa

from normpipe.audit.blendshapes import BLENDSHAPES, Blendshapes
from normpipe.audit.document import Document, at, figure_at, items, read_document
from normpipe.audit.figures import Figure, NotMeasurable
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.config import Pipeline
from normpipe.normalizers.mean_face import MeanFace
from normpipe.sources.manifest import read_manifest, write_manifest

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger")
STRENGTHS = tuple(f"normalize.detail={strength}" for strength in (0.0, 0.25, 0.5, 0.75, 1.0))
_NEUTRAL = ("mouthSmile", "jawOpen", "browDown", "browInnerUp")
_EXPRESSION = ("findings", "expression")

Record = dict[str, Figure | NotMeasurable]


def selected(manifest: Path, split: str) -> pa.Table:
    """The split's rows of the five classes."""
    table = read_manifest(manifest)
    return table.filter(
        [row["split"] == split and row["emotion"] in CLASSES for row in table.select(["split", "emotion"]).to_pylist()]
    )


def run(*arguments: str | Path) -> None:
    """Run a command of normpipe, which shows its own progress."""
    subprocess.run([sys.executable, "-m", "normpipe", *map(str, arguments)], check=True)


def normalized(manifest: Path, root: Path, arms: Sequence[str], folder: Path, workers: int) -> list[Path]:
    """A finished run for each arm; faces are looked for once."""
    outs = [folder / f"arm-{number}" for number in range(len(arms))]
    for arm, out in zip(arms, outs, strict=True):
        known = () if out == outs[0] else ("--faces", outs[0])
        settings = [word for setting in arm.split(",") for word in ("--set", setting)]
        run("run", manifest, out, "--root", root, "--workers", str(workers), *known, *settings)
    return outs


def audited(outs: Sequence[Path], identity: Path, blendshapes: Path, repetitions: int, workers: int) -> list[Document]:
    """audit.json of each run; the last one's page shows them all."""
    documents = []
    for out in outs:
        others = [word for other in outs[:-1] for word in ("--compare", other)] if out == outs[-1] else []
        run("audit", out, "--identity", identity, "--blendshapes", blendshapes, "--repetitions", str(repetitions),
            "--workers", str(workers), *others)  # fmt: skip
        document = read_document(out / AUDIT_FOLDER)
        assert document is not None
        documents.append(document)
    return documents


def figures(document: Document, side: str, embedding: str) -> Record:
    """What the table shows of the "original" or the "normalized" images; `embedding` is the feature that compares plainly."""
    attacks = items(document, "findings", "identity", "before" if side == "original" else "attacks")
    aucs = [figure_at(each, "result", "auc") for each in attacks]
    plain = [
        figure_at(each, "result", "auc")
        for each in attacks
        if (at(each, "feature"), at(each, "method")) == (embedding, "cosine")
    ]
    both = "original_twice" if side == "original" else "both"
    identified = "identification_before" if side == "original" else "identification"
    record: Record = {
        "plain": plain[0],
        "rank1": figure_at(document, "findings", "identity", identified, embedding, "rank_one"),
        "best": max((auc for auc in aucs if isinstance(auc, Figure)), key=lambda auc: auc.value),
        "alone": figure_at(document, *_EXPRESSION, "use", "arms", side, "macro_f1"),
        "balanced": figure_at(document, *_EXPRESSION, "use", "arms", side, "balanced_accuracy"),
        "both": figure_at(document, *_EXPRESSION, "use", "arms", both, "macro_f1"),
    }
    if side == "normalized":
        for name in ("correlation", "slope"):
            record[name] = figure_at(document, *_EXPRESSION, "blendshapes", "mean", name)
        record["landmarks"] = figure_at(document, *_EXPRESSION, "displacement", "whole", "correlation")
        for each in items(document, *_EXPRESSION, "use", "contrasts"):
            record[f"{at(each, 'arm')} - {at(each, 'minus')}"] = figure_at(each, "scores", "macro_f1")
    return record


def neutral_scores(bundle: Path) -> dict[str, float]:
    """Blendshapes of the common face without expression."""
    renderer = MeanFace(Pipeline())
    renderer.prepare("cpu")
    judge = Blendshapes(bundle)
    scores = dict(zip(BLENDSHAPES, judge.measure(renderer.neutral()).tolist(), strict=True))
    judge.close()
    return {name: scores[name] for name in _NEUTRAL}


def line(name: str, record: Record) -> str:
    """A row of the table."""
    numbers = [
        _number(record.get(key))
        for key in ("plain", "best", "rank1", "landmarks", "correlation", "slope", "alone", "balanced", "both")
    ]
    gaps = [_gap(record.get(key)) for key in ("normalized - original", "both - original_twice")]
    return f"{name:24} {' '.join(numbers)}  {'  '.join(gaps)}"


def _number(figure: Figure | NotMeasurable | None) -> str:
    return f"{figure.value:6.3f}" if isinstance(figure, Figure) else " " * 6


def _gap(figure: Figure | NotMeasurable | None) -> str:
    """In points."""
    return (
        f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]" if isinstance(figure, Figure) else ""
    )


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("manifest", type=_FILE)
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--identity", required=True, type=_FILE, help="Face embedding (ONNX).")
@click.option("--blendshapes", required=True, type=_FILE, help="FaceLandmarker bundle (.task).")
@click.option("--split", default="test", show_default=True)
@click.option("--arm", "arms", multiple=True, default=STRENGTHS, help="Settings of one arm, with commas between; repeatable.")
@click.option("--repetitions", default=10, show_default=True, help="Of the classifier's 5 folds.")
@click.option("--workers", default=2, show_default=True)
@click.option("--keep", type=_FOLDER, help="Runs and audits stay here.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
def main(
    *,
    manifest: Path,
    root: Path,
    identity: Path,
    blendshapes: Path,
    split: str,
    arms: tuple[str, ...],
    repetitions: int,
    workers: int,
    keep: Path | None,
    output: Path | None,
) -> None:
    """Print the table of identity, expression and use."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory())) if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        table = selected(manifest, split)
        write_manifest(table, folder / "manifest.parquet")
        outs = normalized(folder / "manifest.parquet", root, arms, folder, workers)
        documents = audited(outs, identity, blendshapes, repetitions, workers)
    records = {"originals": figures(documents[0], "original", identity.stem)}
    records |= {arm: figures(document, "normalized", identity.stem) for arm, document in zip(arms, documents, strict=True)}
    neutral = neutral_scores(blendshapes)
    failed = at(documents[0], "run", "failed_rows")
    print(
        f"split {split}: {table.num_rows} rows, {len(set(table['subject'].to_pylist()))} subjects, {failed} rows without a face"
    )
    print("expressionless render: " + ", ".join(f"{name} {value:.3f}" for name, value in neutral.items()))
    heads = " ".join(f"{name:>6}" for name in ("plain", "best", "rank1", "landm.", "blend.", "slope", "F1", "bal", "both"))
    print(f"{'arm':24} {heads}  alone - original, both - twice")
    for name, record in records.items():
        print(line(name, record))
    if output is not None:
        content = {name: {key: str(figure) for key, figure in record.items()} for name, record in records.items()}
        output.write_text(json.dumps({"neutral": neutral, "failed_rows": failed, "records": content}, indent=1) + "\n")


if __name__ == "__main__":
    main()
