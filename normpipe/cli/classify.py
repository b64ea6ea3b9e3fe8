"""`normpipe classify`: learning labels from pairs."""

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from normpipe.cli.ablate import ablate
from normpipe.cli.predict import predict
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.threads import limit_environment
from normpipe.errors import ModelUnavailableError

_TRAIN_EPILOG = """
\b
Examples:
  normpipe classify train pipelines/classify-emotion.yaml -o emotion/ --set 'data=[runs/raf-db]' --set protocol=raf-db
  normpipe classify train pipelines/classify-au.yaml -o au/ --fold fold1 --set arm=normalized
  torchrun --nproc-per-node 4 -m normpipe classify train au.yaml -o au/ --device cuda
  srun --ntasks-per-node 1 bash -c 'torchrun --nnodes $SLURM_NNODES --nproc-per-node 4 --rdzv-backend c10d \\
    --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $HEAD:29500 -m normpipe classify train au.yaml -o au/ --device cuda'

The same command again resumes an interrupted training, on as many ranks or on others. Under SLURM, HEAD is the first node
(scontrol show hostnames | head -n 1), and OUT is on a disk that all nodes see. What accelerate reads from the environment
(ACCELERATE_*) holds too; precision and device are those of CONFIG and of the command.
"""

_NEEDED = ("torch", "accelerate", "diffusers", "safetensors", "threadpoolctl")


@click.group()
def classify() -> None:
    """Classifiers: train networks that read action units, emotions, valence and arousal from pairs, and let them predict."""


classify.add_command(ablate)
classify.add_command(predict)


@classify.command(epilog=_TRAIN_EPILOG)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="OUT", type=click.Path(file_okay=False, path_type=Path), help="Folder.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override one key of CONFIG.")
@click.option("--fold", metavar="NAME", help="Train this fold of the protocol only. [all]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a training that gives no sign of life (no locks there).")
def train(*, config: Path, out: Path, settings: tuple[str, ...], fold: str | None, device: str, takeover: bool) -> None:
    """Train a classifier for each fold of a protocol as the training file CONFIG says.

    OUT/FOLD/best and OUT/FOLD/last are what `normpipe classify predict` takes; OUT/scores.json says what they are worth.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModelUnavailableError(f"training a classifier needs {' and '.join(missing)}: pip install 'normpipe[classify]'")
    from normpipe.classify.config import load_classifier_training

    training = load_classifier_training(config, settings)
    try:
        with interruptible():
            from normpipe.classify.session import Means, train_classifiers

            means = Means(device, lambda line: click.echo(line, err=True), takeover)
            click.echo(click.format_filename(train_classifiers(training, out, means, fold)))
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the training", err=True)
        sys.exit(stop.exit_code)
