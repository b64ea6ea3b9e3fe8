"""Folds: which rows train, watch the training and are tested, as a protocol says; no subject is in two of the sets.

Rows are kept apart by subject, since frames of one person are near-copies. Where a protocol divides by the column split alone,
a row without a subject stands for itself. Made folds depend on the names of subjects and on the seed, not on the order of rows.
Messages give counts, and names that the protocol itself holds: those of the data belong to whoever has them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normpipe.audit.groups import UNKNOWN, Doubles, Groups, Indices, Mask, Names
from normpipe.classify.labels import Targets, targets
from normpipe.classify.protocols import Protocol, Reading
from normpipe.errors import UsageError

ROW_COLUMNS = ("sample_id", "dataset", "subject", "split")
"""Columns of PAIRS_SCHEMA that `Rows` takes."""

_MANY = 2000
_FEW = 3
_SEPARATOR, _SAMPLE = "\x1f", "\x1e"


@dataclass(frozen=True, slots=True)
class Rows:
    """Whose n rows they are, `UNKNOWN` where null.

    Attributes:
        sample_ids: (n,).
        datasets: (n,).
        subjects: (n,).
        splits: (n,).
    """

    sample_ids: Names
    datasets: Names
    subjects: Names
    splits: Names

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """From ROW_COLUMNS of a table."""
        return cls(*(_names(table[name]) for name in ROW_COLUMNS))

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers, ascending.

    Attributes:
        name: Of the fold.
        train: Rows to learn from.
        validation: Rows to watch the training on; empty if the protocol holds none out.
        test: Rows to judge.
    """

    name: str
    train: Indices
    validation: Indices
    test: Indices


@dataclass(frozen=True, slots=True)
class Coverage:
    """How data and a protocol meet.

    Attributes:
        rows: Rows that take part: of its data sets, with a label of its own.
        unlabelled: Rows of its data sets without one.
        others: Rows of other data sets, or of splits that it leaves out.
        listed: Subjects of its lists, 0 without lists.
        missing: Of these, subjects without a row that takes part.
        unlisted: Subjects of the data that its lists do not have.
        unsplit: Rows whose split it does not name.
    """

    rows: int
    unlabelled: int
    others: int
    listed: int
    missing: int
    unlisted: int
    unsplit: int


def units(protocol: Protocol, rows: Rows) -> Names:
    """(n,) names of what is independent: subjects, told apart by data set, or samples where there is no subject."""
    people = rows.subjects
    if len(protocol.datasets) != 1:
        words, index = np.unique(rows.datasets, return_inverse=True)
        plain = np.array([_plain(word) for word in words.tolist()], np.str_)
        people = np.char.add(np.char.add(plain[index], _SEPARATOR), people)
    return np.where(rows.subjects == UNKNOWN, np.char.add(_SAMPLE, rows.sample_ids), people)


def protocol_targets(protocol: Protocol, table: pa.Table) -> Targets:
    """The labels of a table, each data set's read as the protocol says; unknown in rows of other data sets.

    Args:
        protocol: What to read.
        table: n rows with ROW_COLUMNS and `protocol.label_columns`.

    Raises:
        UsageError: a label cannot be right.
    """
    rows, space = Rows.of(table), protocol.space
    values, known = np.zeros((len(rows), len(space)), np.float32), np.zeros((len(rows), len(space)), np.bool_)
    weights = np.ones(len(rows), np.float32)
    labels = table.select(protocol.label_columns)
    for name, reading in (protocol.datasets or {"": Reading()}).items():
        own = np.flatnonzero(_of_dataset(protocol, rows, name))
        found = targets(
            labels.take(own),
            space,
            active_from=reading.active_from,
            leave_out_other_emotions=reading.leave_out_other_emotions,
        )
        values[own], known[own], weights[own] = found.values, found.known, found.weights
    return Targets(values, known, weights)


