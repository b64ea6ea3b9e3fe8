"""The training of one fold's network: steps, the watch on the validation rows, checkpoints, and going on where it was stopped.

Nothing random is carried from step to step: what a step sees follows from seed, epoch and step, what is dropped from the
samples' keys, the learning rate from the step's number. So a checkpoint is weights, averages and moments, and a training that
was killed goes on along the same curve. Every rank computes a share of each batch; the sums of the losses and the gradients are
added up over the ranks, so that all take the same step as one alone would.

The averaged weights are what is watched and kept. The best epoch is chosen on the validation rows; test rows are never seen.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from normpipe.audit.groups import Indices
from normpipe.classify.board import BOARD_FOLDER, Board
from normpipe.classify.config import ClassifierTraining
from normpipe.classify.feed import Feed
from normpipe.classify.folds import Fold
from normpipe.classify.loader import Batch, Loader
from normpipe.classify.losses import Criterion, attached
from normpipe.classify.material import Material
from normpipe.classify.metrics import Metric
from normpipe.classify.networks.build import Network
from normpipe.classify.objective import label_weights
from normpipe.classify.ranks import Ranks
from normpipe.classify.readings import Readings, as_input, filled, read
from normpipe.classify.results import VALIDATION
from normpipe.classify.scores import Judged, evaluate
from normpipe.errors import NormpipeError, UsageError
from normpipe.shards.atomic import remove_leftovers
from normpipe.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints, loaded, write_tensors
from normpipe.training.curve import CURVE_FILE, CurveFile, curve_lines
from normpipe.training.pace import cycle

AVERAGES_FOLDER = "averaged"

EPOCH = "epoch"
_BETAS = (0.9, 0.98)
_LARGEST_GRADIENT = 1.0
_FALLING = frozenset({Metric.MSE, Metric.MAE})
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Lesson:
    """The training of one fold.

    Attributes:
        training: The training file.
        material: Rows and labels.
        fold: Which of them train, which are watched.
        folder: The fold's own; checkpoints and the curve come there.
        ranks: All of which do this together.
        watch: Told a line now and then.
    """

    training: ClassifierTraining
    material: Material
    fold: Fold
    folder: Path
    ranks: Ranks
    watch: Callable[[str], None]

    def feed(self, *, shuffled: bool) -> Feed:
        """Of the rows to train on, or to read as they stand."""
        one = self.training
        augmentation = one.augmentation if shuffled else None
        return Feed(
            arm=one.arm,
            size=one.size,
            batch=one.batch,
            seed=one.seed,
            augmentation=augmentation,
            shuffled=shuffled,
            window=one.window,
        )

    def loader(self, rows: Indices, *, shuffled: bool = False) -> Loader:
        """Of this rank's share of rows."""
        shards, truth = self.material.shards, self.material.truth
        return Loader(shards, truth, rows, self.feed(shuffled=shuffled), self.ranks.share, self.training.workers)

    def read(self, network: Network, loader: Loader, rows: Indices) -> Readings:
        """What a network says of rows, see readings.read."""
        return read(network, self.material.protocol.task, loader, rows, self.ranks)

    def averages_file(self, epoch: int) -> Path:
        """Of the averaged weights after an epoch, counted from 1: there for the best one and the last one."""
        return self.folder / AVERAGES_FOLDER / f"{epoch:06d}.safetensors"

    def take_weights(self, network: Network, epoch: int) -> None:
        """Give a network the averaged weights of an epoch; errors as of checkpoints.loaded."""
        network.load_state_dict(loaded(self.averages_file(epoch)))

    def best_epoch(self, until: int = _EVER) -> int | None:
        """The first one that is best on the validation rows, of those that end with a step or before; None without a value."""
        lines = curve_lines(self.folder / CURVE_FILE, until)
        values = [(int(line[EPOCH] or 0), line[VALIDATION]) for line in lines if VALIDATION in line]
        sign = -1 if self.material.protocol.metric in _FALLING else 1
        known = [(sign * value, -epoch) for epoch, value in values if value is not None]
        return -max(known)[1] if known else None


def train(lesson: Lesson, network: Network) -> None:
    """Train to the last epoch, from the last checkpoint if there is one.

    The curve has a line with the losses now and then, and at the end of every epoch one with the protocol's metric on the
    validation rows, null where that has no value.

    Args:
        lesson: What is learnt, and where.
        network: With its first weights.

    Raises:
        UsageError: losses are no numbers any more, a checkpoint is damaged, a picture cannot be read, or the ranks do not see
            the same folder.
        NormpipeError: another rank or a loader worker has ended, or memory is short.
    """
    with lesson.loader(lesson.fold.train, shuffled=True) as loader, _watched(lesson) as watched:
        _Fit(lesson, network, loader, watched).go()


@contextmanager
def _watched(lesson: Lesson) -> Iterator[Loader | None]:
    """Loader of the validation rows; None where there are none."""
    if not len(lesson.fold.validation):
        yield None
        return
    with lesson.loader(lesson.fold.validation) as loader:
        yield loader


