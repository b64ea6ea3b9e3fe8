"""The model card that is shipped with a classifier: what it says of a face, what it learnt from, and what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from normpipe import __version__
from normpipe.classify.arms import Arm
from normpipe.classify.labels import LabelSpace, Task
from normpipe.stages.environment import library_version

_LIBRARIES = ("torch", "diffusers")
_NOT_STATED = "not stated by whoever trained"
_NOT_MEASURED = "Nothing was measured of this classifier when the card was written; `normpipe classify predict --scores` does."
_SEES = {
    Arm.ORIGINAL: "the original picture of a pair",
    Arm.NORMALIZED: "the normalized picture of a pair",
    Arm.BOTH: "the original and the normalized picture of a pair",
    Arm.TWICE: "the original picture of a pair, twice",
}
_SAYS = {
    Task.EMOTION: "probabilities of emotions, which sum to 1",
    Task.AU: "the probability of each action unit",
    Task.AU_INTENSITY: "the intensity of each action unit, 0 to 5",
    Task.VALENCE_AROUSAL: "valence and arousal, -1 to 1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What whoever trains can say of a classifier.

    Attributes:
        rows: Labelled rows that it learnt from.
        people: Whose they are.
        known: Of these rows, those annotated with each label, by its name.
        positive: Of those, how many have the action unit or emotion; empty for other tasks.
        data: What it learnt from: names of runs, and their terms.
        licence: Of the weights.
        figures: What was measured, in Markdown.
        configuration: The training file, as YAML, without folders.
    """

    rows: int
    people: int
    known: Mapping[str, int]
    positive: Mapping[str, int] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    licence: str = ""
    figures: str = ""
    configuration: str = ""


def card_text(network: str, parameters: int, arm: Arm, size: int, space: LabelSpace, card: Card) -> str:
    """The text, in Markdown, without anything of the machine that trained.

    Args:
        network: Name of its class.
        parameters: How many it has.
        arm: What it sees.
        size: Pixels along the side of a picture.
        space: What it says.
        card: All else.
    """
    counts = "\n".join(f"| {name} | {card.known.get(name, 0)} | {card.positive.get(name, '')} |" for name in space.names)
    data = "\n".join(f"- {each}" for each in card.data) or f"- {_NOT_STATED}"
    libraries = ", ".join(f"{name} {library_version(name)}" for name in _LIBRARIES)
    how = f"\n```yaml\n{card.configuration.strip()}\n```\n" if card.configuration else ""
    return f"""---
license: other
library_name: normpipe
tags: [facial-expression, {space.task.value.replace("_", "-")}]
---

# Classifier of the task {space.task.value}

Sees {_SEES[arm]} (arm {arm.value}, {size} x {size} pixels) and says {_SAYS[space.task]}. Use it with

```
normpipe classify predict FOLDER SHARDS OUT
```

Network: {network}, {parameters:,} parameters. Licence of the weights: {card.licence or _NOT_STATED}.

## Learnt from

{data}

{card.rows} rows of {card.people} people:

| label | annotated rows | with it |
|---|---|---|
{counts}

## Limits

Scores are what a network reads in pictures, not what people feel. How good they are on other people, cameras and data sets
is to be measured there.

## Figures

{card.figures.strip() or _NOT_MEASURED}

## How

normpipe {__version__}, {libraries}.
{how}"""
