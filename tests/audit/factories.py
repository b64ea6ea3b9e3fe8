"""Synthetic people and faces with known truth."""

from dataclasses import dataclass

import numpy as np

from normpipe.audit.groups import Floats, Names
from normpipe.audit.intervals import Bootstrap

FEW = Bootstrap(draws=200, seed=0)
CLASSES = np.array(["neutral", "happiness", "surprise"])


@dataclass(frozen=True)
class Faces:
    """What a measuring instrument would say of originals: person + expression + noise."""

    subjects: Names
    labels: Names
    person: Floats  # (n, k) the person's part
    expression: Floats  # (n, k) the expression's part, its class's mean and what varies within it
    noise: Floats

    @property
    def original(self) -> Floats:
        return self.person + self.expression + self.noise

    def __len__(self) -> int:
        return len(self.subjects)


def faces(people: int = 40, rows: int = 6, columns: int = 12, seed: int = 0) -> Faces:
    """Equal numbers of rows; the classes' means are half of the expression."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), rows)
    kind = random.integers(0, len(CLASSES), people * rows)
    means = random.standard_normal((len(CLASSES), columns))
    within = random.standard_normal((people * rows, columns))
    traits = random.standard_normal((people, columns))
    return Faces(
        np.char.add("p", np.char.zfill(person.astype(str), 4)),
        CLASSES[kind],
        traits[person].astype(np.float32),
        (means[kind] + within).astype(np.float32),
        (0.1 * random.standard_normal((people * rows, columns))).astype(np.float32),
    )
