"""The loop that every stage of the training runs in: steps, checkpoints, the curve, and going on where it was stopped.

Nothing random is carried from step to step. What a step sees and how it is jittered follow from the seed, the stage and the
step's number; the learning rate too. So a checkpoint is weights, their averages and the optimizer's moments, and a training
that was killed goes on along the same curve. Ranks share every batch: its examples are the same however many ranks there are.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from normpipe.errors import UsageError
from normpipe.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from normpipe.training.curve import CURVE_FILE, CurveFile
from normpipe.training.norface.config import Stage
from normpipe.training.pace import cycle

_BETAS = (0.9, 0.98)
_LARGEST_GRADIENT = 1.0
_AHEAD = max(2, min(8, (os.cpu_count() or 1) // 2))

Batch = tuple[Tensor, ...]


class Trainee(Protocol):
    """What a stage trains.

    Attributes:
        size: Examples there are.
    """

    size: int

    def module(self) -> nn.Module:
        """All that takes part, as one module whose forward gives the weighted losses of a batch by name."""
        ...

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """The weights to train, each group with its factor on the learning rate; all others stay as they are."""
        ...

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """Examples by number, jittered, on the CPU; what the module's forward takes. Called from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class Directions:
    """How to go about a stage.

    Attributes:
        name: Of the stage; enters the seed.
        folder: Its own; checkpoints and the curve come there.
        seed: Of every draw.
        watch: Told a line about every `log_every` steps.
        look: Called before every checkpoint, on the first rank, with the step and the averaged module.
    """

    name: str
    folder: Path
    seed: int
    watch: Callable[[str], None]
    look: Callable[[int, nn.Module], None] | None = None


def train(trainee: Trainee, stage: Stage, directions: Directions, accelerator: Accelerator) -> nn.Module:
    """Train to the stage's last step, from its last checkpoint if there is one.

    Returns:
        The module with the averaged weights.

    Raises:
        UsageError: the losses are no numbers any more, a checkpoint is damaged, or a batch does not divide among the ranks.
    """
    if stage.batch % accelerator.num_processes:
        raise UsageError(
            f"{directions.name}.batch: {stage.batch} does not divide among {accelerator.num_processes} ranks; give a multiple"
        )
    module = trainee.module().requires_grad_(requires_grad=False).to(accelerator.device).train()
    module.zero_grad()  # a stage before may have left gradients at what it trained
    groups = [{"params": [each.requires_grad_() for each in weights], "pace": pace} for weights, pace in trainee.paces()]
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=_BETAS, weight_decay=stage.weight_decay)
    kept = get_ema_multi_avg_fn(stage.average)  # type: ignore[no-untyped-call]  # torch gives it no types
    averaged = AveragedModel(module, multi_avg_fn=kept)
    checkpoints = Checkpoints(directions.folder / CHECKPOINTS_FOLDER, module, averaged, optimizer)
    start = checkpoints.load()
    curve = _Curve(directions.folder / CURVE_FILE, start, accelerator)
    prepared, stepper = accelerator.prepare(module, optimizer)
    make = partial(_batch, trainee, stage, directions, accelerator)
    for done, batch in enumerate(_made_ahead(make, range(start, stage.steps)), start + 1):
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * group["pace"] * cycle(done - 1, stage.steps, stage.warmup)
        losses: dict[str, Tensor] = prepared(*(part.to(accelerator.device) for part in batch))
        stepper.zero_grad()
        accelerator.backward(torch.stack(list(losses.values())).sum())
        accelerator.clip_grad_norm_(prepared.parameters(), _LARGEST_GRADIENT)
        stepper.step()
        averaged.update_parameters(module)
        curve.add(losses)
        if done % stage.log_every == 0 or done == stage.steps:
            line = curve.write(done)
            if not all(map(math.isfinite, line.values())):
                raise UsageError(f"{directions.name}: the losses are no numbers at step {done}: lower its learning_rate")
            directions.watch(f"{directions.name} {done}/{stage.steps}  " + "  ".join(f"{k} {v:.4f}" for k, v in line.items()))
        if (done % stage.checkpoint_every == 0 or done == stage.steps) and accelerator.is_main_process:
            if directions.look is not None:
                directions.look(done, averaged.module.eval())
            checkpoints.save(done)
    accelerator.free_memory()
    return averaged.module.eval()


class _Curve:
    """The losses, averaged between the lines of a file and over the ranks."""

    def __init__(self, path: Path, start: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._since: list[Tensor] = []
        self._names: list[str] = []
        self._file = CurveFile(path, start) if accelerator.is_main_process else None

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count one step."""
        self._names = list(losses)
        self._since.append(torch.stack([value.detach().float() for value in losses.values()]))

    def write(self, step: int) -> dict[str, float]:
        """One line for the steps since the last one."""
        means = self._accelerator.reduce(torch.stack(self._since).mean(dim=0), "mean").tolist()
        line = dict(zip(self._names, means, strict=True))
        self._since = []
        if self._file is not None:
            self._file.append(step, line)
        return line


def seed_of(*purpose: object) -> int:
    """A seed that belongs to a purpose, and to nothing else."""
    return int.from_bytes(sha256(" ".join(map(str, purpose)).encode()).digest()[:7], "little")


def _batch(trainee: Trainee, stage: Stage, directions: Directions, accelerator: Accelerator, step: int) -> Batch:
    """This rank's part of a step's batch."""
    rank = accelerator.process_index
    chosen = np.split(_chosen(trainee.size, stage, directions, step), accelerator.num_processes)[rank]
    return trainee.batch(chosen, torch.Generator().manual_seed(seed_of(directions.seed, directions.name, "jitter", step, rank)))


def _made_ahead(make: Callable[[int], Batch], steps: range) -> Iterator[Batch]:
    """Batches in order, made by threads while those before them are trained on."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        pending = deque(pool.submit(make, step) for step in steps[:_AHEAD])
        for step in steps:
            batch = pending.popleft().result()
            if step + _AHEAD in steps:
                pending.append(pool.submit(make, step + _AHEAD))
            yield batch


def _chosen(size: int, stage: Stage, directions: Directions, step: int) -> NDArray[np.intp]:
    """Numbers of a step's examples: every epoch is a permutation of all of them."""
    numbers = np.arange(step * stage.batch, (step + 1) * stage.batch)
    chosen = np.empty(len(numbers), np.intp)
    for epoch in np.unique(numbers // size):
        within = numbers // size == epoch
        chosen[within] = _order(size, seed_of(directions.seed, directions.name, "epoch", epoch))[numbers[within] % size]
    return chosen


@lru_cache(maxsize=8)
def _order(size: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(size)
