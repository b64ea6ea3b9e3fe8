"""The training file's model: what a network is made of, what it learns from, and how long each stage takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from normpipe.config import Section, load_document
from normpipe.training.norface.examples import Examples

_Count = Annotated[int, Field(ge=1)]
_Weight = Annotated[float, Field(ge=0)]


class Encoder(Section):
    """See FaceEncoder. `from_mesh` starts the stem from the embedded face mesh's weights."""

    side: Annotated[int, Field(ge=32, le=512, multiple_of=16)] = 128
    widths: tuple[_Count, _Count, _Count, _Count] = (16, 32, 64, 128)
    dim: _Count = 192
    depth: _Count = 4
    heads: _Count = 3
    from_mesh: bool = True


class Merger(Section):
    """See ExpressionMerger."""

    depth: _Count = 2
    heads: _Count = 3
    answers: _Count = 16
    answer_dim: _Count = 12


class Decoder(Section):
    """See WarpDecoder."""

    widths: Sequence[_Count] = (128, 64, 32, 16, 8)
    groups: _Count = 8


class Stage(Section):
    """One stage of the training: `average` is how much of the averaged weights stays at every step."""

    steps: _Count
    batch: _Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 8e-4
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: _Weight = 0.03
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998
    log_every: _Count = 50
    checkpoint_every: _Count = 500

    @model_validator(mode="after")
    def _lines_end_at_checkpoints(self) -> Self:
        if self.checkpoint_every % self.log_every:
            raise ValueError("checkpoint_every must be a multiple of log_every: a stage goes on at the start of a line")
        return self


class Masked(Stage):
    """Guessing hidden patches; `hidden` is their share."""

    steps: _Count = 2000
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.75


class Reading(Stage):
    """Reading expressions: weights of the losses.

    `expression` is of the rig's weights, `shape` and `detail` of mean_face's coefficients, `adversary` of who it is, unlearnt.
    """

    steps: _Count = 3000
    expression: _Weight = 1.0
    shape: _Weight = 0.5
    detail: _Weight = 0.5
    adversary: _Weight = 0.0


class Drawing(Stage):
    """Drawing what was read: weights of the losses, and how much of each reading is drawn.

    `by_landmarks` multiplies mean_face's shape, `by_rig` the rig's.
    """

    steps: _Count = 3000
    batch: _Count = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    by_landmarks: _Weight = 0.5
    by_rig: _Weight = 1.5
    flow: _Weight = 100.0
    light: _Weight = 2.0
    picture: _Weight = 3.0
    mesh: _Weight = 0.0
    aperture: _Weight = 0.0
    perceived: _Weight = 0.0
    identity: _Weight = 0.0
    fooling: _Weight = 0.0


class Training(Section):
    """A whole training file."""

    version: Literal[1] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    encoder: Encoder = Encoder()
    merger: Merger = Merger()
    decoder: Decoder = Decoder()
    examples: Examples
    masked: Masked | None = None
    reading: Reading = Reading()
    drawing: Drawing = Drawing()


def load_training(path: Path, overrides: Sequence[str] = ()) -> Training:
    """Read a training file and apply `key=value` overrides; errors as for load_pipeline.

    Raises:
        UsageError: the file is missing, is not YAML, or a key or value is wrong; the message names file, line and key.
    """
    return load_document(Training, path, overrides, "training file")
