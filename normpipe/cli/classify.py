"""`normpipe classify`: learning labels from pairs."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from normpipe.cli.ablate import ablate
from normpipe.cli.predict import predict
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.threads import limit_environment
from normpipe.errors import IncompatibleRunError, ModelUnavailableError, UsageError

_TRAIN_EPILOG = """
\b
Examples:
  normpipe classify train pipelines/classify-emotion.yaml -o emotion/ --set 'data=[runs/raf-db]' --set protocol=raf-db
  normpipe classify train pipelines/classify-au.yaml -o au/ --fold fold1 --set arm=normalized
  torchrun --nproc-per-node 4 -m normpipe classify train au.yaml -o au/ --device cuda
  srun --ntasks-per-node 1 bash -c 'torchrun --nnodes $SLURM_NNODES --nproc-per-node 4 --rdzv-backend c10d \\
    --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $HEAD:29500 -m normpipe classify train au.yaml -o au/ --device cuda'
  normpipe classify train au.yaml -o au/ --device cuda --scheduler tcp://HOST:8786 --ranks 4

The same command again resumes an interrupted training, on as many ranks or on others. Under SLURM, HEAD is the first node
(scontrol show hostnames | head -n 1), and OUT is on a disk that all nodes see. What accelerate reads from the environment
(ACCELERATE_*) holds too; precision and device are those of CONFIG and of the command.
"""

_FIRST_SPEAKS_SECONDS = 30.0

_NEEDED = ("torch", "accelerate", "diffusers", "safetensors", "threadpoolctl")


@contextmanager
def _first_rank_speaks() -> Iterator[None]:
    """What is wrong for one rank of torchrun is most likely so for all: the first one says it, and torchrun ends the others."""
    try:
        yield
    except (UsageError, IncompatibleRunError):
        if not _is_first_rank():
            time.sleep(_FIRST_SPEAKS_SECONDS)  # still here after it: it is this rank's alone
        raise


def _is_first_rank() -> bool:
    """Of those that torchrun has started, if it was that; whoever starts ranks otherwise has as many lines as ranks."""
    return os.environ.get("RANK", "0") == "0"


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
@click.option("--scheduler", metavar="ADDRESS", help="Train on workers of this Dask scheduler, as tcp://host:8786.")
@click.option("--ranks", metavar="N", type=click.IntRange(1), help="How many of its workers share the training.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a training that gives no sign of life (no locks there).")
@_first_rank_speaks()
def train(
    *,
    config: Path,
    out: Path,
    settings: tuple[str, ...],
    fold: str | None,
    device: str,
    scheduler: str | None,
    ranks: int | None,
    takeover: bool,
) -> None:
    """Train a classifier for each fold of a protocol as the training file CONFIG says.

    OUT/FOLD/best and OUT/FOLD/last are what `normpipe classify predict` takes; OUT/scores.json says what they are worth.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModelUnavailableError(f"training a classifier needs {' and '.join(missing)}: pip install 'normpipe[classify]'")
    if (scheduler is None) != (ranks is None):
        raise UsageError("--scheduler and --ranks belong together: where the ranks run, and how many they are")
    from normpipe.classify.config import load_classifier_training

    training = load_classifier_training(config, settings)
    watch = partial(click.echo, err=True)
    try:
        with interruptible():
            if scheduler is not None and ranks is not None:
                from normpipe.classify.launch import Cluster, train_on_cluster
                from normpipe.classify.rank_process import RankWork

                work = RankWork(training, out, fold, device, takeover)
                scores = train_on_cluster(work, Cluster(scheduler, ranks), watch)
            else:
                from normpipe.classify.session import Means, train_classifiers

                scores = train_classifiers(training, out, Means(device, watch, takeover), fold)
            if _is_first_rank():
                click.echo(click.format_filename(scores))
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the training", err=True)
        sys.exit(stop.exit_code)
