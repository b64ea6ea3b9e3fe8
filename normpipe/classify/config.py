"""The training file's model: what a classifier learns from, what it is made of, and how long it learns."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from normpipe.classify.arms import Arm
from normpipe.classify.augmentation import Augmentation
from normpipe.classify.networks.options import NetworkOptions, NorfaceOptions
from normpipe.classify.objective import Objective
from normpipe.classify.order import WINDOW_ROWS
from normpipe.classify.protocols import Protocol, load_protocol
from normpipe.config import Section, load_document

EMBEDDED = "embedded"
"""Word for the normalizer's weights that ship with the package, as the backbone's first ones."""

_Count = Annotated[int, Field(ge=1)]

_NO_WEIGHT = frozenset(
    {"data", "allow_partial", "protocol", "protocol_keys", "pretrained", "workers", "checkpoint_every", "tensorboard", "card"}
)
"""Keys that decide about no result by themselves: what they name is known by its content."""


class CardText(Section):
    """What the model card says and nobody can know but who trains.

    `licence` is of the weights, `data` says of each of the data, in their order, what it shows and under which terms.
    """

    licence: str = ""
    data: tuple[str, ...] = ()


class ClassifierTraining(Section):
    """A whole training file.

    `data` are finished runs, releases, folders and URLs of Parquet files; `allow_partial` takes runs as far as they are done.
    `protocol` is one that ships or a file of one's own, and `protocol_keys` are those of its keys that are other here.
    `pretrained` gives the backbone of a norface classifier its first weights: `embedded` for the normalizer's own, a folder, or
    `hf://owner/name@commit`; it then says what the backbone is. `batch` is over all ranks. `average` is how much of the
    averaged weights stays at every step. `threads` are torch's on a CPU: another number rounds otherwise. Every `log_every`
    steps the curve gets a line, every `checkpoint_every` steps and after every epoch there is a point to go on from. `draws` of
    people make the intervals of the scores.
    """

    version: Literal[1] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    data: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    allow_partial: bool = False
    protocol: Annotated[str, Field(min_length=1)]
    protocol_keys: Mapping[str, JsonValue] = {}
    arm: Arm = Arm.BOTH
    size: Annotated[int, Field(ge=16, le=1024)] = 96
    window: _Count = WINDOW_ROWS
    network: NetworkOptions = NorfaceOptions()
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    objective: Objective = Objective()
    augmentation: Augmentation | None = Augmentation()
    batch: _Count = 64
    epochs: _Count = 30
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: _Count = 1
    workers: Annotated[int, Field(ge=0)] = 1
    log_every: _Count = 10
    checkpoint_every: _Count = 500
    draws: Annotated[int, Field(ge=0)] = 1000
    tensorboard: bool = False
    card: CardText = CardText()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.checkpoint_every % self.log_every:
            raise ValueError("checkpoint_every must be a multiple of log_every: a training goes on at the start of a line")
        if self.pretrained is not None:
            if not isinstance(self.network, NorfaceOptions):
                raise ValueError("pretrained: only the network norface has a backbone that takes weights")
            if "backbone" in self.network.model_fields_set:
                raise ValueError("pretrained says what the backbone is: leave network.backbone out")
        if len(self.card.data) > len(self.data):
            raise ValueError("card.data: give at most one text for each of data")
        return self

    def deciding(self) -> dict[str, JsonValue]:
        """The keys that decide about results, but for what is known by content: data, protocol, first weights."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in _NO_WEIGHT}

    def chosen_protocol(self) -> Protocol:
        """The protocol with the keys that are other here.

        Raises:
            UsageError: there is no such protocol, or it is wrong.
        """
        return load_protocol(self.protocol, [f"{key}={json.dumps(value)}" for key, value in self.protocol_keys.items()])


def load_classifier_training(path: Path, overrides: Sequence[str] = ()) -> ClassifierTraining:
    """Read a training file and apply `key=value` overrides; errors as for load_pipeline.

    Raises:
        UsageError: the file is missing, is not YAML, or a key or value is wrong; the message names file, line and key.
    """
    return load_document(ClassifierTraining, path, overrides, "training file", "pipelines/classify-emotion.yaml")