def coverage(protocol: Protocol, rows: Rows, truth: Targets) -> Coverage:
    """Count what takes part and what does not."""
    member, taking = _taking_part(protocol, rows, truth)
    listed = {subject for part in (protocol.parts or {}).values() for subject in part}
    found = set(np.unique(rows.subjects[taking]).tolist()) - {UNKNOWN}
    words = _split_words(protocol)
    return Coverage(
        rows=int(taking.sum()),
        unlabelled=int((member & ~taking).sum()),
        others=int((~member).sum()),
        listed=len(listed),
        missing=len(listed - found),
        unlisted=len(found - listed) if listed else 0,
        unsplit=int((~np.isin(rows.splits[taking], words)).sum()) if words else 0,
    )


def folds(protocol: Protocol, rows: Rows, truth: Targets) -> list[Fold]:
    """Divide the rows that have a label.

    Args:
        protocol: How.
        rows: n rows.
        truth: Their labels, from `protocol_targets`.

    Returns:
        The protocol's folds, in its order. Rows of other data sets and without any label are in none.

    Raises:
        UsageError: the protocol has no lists; data and lists do not fit (subjects or splits that only one of them has, unless
            `partial`); rows without a subject where it is needed; a subject in two sets; nothing to train on or to test.
    """
    if protocol.absent is not None:
        raise UsageError(f"{protocol.name}: there are no folds: {protocol.absent}")
    _, taking = _taking_part(protocol, rows, truth)
    _refuse_misfit(protocol, rows, taking, coverage(protocol, rows, truth))
    people, amounts = Groups.of(units(protocol, rows)), _amounts(truth)
    found = []
    for name, train, validation, test in _divided(protocol, rows, taking, people, amounts):
        if not train.any() or not test.any():
            raise UsageError(_without_rows(protocol, name, "test" if train.any() else "train on"))
        own = _held_out(protocol, train, people, amounts) if validation is None else validation
        sets = (train & ~own, own, test)
        _refuse_shared(protocol, name, people, sets)
        found.append(Fold(name, *(np.flatnonzero(each) for each in sets)))
    return found


