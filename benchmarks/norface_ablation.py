"""What the teachers of norface's reading are worth: variants of it, each a folder of weights for `normpipe run` and `audit`.

    python benchmarks/norface_ablation.py norface.yaml norface/ variants/ --steps 500
    normpipe run faces.parquet all/ --normalizer norface --set normalize.weights=variants/all --set normalize.detail=1

OUT of a finished `normpipe normalizer train` lends the examples. All variants learn for the same number of steps from the same
seed: from heads and warps (`all`), without either, and with the adversary, for which photos come up too. The mesh draws what
was read, so the decoder keeps its first weights; the measured part of the code is no matter of training.
"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from normpipe.engine.threads import limit_environment

limit_environment()  # before numpy is imported

import click  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from normpipe.synthetic.heads import HeadRig  # noqa: E402
from normpipe.training.accelerator import new_accelerator  # noqa: E402
from normpipe.training.norface.config import Training, load_training  # noqa: E402
from normpipe.training.norface.examples import ExampleSet, Kind, read_examples  # noqa: E402
from normpipe.training.norface.expected import fit_expected  # noqa: E402
from normpipe.training.norface.loop import Directions, seed_of, train  # noqa: E402
from normpipe.training.norface.network import new_network  # noqa: E402
from normpipe.training.norface.reading import (  # noqa: E402
    ReadingLosses,
    ReadingTrainee,
    measured,
    read_expressions,
    spreads,
)
from normpipe.training.norface.rig_mesh import RigMesh  # noqa: E402
from normpipe.training.norface.stages import READING  # noqa: E402

VARIANTS: dict[str, tuple[frozenset[Kind], float]] = {
    "all": (frozenset(), 0.0),
    "no-heads": (frozenset({Kind.HEAD}), 0.0),
    "no-warps": (frozenset({Kind.WARP}), 0.0),
    "adversary": (frozenset(), 0.1),
}
"""Kinds of examples that are left out, and how much the adversary weighs."""

_PATIENCE = timedelta(hours=1)
_AVERAGE = 0.99  # what averages 2,000 steps would still hold the first weights after 500


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("trained", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--steps", default=500, show_default=True, type=click.IntRange(1), help="Of each variant.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def main(config: Path, trained: Path, out: Path, steps: int, device: str) -> None:
    """Train the variants of TRAINED's reading; write OUT/<variant>."""
    training = load_training(config)
    examples = read_examples(sorted((trained / "examples").glob("part-*.parquet")))
    for name, (left_out, adversary) in VARIANTS.items():
        if (out / name).exists():
            continue
        section = training.reading.model_copy(update={"steps": steps, "adversary": adversary, "average": _AVERAGE})
        changed = training.model_copy(update={"reading": section})
        _train_variant(changed, examples, left_out, out / name, device)


def _train_variant(training: Training, examples: ExampleSet, left_out: frozenset[Kind], target: Path, device: str) -> None:
    assert training.examples.rig is not None
    seen = _only(examples, np.flatnonzero(~np.isin(examples.kinds, sorted(left_out))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(training.seed, READING, "weights"))
        network = new_network(training)
        losses = ReadingLosses(network.encoder, network.merger, training.reading, len(np.unique(seen.people)))
    trainee = ReadingTrainee(losses, seen)
    folder = target.with_suffix(".training")
    directions = Directions(READING, folder, training.seed, lambda line: click.echo(f"{target.name}: {line}"))
    averaged = train(trainee, training.reading, directions, new_accelerator(training.precision, device, _PATIENCE))
    losses.cpu().load_state_dict(averaged.state_dict())
    losses.eval().requires_grad_(requires_grad=False)
    real = _only(examples, np.flatnonzero(examples.kinds != Kind.HEAD))
    free = read_expressions(network.encoder, network.merger, real, torch.device("cpu"))
    network.layout.spread.copy_(torch.from_numpy(spreads(seen)))
    fit_expected(network.merger, free, measured(examples)[examples.kinds != Kind.HEAD])
    network.layout.rig_offsets.copy_(torch.from_numpy(RigMesh.of(HeadRig.load(Path(training.examples.rig))).offsets))
    network.save_pretrained(target)


def _only(examples: ExampleSet, rows: NDArray[np.intp]) -> ExampleSet:
    return replace(
        examples,
        ids=examples.ids[rows],
        people=examples.people[rows],
        kinds=examples.kinds[rows],
        encoded=examples.encoded.take(pa.array(rows)),
        expression=examples.expression[rows],
        shape=examples.shape[rows],
        detail=examples.detail[rows],
        landmarks=examples.landmarks[rows],
    )


if __name__ == "__main__":
    main()
