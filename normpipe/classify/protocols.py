"""Evaluation protocols: who trains and who is tested, on which labels, by which metric. Files, so that figures can be compared.

A protocol says what a published figure leaves to its reader: the people of each fold, the intensity from which an action unit
counts as shown, the threshold. Those in `manifests/` name where their lists were published; lists that cannot be read there are
absent, and asking for them says so. Others are files of the user's own, with the same keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from normpipe.classify.labels import LabelSpace, Task, label_columns
from normpipe.classify.metrics import METRICS, THRESHOLD, Metric
from normpipe.config import Section, load_document
from normpipe.errors import UsageError

PACKAGED = Path(__file__).parents[1] / "manifests"
"""Where a wheel holds the files; in a checkout they lie beside the package."""

_FOLDER = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "manifests"

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
_Dataset = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[tuple[_Word, ...], Field(min_length=1)]


class Reading(Section):
    """How a data set's labels are read: see `labels.targets`."""

    active_from: Annotated[float, Field(gt=0, le=5)] | None = None
    leave_out_other_emotions: bool = False


class Splits(Section):
    """Words of the column split for each set; without one for validation, it is taken from the training rows."""

    train: _Words
    test: _Words
    validation: tuple[_Word, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        words = (*self.train, *self.validation, *self.test)
        if len(set(words)) < len(words):
            raise ValueError("a word stands for two sets")
        return self


class KFold(Section):
    """Folds made of the subjects that there are, `k` of like size and like labels; another seed deals them anew."""

    k: Annotated[int, Field(ge=2, le=100)]
    seed: Annotated[int, Field(ge=0)] = 0


class Validation(Section):
    """Which training subjects are held out to watch the training: one in so many, or none if 0."""

    one_in: Annotated[int, Field(ge=0)] = 5
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.one_in == 1:
            raise ValueError("one in one leaves nobody to train on; 0 holds out nobody")
        return self


class Protocol(Section):
    """A protocol file. How rows are divided stands in one of parts and folds, splits, kfold and cross_dataset.

    Attributes:
        name: What results call it.
        task: What is learnt.
        labels: Names of the outputs, see LabelSpace.
        metric: The one that is compared.
        threshold: From which probability an action unit counts as found.
        sources: Addresses of what the file follows; none where nothing is published.
        note: What there is to know about it.
        datasets: Data sets whose rows take part, by the word in the column dataset; case and punctuation do not matter, and
            rows without a word are the only one's. Empty for all rows.
        leave_out_splits: Words of the column split whose rows take no part.
        parts: Subjects of each part.
        folds: The part that each fold tests; the other parts train.
        splits: One fold, by the column split.
        kfold: Folds made of the subjects.
        cross_dataset: Data sets that are tested, each by what was trained on all others.
        absent: Why there are no folds.
        validation: Taken from the training subjects, unless splits name one.
        partial: Go on where subjects of the lists are not in the data, or subjects or splits of the data not in the lists.
    """

    version: Literal[1] = 1
    name: _Name
    task: Task
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    metric: Metric
    threshold: Annotated[float, Field(gt=0, lt=1)] = THRESHOLD
    sources: tuple[Annotated[str, Field(pattern="^https://")], ...] = ()
    note: str = ""
    datasets: Mapping[_Dataset, Reading] = {}
    leave_out_splits: tuple[_Word, ...] = ()
    parts: Mapping[_Name, _Words] | None = None
    folds: Mapping[_Name, _Name] | None = None
    splits: Splits | None = None
    kfold: KFold | None = None
    cross_dataset: tuple[_Dataset, ...] | None = None
    absent: str | None = None
    validation: Validation = Validation()
    partial: bool = False

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        try:
            LabelSpace(self.task, self.labels)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if self.metric not in METRICS[self.task]:
            raise ValueError(f"metric: of the task {self.task} it is one of {', '.join(METRICS[self.task])}")
        if self.task is not Task.AU and any(reading.active_from is not None for reading in self.datasets.values()):
            raise ValueError("active_from: only the task au derives labels from intensities")
        return self

    @model_validator(mode="after")
    def _divided_once(self) -> Self:
        ways = (self.parts, self.splits, self.kfold, self.cross_dataset, self.absent)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of parts (with folds), splits, kfold, cross_dataset and absent")
        if (self.parts is None) != (self.folds is None):
            raise ValueError("parts and folds belong together: a fold names the part that it tests")
        return self

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        if self.parts is not None and self.folds is not None:
            subjects = [subject for part in self.parts.values() for subject in part]
            if len(set(subjects)) < len(subjects):
                raise ValueError("parts: a subject stands there twice")
            if len(self.parts) < 2 or not self.folds:
                raise ValueError("there must be two parts and one fold at least")
            if not set(self.folds.values()) <= set(self.parts):
                raise ValueError("folds: a fold tests one of the parts, by its name")
        if self.cross_dataset is not None and (len(self.datasets) < 2 or not set(self.cross_dataset) <= set(self.datasets)):
            raise ValueError("cross_dataset: name some of datasets, of which there must be two at least")
        return self

    @property
    def space(self) -> LabelSpace:
        """Task and labels."""
        return LabelSpace(self.task, self.labels)

    @property
    def label_columns(self) -> list[str]:
        """Columns that `folds.protocol_targets` needs of a table, besides those of `folds.Rows`."""
        readings = self.datasets.values() or [Reading()]
        columns = [label_columns(self.space, active_from=reading.active_from) for reading in readings]
        return list(dict.fromkeys(name for each in columns for name in each))


def protocol_names() -> list[str]:
    """Names of the protocols that ship, sorted."""
    return sorted(_shipped())


def load_protocol(name: str, overrides: Sequence[str] = ()) -> Protocol:
    """Read a protocol.

    Args:
        name: One of `protocol_names`, or the path of a file ending with .yaml.
        overrides: `key=value` each, e.g. "kfold.seed=1", of a training file's `protocol_keys`.

    Raises:
        UsageError: there is no such protocol, or the file is wrong; the message names file, line and key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _shipped().get(name)
    if path is None:
        raise UsageError(f"{name}: there is no such protocol; name one of {', '.join(protocol_names())}, or a .yaml file")
    return load_document(Protocol, path, overrides, "protocol file", "manifests/README.md", "protocol_keys")


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in _FOLDER.glob("*.yaml")}
