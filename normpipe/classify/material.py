"""What a training file names: rows with their labels, and the folds of them. Known before anything is written."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import yaml

from normpipe.audit.groups import Names
from normpipe.classify.arms import Arm
from normpipe.classify.card import Card
from normpipe.classify.config import ClassifierTraining
from normpipe.classify.folds import Fold, Rows, folds, protocol_targets, units
from normpipe.classify.labels import Targets, Task
from normpipe.classify.protocols import Protocol
from normpipe.classify.shard_files import shown_root
from normpipe.classify.shards import Shards, open_shards
from normpipe.errors import UsageError


@dataclass(frozen=True, slots=True)
class Material:
    """n rows to learn from and to judge.

    Attributes:
        protocol: How they are divided, and what is learnt.
        shards: Where they are.
        truth: Their labels.
        units: (n,) who or what is independent.
        folds: By name, in the protocol's order.
    """

    protocol: Protocol
    shards: Shards
    truth: Targets
    units: Names
    folds: Mapping[str, Fold]

    def fold(self, name: str) -> Fold:
        """One of the folds.

        Raises:
            UsageError: there is none of that name.
        """
        if name not in self.folds:
            raise UsageError(f"--fold {name}: the protocol {self.protocol.name} has {', '.join(self.folds)}")
        return self.folds[name]

    def constant(self, fold: Fold) -> list[str]:
        """Labels that the rows to train on all have, or none has, or that none of them is annotated with."""
        own = self.truth.taken(fold.train)
        spans = [values[known] for values, known in zip(own.values.T, own.known.T, strict=True)]
        return [
            name
            for name, seen in zip(self.protocol.space.names, spans, strict=True)
            if not len(seen) or seen.min() == seen.max()
        ]

    def fingerprint(self, arm: Arm) -> dict[str, str]:
        """Digests of what results depend on: rows, labels and order, folds, and the first pictures, not where they lie."""
        places, table = self.shards.places, self.shards.table
        order = (places.numbers, places.file, places.group, places.row)
        labels = (self.truth.values, self.truth.known, self.truth.weights)
        first = places.files[places.file[0]].pictures(int(places.group[0]), tuple(dict.fromkeys(arm.columns)))
        return {
            "rows": _digest(array.tobytes() for array in (*order, *labels)),
            "subjects": _digest(repr(table[name].to_pylist()).encode() for name in ("dataset", "subject")),
            "folds": _digest(
                part
                for fold in self.folds.values()
                for part in (fold.name.encode(), *(side.tobytes() for side in (fold.train, fold.validation, fold.test)))
            ),
            "pictures": _digest(picture.as_py() or b"" for column in first for picture in column),
        }


def read_material(training: ClassifierTraining) -> Material:
    """Index the data of a training file, and divide it.

    Raises:
        UsageError: data or protocol cannot be used as they are; in a fold there is nothing to learn.
    """
    protocol = training.chosen_protocol()
    shards = open_shards(training.data, training.arm, partial=training.allow_partial)
    truth, rows = protocol_targets(protocol, shards.table), Rows.of(shards.table)
    divided = {fold.name: fold for fold in folds(protocol, rows, truth)}
    found = Material(protocol, shards, truth, units(protocol, rows), divided)
    for fold in divided.values():
        constant = found.constant(fold)
        of_one = protocol.task is Task.EMOTION and (truth.values[fold.train] > 0).any(axis=0).sum() < 2
        if of_one or len(constant) == len(protocol.space):
            raise UsageError(
                f"{protocol.name}: the rows that {fold.name} trains on all have the same labels, so that there is nothing to "
                "learn; take more data"
            )
    return found


def trained_card(training: ClassifierTraining, material: Material, fold: Fold, figures: str) -> Card:
    """What the model card of a fold's classifier says; of the training file all but the folders."""
    space, own = material.protocol.space, material.truth.taken(fold.train)
    sources = [shown_root(source) for source in training.data]
    told = dict(zip(sources, training.card.data, strict=False))
    written = training.model_dump(mode="json", exclude={"card"})
    shown = {"data": sources, "protocol": material.protocol.name}
    if training.pretrained is not None:
        shown["pretrained"] = shown_root(training.pretrained)
    known, positive = (dict(zip(space.names, each.sum(axis=0).tolist(), strict=True)) for each in (own.known, own.values > 0))
    return Card(
        rows=len(fold.train),
        people=len(np.unique(material.units[fold.train])),
        known=known,
        positive=positive if space.task in {Task.EMOTION, Task.AU} else {},
        data=tuple(f"{name}: {told[name]}" if told.get(name) else name for name in sources),
        licence=training.card.licence,
        figures=figures,
        configuration=yaml.safe_dump({**written, **shown}, sort_keys=False),
    )


def _digest(parts: Iterable[bytes]) -> str:
    """Of byte strings, one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()
