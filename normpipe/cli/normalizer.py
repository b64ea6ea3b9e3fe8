"""`normpipe normalizer`: training the network behind the normalizer norface, and holding normalizers against each other."""

import sys
from pathlib import Path

import click

from normpipe.cli.audit import require_statistics
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.threads import limit_environment

_EPILOG = """
\b
Examples:
  normpipe normalizer train pipelines/train-norface-tiny.yaml -o norface/
  normpipe normalizer train pipelines/train-norface-tiny.yaml -o norface/ --set 'examples.runs=[portraits/, faces/]'
  accelerate launch -m normpipe normalizer train small.yaml -o norface/ --device cuda

The same command again resumes an interrupted training. OUT/drawing/samples shows faces of the training set: it stays in OUT,
and only OUT/model is for others.
"""

_EVALUATE_EPILOG = """
\b
Examples:
  normpipe normalizer evaluate labels.parquet eval/ --root photos/ --weights norface/model \\
    --identity arcface.onnx --blendshapes face_landmarker.task --workers 4
  normpipe normalizer evaluate labels.parquet eval/ --root photos/ --normalizer mean_face --set normalize.own_neutral=true \\
    --identity arcface.onnx --blendshapes face_landmarker.task

The same command again resumes an interrupted evaluation. OUT holds runs over the rows of the split, with their faces.
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def normalizer() -> None:
    """Normalizers: train the network norface on your own faces, evaluate a normalizer against mean_face."""


@normalizer.command(epilog=_EPILOG)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="OUT", type=click.Path(file_okay=False, path_type=Path), help="Folder.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override one key of CONFIG.")
@click.option(
    "--workers", metavar="N", default=1, show_default=True, type=click.IntRange(1), help="Processes that make examples."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
def train(*, config: Path, out: Path, settings: tuple[str, ...], workers: int, device: str) -> None:
    """Train a network as the training file CONFIG says; OUT/model is what normalize.weights takes."""
    from normpipe.training.norface.config import load_training

    training = load_training(config, settings)
    try:
        with interruptible():
            from normpipe.training.norface.train import Means, train_norface

            means = Means(device, workers, lambda line: click.echo(line, err=True))
            click.echo(click.format_filename(train_norface(training, out, means)))
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the training", err=True)
        sys.exit(stop.exit_code)


@normalizer.command(epilog=_EVALUATE_EPILOG)
@click.argument("manifest", metavar="MANIFEST", type=_FILE)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option("--root", metavar="URL", help="Folder or fsspec URL that the manifest's uris are relative to.")
@click.option("--split", metavar="NAME", default="test", show_default=True, help="Whose rows are taken: people not trained on.")
@click.option(
    "--emotion", "emotions", metavar="NAME", multiple=True, help="A class that counts; repeatable. [all with enough people]"
)
@click.option("--normalizer", "candidate", metavar="NAME", default="norface", show_default=True, help="The candidate.")
@click.option("--weights", metavar="FOLDER", help="Its weights: a folder, or hf://owner/name@commit.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A key of the candidate's section normalize.")
@click.option("--identity", metavar="FILE", type=_FILE, help="Face embedding (ONNX). [the model store's]")
@click.option("--blendshapes", metavar="FILE", type=_FILE, help="FaceLandmarker bundle (.task). [the model store's]")
@click.option("--repetitions", default=10, show_default=True, type=click.IntRange(1), help="Of the classifier's folds.")
@click.option("--workers", metavar="N", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where networks run.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
@click.option("--keep-features", is_flag=True, help="Keep the embeddings, which are biometric data.")
def evaluate(
    *,
    manifest: Path,
    out: Path,
    root: str | None,
    split: str,
    emotions: tuple[str, ...],
    candidate: str,
    weights: str | None,
    settings: tuple[str, ...],
    identity: Path | None,
    blendshapes: Path | None,
    repetitions: int,
    workers: int,
    device: str,
    takeover: bool,
    keep_features: bool,
) -> None:
    """Which keeps more expression at the same identity AUC, a candidate or mean_face? OUT/evaluation.md and evaluation.json.

    Both draw the labelled rows of a split of MANIFEST at five strengths of detail; each run is audited.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    require_statistics("an evaluation")
    from normpipe.audit import evaluation
    from normpipe.audit.evaluation_page import tables

    options = evaluation.EvaluationOptions(
        manifest=manifest,
        out=out,
        root=root,
        split=split,
        emotions=emotions,
        normalizer=candidate,
        weights=weights,
        settings=settings,
        identity=identity,
        blendshapes=blendshapes,
        repetitions=repetitions,
        workers=workers,
        device=device,
        takeover=takeover,
        keep_features=keep_features,
    )
    try:
        found = evaluation.evaluate(options, lambda line: click.echo(line, err=True))
    except Interrupted as stop:
        click.echo(
            "interrupted; the same command resumes the evaluation. OUT holds biometric data (audit/features) until then",
            err=True,
        )
        sys.exit(stop.exit_code)
    click.echo(tables(found))
    click.echo(click.format_filename(out / evaluation.TABLES_FILE))
