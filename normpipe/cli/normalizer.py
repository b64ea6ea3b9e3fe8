"""`normpipe normalizer`: training the network behind the normalizer norface."""

import sys
from pathlib import Path

import click

from normpipe.engine.signals import Interrupted, interruptible

_EPILOG = """
\b
Examples:
  normpipe normalizer train pipelines/train-norface-tiny.yaml -o norface/
  normpipe normalizer train pipelines/train-norface-tiny.yaml -o norface/ --set 'examples.runs=[portraits/, faces/]'
  accelerate launch -m normpipe normalizer train small.yaml -o norface/ --device cuda

The same command again resumes an interrupted training. OUT/drawing/samples shows faces of the training set: it stays in OUT,
and only OUT/model is for others.
"""


@click.group()
def normalizer() -> None:
    """The network norface: train it on your own faces."""


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
