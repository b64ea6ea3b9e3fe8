"""What an ablation compares: variants of one training file, each trained with several seeds, and which is held against which.

Unless a file of variants says otherwise they are the four arms and, of the network norface, `both` without either mixture of
experts or without the two. `twice` has the capacity of `both`, so what `both` has over `twice` is the normalized picture's.
Nothing here needs torch: what cannot be compared is refused before anything is trained.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from normpipe.classify.arms import Arm
from normpipe.classify.config import ClassifierTraining, load_classifier_training
from normpipe.classify.networks.options import NorfaceOptions
from normpipe.config import Section, load_document
from normpipe.errors import UsageError

FLOOR = "floor-"
"""What the name of a floor begins with; the variant follows whose pictures it sees."""

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]

_WITHOUT = {
    "both-no-input-mixture": ("network.input_mixture",),
    "both-no-output-mixture": ("network.output_mixture",),
    "both-no-mixtures": ("network.input_mixture", "network.output_mixture"),
}
_SEED = "seed"


class Variants(Section):
    """A file of variants.

    `variants` are named sets of keys of the training file that are other; a name becomes a folder. `contrasts` are pairs of
    names: the first is held against the second.
    """

    version: Literal[1] = 1
    variants: Annotated[Mapping[_Name, Mapping[str, JsonValue]], Field(min_length=1)]
    contrasts: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for name in (name for pair in self.contrasts for name in pair):
            if name not in self.variants:
                raise ValueError(f"contrasts: {name!r} is no variant; there are {', '.join(self.variants)}")
        if any(name.startswith(FLOOR) for name in self.variants):
            raise ValueError(f"variants: names that begin with {FLOOR} are those of floors; choose others")
        if any(_SEED in keys for keys in self.variants.values()):
            raise ValueError("variants: seed is what every variant is trained with several of: leave it out")
        return self


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the things compared.

    Attributes:
        name: Of its folder.
        changes: Keys of the training file that are other.
        trainings: By seed.
    """

    name: str
    changes: Mapping[str, JsonValue]
    trainings: Mapping[int, ClassifierTraining]

    @property
    def training(self) -> ClassifierTraining:
        """That of the first seed."""
        return next(iter(self.trainings.values()))

    @property
    def sees(self) -> tuple[tuple[str, ...], Arm]:
        """The pictures that it learns from."""
        return self.training.data, self.training.arm


@dataclass(frozen=True, slots=True)
class Ablation:
    """All of it.

    Attributes:
        variants: By name.
        contrasts: Names of floors among them.
        floors: By name, the variant whose pictures each sees.
    """

    variants: Mapping[str, Variant]
    contrasts: tuple[tuple[str, str], ...]
    floors: Mapping[str, Variant]

    def cells(self) -> Iterator[tuple[str, Variant, int]]:
        """Every training: its place in OUT, its variant and its seed."""
        for variant in self.variants.values():
            for seed in variant.trainings:
                yield cell_name(variant.name, seed), variant, seed


def cell_name(variant: str, seed: int) -> str:
    """Place of a training in OUT."""
    return f"{variant}/seed-{seed}"


def load_ablation(config: Path, settings: Sequence[str], seeds: int, variants: Path | None, *, floors: bool) -> Ablation:
    """Read what is to be compared.

    Args:
        config: Training file.
        settings: `key=value` overrides of it, for all variants.
        seeds: How many each is trained with, counted from that of the file.
        variants: File of variants; None for the arms and mixtures.
        floors: Whether a floor is put under each kind of pictures.

    Raises:
        UsageError: a file is wrong, the message names file, line and key; or variants learn other labels than others.
    """
    first = load_classifier_training(config, settings)
    chosen = (
        _default(first) if variants is None else load_document(Variants, variants, (), "file of variants", "docs/classify.md")
    )
    made = {
        name: Variant(
            name,
            changes,
            {
                seed: _trained(config, settings, name, {**changes, _SEED: seed})
                for seed in range(first.seed, first.seed + seeds)
            },
        )
        for name, changes in chosen.variants.items()
    }
    _check_alike(made)
    of_pictures = {variant.sees: variant for variant in reversed(made.values())} if floors else {}
    below = {f"{FLOOR}{variant.name}": variant for variant in made.values() if of_pictures.get(variant.sees) is variant}
    arms = {name: variant.training.arm for name, variant in below.items()}
    contrasts = (
        *chosen.contrasts,
        *((variant.name, name) for name, variant in below.items()),
        *(
            (one, other)
            for one, variant in below.items()
            for other, against in below.items()
            if (arms[one], arms[other]) == (Arm.BOTH, Arm.TWICE) and variant.training.data == against.training.data
        ),
    )
    return Ablation(made, contrasts, below)


def _default(training: ClassifierTraining) -> Variants:
    changes: dict[str, dict[str, JsonValue]] = {arm.value: {"arm": arm.value} for arm in Arm}
    both, twice = Arm.BOTH.value, Arm.TWICE.value
    pairs = [(both, twice), (both, Arm.ORIGINAL.value), (Arm.NORMALIZED.value, Arm.ORIGINAL.value), (twice, Arm.ORIGINAL.value)]
    if isinstance(training.network, NorfaceOptions):
        changes |= {name: {"arm": both, **dict.fromkeys(keys, False)} for name, keys in _WITHOUT.items()}
        pairs += [(both, name) for name in _WITHOUT]
    return Variants(variants=changes, contrasts=tuple(pairs))


def _trained(config: Path, settings: Sequence[str], name: str, changes: Mapping[str, JsonValue]) -> ClassifierTraining:
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        return load_classifier_training(config, [*settings, *overrides])
    except UsageError as error:
        raise UsageError(f"variant {name}: {error}") from error


def _check_alike(variants: Mapping[str, Variant]) -> None:
    """Figures compare where labels, folds, metric and threshold are the same."""
    known = {name: variant.training.chosen_protocol() for name, variant in variants.items()}
    first = next(iter(known))
    for name, protocol in known.items():
        if protocol != known[first]:
            raise UsageError(f"variant {name}: its protocol is another than that of {first}; compare under one protocol")
