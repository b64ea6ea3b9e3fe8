"""Which rows are released, in which split, and why the others are not: each row that stays out is counted under one reason.

Only columns without pictures are read. What is kept in memory is one byte of each row and one name of each subject.
"""

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA, Reason, Status
from normpipe.release.document import ReleaseDocument, split_place
from normpipe.release.keys import Kind, Names, dataset_word, spelled
from normpipe.release.runs import SourceRun
from normpipe.release.words import counted
from normpipe.shards.reader import open_part

Codes = NDArray[np.int16]
"""For each row of a part the number of its split, -1 where it stays out."""

Found = tuple[str | None, str | None]
"""Pseudonyms of a subject and of a sample that are among the withdrawn ones, None where that one is not."""

UNDIVIDED = "train"
"""The split of rows that have none, as the tools of the hubs call a set that is not divided."""

_COMMON = {
    "": UNDIVIDED,
    "all": UNDIVIDED,  # a word that the library `datasets` keeps for itself
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
_SPLITS = {UNDIVIDED, "validation", "test"}
_NAME_LETTERS = 4  # shorter ones are found in any word
_UNFIT = re.compile(r"\W+", re.ASCII)
_OUT = -1
PURGED = "withdrawn"
"""Why a row stays out whose person was taken out of the run (`normpipe purge`)."""
_MOST_SPLITS = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """Filters by columns of numbers: rows below `minimum`, above `maximum` or without a value stay out."""

    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Make sure that the columns can be compared.

        Raises:
            UsageError: naming the first that cannot.
        """
        numbers = [each.name for each in PAIRS_SCHEMA if pa.types.is_floating(each.type) or pa.types.is_integer(each.type)]
        for flag, limits in (("--min", self.minimum), ("--max", self.maximum)):
            for name in limits:
                if name not in numbers:
                    near = difflib.get_close_matches(name, numbers, 1)
                    hint = f"is {near[0]} meant?" if near else "docs/normalize.md lists the columns"
                    raise UsageError(f"{flag} {name}: not a column of numbers; {hint}")


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """Pseudonyms (see Names.tombstone) of subjects and samples that stay out."""

    subjects: frozenset[str] = frozenset()
    samples: frozenset[str] = frozenset()

    @classmethod
    def told(cls, document: ReleaseDocument) -> "Withdrawals":
        """Those that a release.json tells of."""
        return cls(frozenset(document.withdrawn.subjects), frozenset(document.withdrawn.samples))

    def __or__(self, other: "Withdrawals") -> "Withdrawals":
        return Withdrawals(self.subjects | other.subjects, self.samples | other.samples)

    def find(self, subject: str | None, sample: str | None) -> Found:
        """Which of a row's two pseudonyms are among them; None for the other."""
        return subject if subject in self.subjects else None, sample if sample in self.samples else None


NOBODY = Withdrawals()


@dataclass(slots=True)
class Selection:
    """What is released.

    Attributes:
        splits: Names of the splits, in their order.
        codes: By run and part, the split of each row.
        rows: By split.
        subjects: By split, tombstones of the subjects.
        exclusions: Rows that stay out, by reason.
        datasets: By run, the datasets that released rows are of.
        withdrawn: Rows that stay out because their subject or sample was withdrawn, by the pseudonyms that were found.
        returned: Rows that are released although the release before took their subject or sample out.
    """

    splits: list[str]
    codes: list[list[Codes]]
    rows: dict[str, int]
    subjects: dict[str, set[str]]
    exclusions: dict[str, int]
    datasets: list[list[str | None]]
    withdrawn: Counter[Found]
    returned: int

    @property
    def shared_subjects(self) -> int:
        """Subjects that are in several splits."""
        counts = Counter(subject for subjects in self.subjects.values() for subject in subjects)
        return sum(count > 1 for count in counts.values())


def split_name(word: str | None) -> str:
    """The split of a row by its manifest's word: small letters, digits and `_`, common abbreviations written out.

    >>> split_name("Val"), split_name("fold 1"), split_name(None)
    ('validation', 'fold_1', 'train')
    """
    plain = _UNFIT.sub("_", (word or "").strip().lower()).strip("_")
    return _COMMON.get(plain, plain)


def datasets_of(runs: Sequence[SourceRun]) -> dict[str | None, bool]:
    """The words of the column dataset, and whether a row of it succeeded, since of others nothing is released."""
    found: dict[str | None, bool] = {}
    for run in runs:
        for part in run.parts:
            with open_part(part) as file:
                rows = file.read(columns=["dataset", "status"])
                done = set(rows["dataset"].filter(pc.equal(rows["status"], Status.OK.value)).unique().to_pylist())
                for word in rows["dataset"].unique().to_pylist():
                    found[word] = found.get(word, False) or word in done
    return found


def select(
    runs: Sequence[SourceRun], limits: Limits, withdrawals: Withdrawals, names: Names, earlier: Withdrawals = NOBODY
) -> Selection:
    """Decide about every row of the runs.

    Args:
        runs: What the release is made of.
        limits: Filters.
        withdrawals: Who and what stays out.
        names: Pseudonyms.
        earlier: Who and what stayed out of the release before; rows of theirs that are in this one are counted.

    Raises:
        UsageError: a filter names no column of numbers, two runs hold the same sample, or nothing is left.
    """
    limits.check()
    choice = _Choice(limits, withdrawals, names, earlier)
    codes = []
    for run in runs:
        choice.datasets.append(set())
        codes.append([choice.part(part) for part in run.parts])
    choice.check_unique()
    if not any(choice.rows.values()):
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(choice.exclusions.items()))
        raise UsageError(f"no row is left to release ({reasons})")
    pending = sum(run.plan.rows - run.frames for run in runs)
    if pending:
        choice.exclusions["partial:pending"] += pending
    used = sorted((name for name, rows in choice.rows.items() if rows), key=split_place)
    choice.check_splits(used)
    renumbered = np.full(len(choice.rows) + 1, _OUT, np.int16)  # the last one stands for rows that stay out
    for old, name in enumerate(choice.rows):
        renumbered[old] = used.index(name) if name in used else _OUT
    return Selection(
        splits=used,
        codes=[[renumbered[part] for part in run] for run in codes],
        rows={name: choice.rows[name] for name in used},
        subjects={name: choice.subjects[name] for name in used},
        exclusions=dict(sorted(choice.exclusions.items())),
        datasets=[sorted(found, key=lambda name: name or "") for found in choice.datasets],
        withdrawn=choice.withdrawn,
        returned=choice.returned,
    )


