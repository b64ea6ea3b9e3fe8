"""The training file's model: what a network is made of, what it learns from, and how long each stage takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from normpipe.config import Section, load_document
from normpipe.training.norface.examples import Examples

MESH_WIDTHS = (16, 32, 64, 128)
"""Channels of the embedded face mesh's first stages."""

_PATCH = 16
_Count = Annotated[int, Field(ge=1)]
_Weight = Annotated[float, Field(ge=0)]
_Widths = Annotated[tuple[_Count, ...], Field(min_length=1)]


class Encoder(Section):
    """See FaceEncoder; its side is that of the examples. `from_mesh` starts the stem with the embedded face mesh's weights."""

    widths: tuple[_Count, _Count, _Count, _Count] = MESH_WIDTHS
    dim: _Count = 192
    depth: _Count = 4
    heads: _Count = 3
    from_mesh: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim % self.heads:
            raise ValueError("heads must divide dim")
        if self.from_mesh and self.widths != MESH_WIDTHS:
            raise ValueError(f"from_mesh: the face mesh has the widths {list(MESH_WIDTHS)}; give these, or from_mesh: false")
        return self


class Merger(Section):
    """See ExpressionMerger."""

    depth: _Count = 2
    heads: _Count = 3
    answers: _Count = 16
    answer_dim: _Count = 12


class Decoder(Section):
    """See WarpDecoder."""

    widths: _Widths = (128, 64, 32, 16, 8)
    groups: _Count = 8

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(width % self.groups for width in self.widths):
            raise ValueError("groups must divide every width")
        return self


class Stage(Section):
    """One stage of the training.

    `average` is how much of the averaged weights stays at every step. Every `log_every` steps the curve gets a line, every
    `checkpoint_every` steps there is a point to go on from.
    """

    steps: _Count
    batch: _Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 8e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
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
    """Reading expressions; `adversary` is how much of who it is shall be unlearnt."""

    steps: _Count = 3000
    adversary: _Weight = 0.0


class Identity(Stage):
    """Telling people apart, for the loss of the same name; `dim` is the length of an embedding."""

    steps: _Count = 2000
    dim: _Count = 64


class Latent(Stage):
    """Drawing with a FlowDecoder, see there; its side is that of the examples, its steps are `euler_steps`.

    The stage is the learning of the latents; `prior` weighs how far they are from a normal distribution.
    """

    steps: _Count = 2000
    batch: _Count = 16
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: _Weight = 0.01
    prior: _Weight = 1e-3
    picture_widths: _Widths = (64, 32)
    channels: _Count = 8
    widths: _Widths = (32, 64)
    groups: _Count = 8
    euler_steps: _Count = 4

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(width % self.groups for width in (*self.picture_widths, *self.widths)):
            raise ValueError("groups must divide every width")
        return self


class Drawing(Stage):
    """Drawing what was read.

    `examples` is of how many targets are made. `by_landmarks` multiplies mean_face's shape, `by_rig` the rig's, `by_detail`
    the wrinkles; see FaceLayout. The rest are weights of a WarpDecoder's losses; those that are 0 cost nothing.
    """

    steps: _Count = 3000
    batch: _Count = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    weight_decay: _Weight = 0.01
    examples: _Count = 12_000
    by_landmarks: _Weight = 0.7
    by_rig: _Weight = 1.0
    by_detail: _Weight = 0.5
    flow: _Weight = 100.0
    light: _Weight = 2.0
    picture: _Weight = 3.0
    mesh: _Weight = 0.0
    aperture: _Weight = 0.0
    perceived: _Weight = 0.0
    identity: _Weight = 0.0
    fooling: _Weight = 0.0


class Card(Section):
    """What the model card says and nobody can know but who trains; decides about no weight.

    `licence` is of the weights, `data` says of each run, in their order, what it shows and under which terms. `figures` is what
    was measured of the weights afterwards: the same command again writes it into the card.
    """

    licence: str = "not stated"
    data: tuple[str, ...] = ()
    figures: str = ""


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
    identity: Identity | None = None
    latent: Latent | None = None
    drawing: Drawing = Drawing()
    card: Card = Card()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.examples.side % _PATCH:
            raise ValueError(f"examples.side must be a multiple of {_PATCH}")
        if self.encoder.dim % self.merger.heads:
            raise ValueError("merger.heads must divide encoder.dim")
        if self.examples.rig is None and self.drawing.by_rig:
            raise ValueError("drawing.by_rig: what the rig does is drawn with the rig: give examples.rig, or by_rig: 0")
        if self.drawing.identity and self.identity is None:
            raise ValueError("drawing.identity: somebody must have learnt to tell people apart: give the section identity")
        if self.latent is not None:
            halved = 2 ** (len(self.latent.picture_widths) + len(self.latent.widths))
            if self.examples.side % halved:
                raise ValueError(f"examples.side must be a multiple of {halved}: the widths of latent halve it so often")
        if len(self.card.data) > len(self.examples.runs):
            raise ValueError("card.data: give at most one text for each of examples.runs")
        return self


def load_training(path: Path, overrides: Sequence[str] = ()) -> Training:
    """Read a training file and apply `key=value` overrides; errors as for load_pipeline.

    Raises:
        UsageError: the file is missing, is not YAML, or a key or value is wrong; the message names file, line and key.
    """
    return load_document(Training, path, overrides, "training file", "pipelines/train-norface-tiny.yaml")
