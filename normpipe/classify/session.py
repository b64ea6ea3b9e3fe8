"""Everything from a training file to a folder of classifiers: the folds of a protocol, one after the other.

    OUT/training.json               what OUT was begun with
    OUT/FOLD/curve.jsonl            losses by step, the validation rows' metric by epoch
    OUT/FOLD/best, last             classifiers with the averaged weights of the best epoch and of the last one
    OUT/FOLD/predictions.parquet    what both say of validation and test rows
    OUT/FOLD/scores.json            what that is worth; written last, so a fold that has it is done
    OUT/scores.json                 the same over all folds

The best epoch is the best one on the validation rows; without any it is the last one. Test rows decide about nothing.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from normpipe.audit.document import document_bytes
from normpipe.audit.groups import Floats
from normpipe.classify.board import require_board
from normpipe.classify.config import ClassifierTraining
from normpipe.classify.folds import Fold
from normpipe.classify.initial import initial_network, weights_digest
from normpipe.classify.material import Material, read_material, trained_card
from normpipe.classify.networks.build import Network
from normpipe.classify.predictions import PREDICTIONS_FILE, read_scores, write_predictions
from normpipe.classify.ranks import Ranks
from normpipe.classify.results import (
    BEST,
    LAST,
    SCORES_FILE,
    TEST,
    Result,
    fold_document,
    headline,
    judged_sides,
    protocol_document,
)
from normpipe.classify.saved import SavedClassifier, save_classifier
from normpipe.classify.steady import steady
from normpipe.classify.training import AVERAGES_FOLDER, Lesson, train
from normpipe.engine.fingerprint import Fingerprint, flatten
from normpipe.engine.lock import locked
from normpipe.engine.threads import limit_libraries
from normpipe.shards.atomic import remove_leftovers, write_bytes
from normpipe.training.begun import begin, refuse_another
from normpipe.training.checkpoints import CHECKPOINTS_FOLDER

TRAINING_FILE = "training.json"


@dataclass(frozen=True, slots=True)
class Means:
    """With what to train; decides about no weight but by rounding.

    Attributes:
        device: `cpu` or `cuda`.
        watch: Told what happens, a line each time.
        takeover: Take OUT over from a training that gives no sign of life, where the file system has no locks.
    """

    device: str
    watch: Callable[[str], None]
    takeover: bool = False


def train_classifiers(training: ClassifierTraining, out: Path, means: Means, fold: str | None = None) -> Path:
    """Train a classifier for every fold of the protocol, or go on with it; what is done is not done again.

    Started by several ranks (torchrun, `accelerate launch`, launch.py), each of them calls this.

    Args:
        training: Of what, on what, how long.
        out: Folder of all that belongs to the training.
        means: With what.
        fold: The only fold to train.

    Returns:
        OUT/scores.json, or OUT/FOLD/scores.json if one fold alone was asked for.

    Raises:
        ModelUnavailableError: there is no CUDA device, or a package or first weights are missing.
        IncompatibleRunError: OUT was begun with another configuration or other data, or another training is writing there.
        UsageError: data, protocol and network do not fit together, a file in OUT is damaged, or losses are no numbers any more.
        NormpipeError: a rank or a loader worker died, or memory is short.
    """
    limit_libraries()
    with steady(means.device, training.threads), ExitStack() as stack:
        ranks = Ranks(training.precision, means.device)
        session = _Session(training, out, means, ranks)  # before OUT is made: what cannot be trained leaves nothing behind
        names = list(session.material.folds) if fold is None else [session.material.fold(fold).name]
        if ranks.main:
            stack.enter_context(locked(out, means.takeover))
        session.begin()
        for name in names:
            session.train(session.material.folds[name])
        return session.judge() if fold is None else out / fold / SCORES_FILE


class _Session:
    """One training in its folder."""

    def __init__(self, training: ClassifierTraining, out: Path, means: Means, ranks: Ranks) -> None:
        if training.tensorboard:
            require_board()
        self.material: Material = read_material(training)
        self._training = training
        self._out = out
        self._means = means
        self._ranks = ranks
        first = initial_network(training, self.material.protocol.space)
        parts = self.material.fingerprint(training.arm)
        if training.pretrained is not None:
            parts["pretrained"] = weights_digest(first)
        protocol = self.material.protocol.model_dump(mode="json", exclude={"sources", "note"})
        parts |= dict(flatten({**training.deciding(), "protocol": protocol}, "config"))
        self._fingerprint = Fingerprint(parts)

    def begin(self) -> None:
        """Make sure that OUT was begun with this, or begin it.

        Raises:
            IncompatibleRunError: it was begun with something else; the message names what.
        """
        file = self._out / TRAINING_FILE
        refuse_another(file, self._fingerprint, f"{self._out.name}:")
        if self._ranks.main:
            remove_leftovers(self._out)
            begin(file, self._fingerprint)
        self._ranks.wait()

    def train(self, fold: Fold) -> None:
        """Bring a fold to its end, if it is not there."""
        folder = self._out / fold.name
        done = (folder / SCORES_FILE).exists()
        self._ranks.wait()  # all have looked before one can write it
        if not done:
            self._say(
                f"{fold.name}: {len(fold.train)} rows to train on, {len(fold.validation)} to watch, {len(fold.test)} to test"
            )
            constant = self.material.constant(fold)
            if constant:
                self._say(f"{fold.name}: nothing to learn of {', '.join(constant)}: alike in all rows to train on, or unknown")
            lesson = Lesson(self._training, self.material, fold, folder, self._ranks, self._means.watch)
            network = initial_network(self._training, self.material.protocol.space)
            train(lesson, network)
            self._finish(lesson, network)
        if self._ranks.main:
            remove_leftovers(folder)
            for name in (CHECKPOINTS_FOLDER, AVERAGES_FOLDER):
                shutil.rmtree(folder / name, ignore_errors=True)

    def judge(self) -> Path:
        """Write the scores over all folds."""
        target = self._out / SCORES_FILE
        if self._ranks.main:
            folds = list(self.material.folds.values())
            scores: dict[str, list[Floats]] = {
                name: [read_scores(self._out / fold.name / PREDICTIONS_FILE, TEST, name) for fold in folds]
                for name in (BEST, LAST)
            }
            found = protocol_document(self.material, scores, self._training.draws, self._training.seed)
            write_bytes(target, document_bytes(found))
            self._say(f"{self.material.protocol.name}: {headline(found, BEST)}")
        return target

    def _finish(self, lesson: Lesson, network: Network) -> None:
        """Let both networks of a fold read the rows that it did not learn from, and write what there is to keep."""
        fold, space, last = lesson.fold, self.material.protocol.space, self._training.epochs
        epochs = {BEST: lesson.best_epoch() or last, LAST: last}
        results = [self._result(lesson, network, name, epoch) for name, epoch in epochs.items()]
        if not self._ranks.main:
            return
        found = fold_document(self.material, fold, results, self._training.draws, self._training.seed)
        network.cpu()
        for name, epoch in epochs.items():
            lesson.take_weights(network, epoch)
            saved = SavedClassifier(self._training.arm, self._training.size, space)
            figures = f"{fold.name} of the protocol {self.material.protocol.name}: {headline(found, name)}, epoch {epoch}"
            save_classifier(lesson.folder / name, network, saved, trained_card(self._training, self.material, fold, figures))
        write_predictions(lesson.folder / PREDICTIONS_FILE, self.material, fold, results)
        write_bytes(lesson.folder / SCORES_FILE, document_bytes(found))
        self._say(f"{fold.name}: {headline(found, BEST)}")

    def _result(self, lesson: Lesson, network: Network, name: str, epoch: int) -> Result:
        lesson.take_weights(network, epoch)
        readings = {}
        for side, rows in judged_sides(lesson.fold).items():
            with lesson.loader(rows) as loader:
                readings[side] = lesson.read(network.eval(), loader, rows)
        return Result(name, epoch, readings)

    def _say(self, line: str) -> None:
        if self._ranks.main:
            self._means.watch(line)