class _Choice:
    """The rows seen so far."""

    def __init__(self, limits: Limits, withdrawals: Withdrawals, names: Names, earlier: Withdrawals) -> None:
        self._limits = limits
        self._withdrawals = withdrawals
        self._names = names
        self._earlier = earlier
        self._tombstones: dict[tuple[str | None, str], str] = {}
        self._seen: list[NDArray[np.int64]] = []
        self.rows: dict[str, int] = {}
        self.subjects: dict[str, set[str]] = {}
        self.exclusions: Counter[str] = Counter()
        self.datasets: list[set[str | None]] = []
        self.withdrawn: Counter[Found] = Counter()
        self.returned = 0

    def part(self, path: Path) -> Codes:
        """Decide about the rows of one part of the last run in `datasets`."""
        filters = [*self._limits.minimum, *self._limits.maximum]
        columns = ["sample_id", "face_index", "dataset", "subject", "split", "status", "reason", *filters]
        with open_part(path) as file:
            table = file.read(columns=list(dict.fromkeys(columns))).combine_chunks()
        out: list[str | None] = [
            None if status == Status.OK else PURGED if reason == Reason.WITHDRAWN else f"failed:{reason}"
            for status, reason in zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True)
        ]
        datasets, subjects = table["dataset"].to_pylist(), table["subject"].to_pylist()
        samples = table["sample_id"].to_pylist()
        tombstones = [
            None if subject is None else self._tombstone(dataset, subject)
            for dataset, subject in zip(datasets, subjects, strict=True)
        ]
        stills = self._stills(datasets, samples)
        self._withdraw(out, tombstones, stills)
        self._limit(out, table)
        kept = [row for row, reason in enumerate(out) if reason is None]
        faces = table["face_index"].to_pylist()
        keys = (hash((dataset_word(datasets[row] or ""), spelled(samples[row]), faces[row])) for row in kept)
        self._seen.append(np.fromiter(keys, np.int64, len(kept)))
        codes = np.full(len(out), _OUT, np.int16)
        numbers = {name: number for number, name in enumerate(self.rows)}
        for row, (reason, word) in enumerate(zip(out, table["split"].to_pylist(), strict=True)):
            if reason is not None:
                self.exclusions[reason] += 1
                continue
            name = split_name(word)
            self.rows[name] = self.rows.get(name, 0) + 1
            found = self.subjects.setdefault(name, set())
            if (tombstone := tombstones[row]) is not None:
                found.add(tombstone)
            self.returned += any(self._earlier.find(tombstone, stills[row]))
            self.datasets[-1].add(datasets[row])
            codes[row] = numbers.setdefault(name, len(numbers))
        if len(self.rows) > _MOST_SPLITS:
            raise UsageError(f"the column split has more than {_MOST_SPLITS} words; it names sets like train and test")
        return codes

    def _tombstone(self, dataset: str | None, subject: str) -> str:
        key = dataset, subject
        if key not in self._tombstones:
            self._tombstones[key] = self._names.tombstone(Kind.SUBJECT, dataset, subject)
        return self._tombstones[key]

    def _stills(self, datasets: Sequence[str | None], samples: Sequence[str]) -> Sequence[str | None]:
        """Tombstones of the samples, where any sample was ever withdrawn."""
        if not self._withdrawals.samples and not self._earlier.samples:
            return [None] * len(samples)
        return [self._names.tombstone(Kind.SAMPLE, *of) for of in zip(datasets, samples, strict=True)]

    def _withdraw(self, out: list[str | None], subjects: Sequence[str | None], samples: Sequence[str | None]) -> None:
        for row, names in enumerate(zip(subjects, samples, strict=True)):
            found = self._withdrawals.find(*names)
            if any(found):
                self.withdrawn[found] += 1
                out[row] = out[row] or ("excluded:subject" if found[0] else "excluded:sample")

    def _limit(self, out: list[str | None], table: pa.Table) -> None:
        for limits, sign in ((self._limits.minimum, "<"), (self._limits.maximum, ">")):
            for name, limit in limits.items():
                values = np.asarray(table[name].to_numpy(), np.float64)
                bad = (values < limit) if sign == "<" else (values > limit)
                for row in np.flatnonzero(bad | np.isnan(values)).tolist():
                    out[row] = out[row] or (f"filter:{name}{sign}{limit:g}" if bad[row] else f"filter:{name} not measured")

    def check_splits(self, names: Sequence[str]) -> None:
        """Splits name files and stand in every text of the release, so that they must not name people.

        Raises:
            UsageError: one does.
        """
        own = [name for name in names if name not in _SPLITS]
        people = {split_name(subject) for _, subject in self._tombstones}
        if any(person in name for name in own for person in people if len(person) >= _NAME_LETTERS):
            raise UsageError("a word of the column split holds a subject's name, and would name files; give splits other words")

    def check_unique(self) -> None:
        """Two rows of one sample and face, from two runs of one dataset, could not be told apart by whoever loads them.

        Raises:
            UsageError: there are such rows.
        """
        seen = np.concatenate(self._seen)
        doubled = len(seen) - len(np.unique(seen))
        if doubled:
            raise UsageError(
                f"{counted(doubled, 'row')} of the runs with the sample and face of another; release runs of different samples"
            )
