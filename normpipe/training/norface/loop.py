"""The loop that every stage of the training runs in: steps, checkpoints, the curve, and going on where it was stopped.

Nothing random is carried from step to step. What a step sees and how it is jittered follow from the seed, the stage and the
step's number; the learning rate too. So a checkpoint is weights, their averages and the optimizer's moments, and a training that
was killed goes on along the same curve. Ranks share every batch: its examples are the same however many ranks there are.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from normpipe.errors import UsageError
from normpipe.training.norface.config import Stage

CURVE_FILE = "curve.jsonl"
_CHECKPOINTS = "checkpoints"
_KEPT = 2
_BETAS = (0.9, 0.98)
_LARGEST_GRADIENT = 1.0


class Trainee(Protocol):
    """What a stage trains.

    Attributes:
        size: Examples there are.
    """

    size: int

    def module(self) -> nn.Module:
        """All that is trained, as one module whose forward is `losses` of a batch."""
        ...

    def paces(self) -> Sequence[tuple[nn.Module, float]]:
        """Parts of the module, each with the factor on the learning rate."""
        ...

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Examples by number, jittered, on the CPU; what the module's forward takes."""
        ...


@dataclass(frozen=True, slots=True)
class Directions:
    """How to go about a stage.

    Attributes:
        name: Of the stage; enters the seed.
        folder: Its own; checkpoints and the curve come there.
        seed: Of every draw.
        watch: Called with a line about every `log_every` steps.
        look: Called after every checkpoint with the step and the averaged module, to measure it.
    """

    name: str
    folder: Path
    seed: int
    watch: Callable[[str], None]
    look: Callable[[int, nn.Module], Mapping[str, float]] | None = None


def train(trainee: Trainee, stage: Stage, directions: Directions, accelerator: Accelerator) -> nn.Module:
    """Train to the stage's last step, from its last checkpoint if there is one.

    Returns:
        The module with the averaged weights.

    Raises:
        UsageError: the losses are no numbers any more, or a batch does not divide among the ranks.
    """
    if stage.batch % accelerator.num_processes:
        raise UsageError(
            f"{directions.name}.batch: {stage.batch} does not divide among {accelerator.num_processes} processes; give a multiple"
        )
    module = trainee.module().to(accelerator.device)
    groups = [{"params": list(part.parameters()), "pace": pace} for part, pace in trainee.paces()]
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=_BETAS, weight_decay=stage.weight_decay)
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(stage.average))
    prepared, optimizer = accelerator.prepare(module, optimizer)
    checkpoints = _Checkpoints(directions.folder / _CHECKPOINTS, accelerator, averaged)
    start = checkpoints.load()
    curve = _Curve(directions.folder / CURVE_FILE, start, accelerator)
    for step in range(start, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * group["pace"] * _warmed(step, stage)
        chosen = _share(_chosen(trainee.size, stage, directions, step), accelerator)
        jitter = torch.Generator().manual_seed(_seed(directions, f"jitter {step} {accelerator.process_index}"))
        batch = [part.to(accelerator.device) for part in trainee.batch(chosen, jitter)]
        losses: dict[str, Tensor] = prepared(*batch)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        accelerator.backward(total)
        accelerator.clip_grad_norm_(prepared.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        averaged.update_parameters(accelerator.unwrap_model(prepared))
        curve.add({name: float(value.detach()) for name, value in losses.items()})
        done = step + 1
        if done % stage.log_every == 0 or done == stage.steps:
            line = curve.write(done)
            if not all(np.isfinite(list(line.values()))):
                raise UsageError(f"{directions.name}: the losses are no numbers at step {done}: lower learning_rate")
            directions.watch(f"{directions.name} {done}/{stage.steps}  " + "  ".join(f"{k} {v:.4f}" for k, v in line.items()))
        if done % stage.checkpoint_every == 0 or done == stage.steps:
            checkpoints.save(done)
            if directions.look is not None and accelerator.is_main_process:
                found = directions.look(done, averaged.module)
                directions.watch(f"{directions.name} {done}  " + "  ".join(f"{k} {v:.4f}" for k, v in found.items()))
    averaged.module.eval()
    return averaged.module


class _Checkpoints:
    """Folders of a stage's state, each there whole or not at all."""

    def __init__(self, folder: Path, accelerator: Accelerator, averaged: AveragedModel) -> None:
        self._folder = folder
        self._accelerator = accelerator
        accelerator.register_for_checkpointing(averaged)

    def load(self) -> int:
        """Take up the last one; its step, 0 if there is none."""
        found = self._whole()
        if not found:
            return 0
        self._accelerator.load_state(str(found[-1]))
        return int(found[-1].name)

    def save(self, step: int) -> None:
        """Write one and forget those before the last but one."""
        part = self._folder / f"{step:08d}.part"
        if self._accelerator.is_main_process:
            shutil.rmtree(part, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(part), safe_serialization=True)
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            part.rename(part.with_suffix(""))
            for old in self._whole()[:-_KEPT]:
                shutil.rmtree(old)

    def _whole(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("[0-9]*") if not path.suffix)


class _Curve:
    """The losses, averaged between the lines of a file."""

    def __init__(self, path: Path, start: int, accelerator: Accelerator) -> None:
        self._path = path
        self._accelerator = accelerator
        self._since: list[dict[str, float]] = []
        if accelerator.is_main_process:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            kept = [line for line in lines if json.loads(line)["step"] <= start]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, losses: dict[str, float]) -> None:
        self._since.append(losses)

    def write(self, step: int) -> dict[str, float]:
        """One line for the steps since the last one."""
        line = {name: float(np.mean([losses[name] for losses in self._since])) for name in self._since[0]}
        self._since = []
        if self._accelerator.is_main_process:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **line}) + "\n")
        return line


def _warmed(step: int, stage: Stage) -> float:
    """Factor on the learning rate: up in a line over the warm-up, down in a line to nothing at the last step."""
    warm = max(1, round(stage.warmup * stage.steps))
    return min((step + 1) / warm, (stage.steps - step) / max(1, stage.steps - warm))


def _chosen(size: int, stage: Stage, directions: Directions, step: int) -> NDArray[np.intp]:
    """Numbers of a step's examples: every epoch is a permutation of all of them."""
    numbers = np.arange(step * stage.batch, (step + 1) * stage.batch)
    chosen = np.empty(len(numbers), np.intp)
    for epoch in np.unique(numbers // size):
        within = numbers // size == epoch
        chosen[within] = _order(size, _seed(directions, f"epoch {epoch}"))[numbers[within] % size]
    return chosen


@lru_cache(maxsize=2)
def _order(size: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(size)


def _share(chosen: NDArray[np.intp], accelerator: Accelerator) -> NDArray[np.intp]:
    """This rank's part of a batch."""
    return np.split(chosen, accelerator.num_processes)[accelerator.process_index]


def _seed(directions: Directions, purpose: str) -> int:
    return int.from_bytes(sha256(f"{directions.seed} {directions.name} {purpose}".encode()).digest()[:7], "little")