def dealt(amounts: Doubles, hands: int, seed: int) -> Indices:
    """(u,) hand of each of u units, such that hands have like numbers of units and like amounts of everything.

    Units are dealt in rounds, one to each hand, large ones first; each goes to the free hand where it adds least to the sum of
    the squared totals, that is, to the one that has least of what it brings. The idea is that of iterative stratification
    (Sechidis, Tsoumakas, Vlahavas, On the stratification of multi-label data, ECML PKDD 2011), over groups of rows. Thousands
    of units need no such care: they are dealt in the order of what they bring.

    Args:
        amounts: (u, a) of what is to be spread, at least 0; each column counts equally.
        hands: At most u.
        seed: Of the order within rounds.
    """
    random = np.random.default_rng(seed)
    hand = np.empty(len(amounts), np.intp)
    if len(amounts) > _MANY:
        rounds = random.permuted(np.tile(np.arange(hands), (len(amounts) // hands + 1, 1)), axis=1)
        hand[np.lexsort((random.permutation(len(amounts)), *amounts.T))] = rounds.ravel()[: len(amounts)]
        return hand
    shares = amounts / np.maximum(amounts.sum(axis=0), np.finfo(np.float64).tiny)
    order = np.lexsort((random.permutation(len(shares)), -shares.sum(axis=1)))
    totals = np.zeros((hands, shares.shape[1]))
    for start in range(0, len(order), hands):
        free = np.zeros(hands)
        for unit in random.permutation(order[start : start + hands]):
            chosen = int(np.argmin(totals @ shares[unit] + free))
            hand[unit] = chosen
            totals[chosen] += shares[unit]
            free[chosen] = np.inf
    return hand


Division = tuple[str, Mask, Mask | None, Mask]
"""Name, and (n,) rows to train, to validate (None: to be taken from the former) and to test."""


def _divided(protocol: Protocol, rows: Rows, taking: Mask, people: Groups, amounts: Doubles) -> list[Division]:
    if protocol.parts is not None and protocol.folds is not None:
        part = {name: taking & np.isin(rows.subjects, subjects) for name, subjects in protocol.parts.items()}
        listed = np.logical_or.reduce(list(part.values()))
        return [(name, listed & ~part[tested], None, part[tested]) for name, tested in protocol.folds.items()]
    if protocol.splits is not None:
        splits = protocol.splits
        train, validation, test = (
            taking & np.isin(rows.splits, words) for words in (splits.train, splits.validation, splits.test)
        )
        return [("split", train, validation if splits.validation else None, test)]
    if protocol.cross_dataset is not None:
        tests = [(name, taking & _of_dataset(protocol, rows, name)) for name in protocol.cross_dataset]
        return [(name, taking & ~test, None, test) for name, test in tests]
    assert protocol.kfold is not None
    fold = _dealt_rows(taking, people, amounts, protocol.kfold.k, protocol.kfold.seed, protocol.name)
    return [(f"fold{number + 1}", taking & (fold != number), None, fold == number) for number in range(protocol.kfold.k)]


def _held_out(protocol: Protocol, train: Mask, people: Groups, amounts: Doubles) -> Mask:
    """(n,) training rows of the subjects held out for validation."""
    validation = protocol.validation
    if not validation.one_in:
        return np.zeros_like(train)
    hands = min(validation.one_in, len(np.unique(people.index[train])))
    if hands < 2:
        raise UsageError(
            f"{protocol.name}: one subject to train on and none for validation; take more people, or hold nobody out:"
            " --set 'protocol_keys={validation.one_in: 0}'"
        )
    return np.asarray(_dealt_rows(train, people, amounts, hands, validation.seed, protocol.name) == 0)


def _dealt_rows(chosen: Mask, people: Groups, amounts: Doubles, hands: int, seed: int, name: str) -> Indices:
    """(n,) hand of the unit of each chosen row, -1 for other rows."""
    own = Groups.of(people.names[people.index[chosen]])
    if len(own) < hands:
        raise UsageError(
            f"{name}: {hands} folds of {len(own)} subjects; take more people, or lower kfold.k:"
            " --set 'protocol_keys={kfold.k: N}'"
        )
    hand = np.full(len(chosen), -1, np.intp)
    hand[chosen] = dealt(own.sums(amounts[chosen]), hands, seed)[own.index]
    return hand


def _amounts(truth: Targets) -> Doubles:
    """(n, 2 C + 1) what folds should have alike: how much of each label there is, either way, and rows."""
    either_way = (np.maximum(truth.values, 0), np.maximum(-truth.values, 0), np.ones((len(truth), 1)))
    return np.concatenate(either_way, axis=1).astype(np.float64)


def _taking_part(protocol: Protocol, rows: Rows, truth: Targets) -> tuple[Mask, Mask]:
    """(n,) rows of the protocol's data sets and splits, and those of them with a known label."""
    names = protocol.datasets or [""]
    of_them = np.asarray(np.logical_or.reduce([_of_dataset(protocol, rows, name) for name in names]), np.bool_)
    member = of_them & ~np.isin(rows.splits, protocol.leave_out_splits)
    return member, member & truth.known.any(axis=1)


def _of_dataset(protocol: Protocol, rows: Rows, name: str) -> Mask:
    """(n,) rows of one of the protocol's data sets; all rows if it names none."""
    if not protocol.datasets:
        return np.ones(len(rows), np.bool_)
    words, index = np.unique(rows.datasets, return_inverse=True)
    same = [_plain(word) == _plain(name) or (word == UNKNOWN and len(protocol.datasets) == 1) for word in words.tolist()]
    return np.array(same, np.bool_)[index]


def _plain(word: str) -> str:
    """A data set's name without case and punctuation, but for the plus that tells BP4D+ from BP4D."""
    return re.sub(r"[^a-z0-9+]", "", word.casefold())


def _split_words(protocol: Protocol) -> list[str]:
    splits = protocol.splits
    return [] if splits is None else [*splits.train, *splits.validation, *splits.test]


def _refuse_misfit(protocol: Protocol, rows: Rows, taking: Mask, found: Coverage) -> None:
    if not found.rows:
        raise UsageError(_without_labels(protocol, rows, found))
    nameless = int((rows.subjects[taking] == UNKNOWN).sum())
    if nameless and protocol.splits is None:
        raise UsageError(
            f"{protocol.name}: {nameless} rows name no subject, which its folds keep apart; fill the manifest's column subject"
        )
    if protocol.partial:
        return
    rest = ", or go on with the rest: --set 'protocol_keys={partial: true}'"
    if found.missing or found.unlisted:
        listed = sorted(subject for part in (protocol.parts or {}).values() for subject in part)
        absent = [subject for subject in listed if subject not in set(rows.subjects[taking].tolist())]
        facts = [
            f"{found.missing} of its {found.listed} subjects have no labelled pair in the data ({_some(absent)})",
            f"{found.unlisted} subjects of the data are not on its lists, which write them like {listed[0]}",
        ]
        told = " and ".join(fact for fact, count in zip(facts, (found.missing, found.unlisted), strict=True) if count)
        advice = "correct the manifest's column subject" if found.unlisted else "add them"
        raise UsageError(f"{protocol.name}: {told}; {advice}{rest if found.missing < found.listed else ''}")
    if found.unsplit:
        words = ", ".join(_split_words(protocol))
        raise UsageError(
            f"{protocol.name}: {found.unsplit} rows have a split that is none of {words}; correct the manifest's column split"
            + rest
        )


def _without_labels(protocol: Protocol, rows: Rows, found: Coverage) -> str:
    """What to say where no row takes part."""
    named = " or ".join(protocol.datasets)
    told = f"{protocol.name}: no row {f'of the data set {named} ' if named else ''}is annotated with {protocol.task}"
    if found.others:
        words = np.unique(rows.datasets[rows.datasets != UNKNOWN]).tolist() or ["none named"]
        split = " or of splits that it leaves out" if protocol.leave_out_splits else ""
        told += (
            f"; {found.others} rows are of others by the column dataset ({_some(words)}){split}: correct it, "
            "or take another protocol"
        )
    if found.unlabelled:
        columns = [name for name in protocol.label_columns if name not in {"sample_id", "weight"}]
        told += f"; {found.unlabelled} rows have none of its labels in {_some(columns)}"
    return told


def _without_rows(protocol: Protocol, name: str, use: str) -> str:
    """What to say of a fold that has no row for a use."""
    told = f"{protocol.name}: {name} has no row to {use}"
    if protocol.parts is not None and protocol.folds is not None:
        others = ", ".join(f"{fold}: {part}" for fold, part in protocol.folds.items() if fold != name)
        part = f"nobody of {protocol.folds[name]} is" if use == "test" else f"only people of {protocol.folds[name]} are"
        return f"{told}: {part} in the data; add them, or leave it out: --set 'protocol_keys={{folds: {{{others}}}}}'"
    if protocol.splits is not None:
        words = protocol.splits.test if use == "test" else protocol.splits.train
        return f"{told}: the column split says {' or '.join(words)} nowhere; correct it in the manifest"
    if protocol.cross_dataset is not None:
        lacking = [name] if use == "test" else [other for other in protocol.datasets if other != name]
        return f"{told}: no labelled row is of {' or '.join(lacking)}; name a run with it in data"
    return told


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _refuse_shared(protocol: Protocol, name: str, people: Groups, sets: tuple[Mask, Mask, Mask]) -> None:
    """No unit may be in two sets: only splits of the data's own can do that."""
    present = np.stack([np.bincount(people.index[each], minlength=len(people)) > 0 for each in sets])
    shared = int((present.sum(axis=0) > 1).sum())
    if shared:
        raise UsageError(f"{protocol.name}: {shared} subjects are in two sets of {name}; the column split must keep them apart")


def _names(column: pa.ChunkedArray) -> Names:
    """(n,) words, UNKNOWN for null."""
    words = pc.fill_null(column.cast(pa.string()), UNKNOWN)
    return np.asarray(words.to_pylist() or [""], np.str_)[: len(column)]
