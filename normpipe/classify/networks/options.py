"""What a network is made of: sections of a training file, and what a saved network's own configuration holds.

Known without torch, so that a file is refused before anything heavy is loaded. The class that each section describes has the
meaning of its keys.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, JsonValue, Tag, TypeAdapter, model_validator

from normpipe.config import Section

_Count = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, lt=1)]
_Colour = tuple[float, float, float]


def _kind(value: object) -> object:
    """What a section says it is of; pydantic's own reading of it knows no section whose values are checked beforehand."""
    return value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)


def _one_of(*kinds: str) -> Discriminator:
    return Discriminator(
        _kind, custom_error_type="kind", custom_error_message=f"it needs a key kind, which is one of {', '.join(kinds)}"
    )


class ConvNetOptions(Section):
    """See ConvNet."""

    kind: Literal["convnet"] = "convnet"
    patch: _Count = 4
    widths: Annotated[tuple[_Count, ...], Field(min_length=1)] = (24, 48, 96)
    cells: _Count = 6
    depth: _Count = 1
    drop_path: _Share = 0.0


class VitOptions(Section):
    """See SmallViT."""

    kind: Literal["vit"] = "vit"
    patch: _Count = 16
    stem: tuple[_Count, ...] = ()
    dim: _Count = 96
    depth: _Count = 4
    heads: _Count = 3
    drop_path: _Share = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim % self.heads:
            raise ValueError("heads must divide dim")
        if self.patch % 2 ** len(self.stem):
            raise ValueError("patch must be a multiple of 2 for every width of the stem, since each halves the picture")
        return self


class NormalizerEncoderOptions(Section):
    """See NormalizerEncoder; the size of the weights that ship with the package unless given."""

    kind: Literal["normalizer"] = "normalizer"
    side: _Count = 128
    widths: tuple[_Count, _Count, _Count, _Count] = (16, 32, 64, 128)
    dim: _Count = 192
    depth: _Count = 4
    heads: _Count = 3


class TransformersOptions(Section):
    """See TransformersBackbone."""

    kind: Literal["transformers"] = "transformers"
    architecture: dict[str, JsonValue]
    side: _Count = 224
    mean: _Colour = (0.5, 0.5, 0.5)
    deviation: _Colour = (0.5, 0.5, 0.5)


class TimmOptions(Section):
    """See TimmBackbone."""

    kind: Literal["timm"] = "timm"
    architecture: str
    side: _Count = 224
    mean: _Colour = (0.485, 0.456, 0.406)
    deviation: _Colour = (0.229, 0.224, 0.225)


BackboneOptions = Annotated[
    Annotated[ConvNetOptions, Tag("convnet")]
    | Annotated[VitOptions, Tag("vit")]
    | Annotated[NormalizerEncoderOptions, Tag("normalizer")]
    | Annotated[TransformersOptions, Tag("transformers")]
    | Annotated[TimmOptions, Tag("timm")],
    _one_of("convnet", "vit", "normalizer", "transformers", "timm"),
]

BACKBONE_OPTIONS: TypeAdapter[BackboneOptions] = TypeAdapter(BackboneOptions)
"""Reads the options of a backbone from JSON."""


class NorfaceOptions(Section):
    """See NorfaceClassifier."""

    kind: Literal["norface"] = "norface"
    backbone: BackboneOptions = ConvNetOptions()
    shared: bool = True
    input_mixture: bool = True
    output_mixture: bool = True
    experts: Annotated[int, Field(ge=2)] = 4
    chosen: _Count | None = None
    dropout: _Share = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.chosen is not None and self.chosen >= self.experts:
            raise ValueError("chosen must be fewer than experts; leave it out for all")
        return self


class LnlOptions(Section):
    """See LnlClassifier."""

    kind: Literal["lnl"] = "lnl"
    widths: Annotated[tuple[_Count, ...], Field(min_length=2)] = (16, 32, 64, 96, 128)
    patch: _Count = 4
    grid: _Count = 4
    reach: Annotated[float, Field(ge=0, le=1)] = 0.0
    region_width: _Count = 24
    region_dim: _Count = 32
    dropout: _Share = 0.1


NetworkOptions = Annotated[
    Annotated[NorfaceOptions, Tag("norface")] | Annotated[LnlOptions, Tag("lnl")], _one_of("norface", "lnl")
]