class _Fit:
    """One training on its way."""

    def __init__(self, lesson: Lesson, network: Network, loader: Loader, watched: Loader | None) -> None:
        training, ranks = lesson.training, lesson.ranks
        self._lesson = lesson
        self._training = training
        self._ranks = ranks
        self._loader = loader
        self._watched = watched
        self._steps = training.epochs * len(loader)
        self._network = network.train()
        nn.Module.to(network, ranks.device)  # in place
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=training.learning_rate, betas=_BETAS, weight_decay=training.weight_decay
        )
        kept = get_ema_multi_avg_fn(training.average)  # type: ignore[no-untyped-call]  # torch gives it no types
        self._averaged = AveragedModel(network, multi_avg_fn=kept).eval()
        own, task = lesson.material.truth.taken(lesson.fold.train), lesson.material.protocol.task
        self._criterion = Criterion(task, training.objective, torch.from_numpy(label_weights(task, own)))
        folder = lesson.folder / CHECKPOINTS_FOLDER
        self._checkpoints = Checkpoints(folder, self._network, self._averaged, self._optimizer)
        self._start = self._checkpoints.load()
        if not ranks.agree(self._start):
            raise UsageError(f"{lesson.folder.parent.name}: not all ranks see what is in it; choose an OUT on a shared disk")
        ranks.wait()  # nobody reads any more
        self._curve = CurveFile(lesson.folder / CURVE_FILE, self._start) if ranks.main else None
        board = lesson.folder / BOARD_FOLDER
        self._board = Board(board, self._start) if ranks.main and training.tensorboard else None

    def go(self) -> None:
        """All epochs that are left."""
        for epoch in range(self._start // len(self._loader), self._training.epochs):
            self._learn(epoch)
            self._look(epoch)
        if self._board is not None:
            self._board.close()
        self._ranks.wait()  # nobody reads the curve before its last line

    def _learn(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        training, length = self._training, len(self._loader)
        first = max(self._start - epoch * length, 0)
        since: list[Tensor] = []
        for done, batch in enumerate(self._loader.batches(epoch, first), first + 1):
            step = epoch * length + done
            losses = self._step(step, batch)
            since.append(torch.stack([loss.detach().double() for loss in losses.values()]))
            if done % training.log_every == 0 or done == length:
                line = dict(zip(losses, torch.stack(since).mean(dim=0).tolist(), strict=True))
                since = []
                if not all(map(math.isfinite, line.values())):
                    raise UsageError(
                        f"{self._lesson.fold.name}: the losses are no numbers at step {step}: lower the learning_rate"
                    )
                self._note(step, {EPOCH: epoch + 1, **line})
                told = "  ".join(f"{name} {value:.4f}" for name, value in line.items())
                self._say(epoch, f"step {done}/{length}  {told}")
            if done % training.checkpoint_every == 0 and done < length and self._ranks.main:
                self._checkpoints.save(step)

    def _step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One step; the losses of the whole batch before it."""
        seen = filled(batch).to(self._ranks.device)
        try:
            with self._ranks.autocast():
                prediction = self._network(as_input(seen.pictures), seen.keys)
            own = self._criterion.sums(prediction, seen.values, seen.known, seen.weights)
            if not len(batch):
                own = {name: 0 * part for name, part in own.items()}
            losses = self._criterion.losses(attached(self._ranks.summed(own), own))
            self._optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        except torch.OutOfMemoryError as error:
            raise NormpipeError("a batch does not fit on the device: lower batch or size, or use more ranks") from error
        self._ranks.sum_gradients(self._weights)
        nn.utils.clip_grad_norm_(self._weights, _LARGEST_GRADIENT)
        pace = cycle(step - 1, self._steps, self._training.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = self._training.learning_rate * pace
        self._optimizer.step()
        self._averaged.update_parameters(self._network)
        return losses

    def _look(self, epoch: int) -> None:
        """The end of an epoch: how the averaged weights do on the validation rows, and a checkpoint."""
        lesson, rows = self._lesson, self._lesson.fold.validation
        value: float | None = None
        if self._watched is not None:
            found = lesson.read(cast("Network", self._averaged.module), self._watched, rows)
            value = _value(lesson, found, rows) if self._ranks.main else None
        step = (epoch + 1) * len(self._loader)
        self._note(step, {EPOCH: epoch + 1, VALIDATION: value})
        if value is not None:
            self._say(epoch, f"{VALIDATION} {lesson.material.protocol.metric} {value:.4f}")
        if self._ranks.main:
            if epoch + 1 in {lesson.best_epoch(step), self._training.epochs}:
                file = lesson.averages_file(epoch + 1)
                file.parent.mkdir(exist_ok=True)
                write_tensors(file, self._averaged.module.state_dict())
            self._checkpoints.save(step)
            _forget_others(lesson, self._checkpoints.steps())

    def _note(self, step: int, line: dict[str, float | None] | dict[str, float]) -> None:
        if self._curve is not None:
            self._curve.append(step, line)
        if self._board is not None:
            self._board.add(step, line)

    def _say(self, epoch: int, line: str) -> None:
        if self._ranks.main:
            self._lesson.watch(f"{self._lesson.fold.name} epoch {epoch + 1}/{self._training.epochs}  {line}")


def _value(lesson: Lesson, found: Readings, rows: Indices) -> float | None:
    """The protocol's metric on rows."""
    material = lesson.material
    protocol = material.protocol
    judged = Judged(material.truth.taken(rows), material.units[rows])
    score = evaluate(protocol.space, [found.scores], judged, threshold=protocol.threshold).scores[protocol.metric].overall
    return None if score is None else score.value


def _forget_others(lesson: Lesson, steps: Sequence[int]) -> None:
    """Keep the averages of the epochs that were best as of the checkpoints that are there."""
    best = {lesson.best_epoch(step) for step in steps} | {lesson.training.epochs}
    kept = {lesson.averages_file(epoch) for epoch in best if epoch is not None}
    folder = lesson.folder / AVERAGES_FOLDER
    remove_leftovers(folder)
    for file in folder.glob("*.safetensors"):
        if file not in kept:
            file.unlink()
