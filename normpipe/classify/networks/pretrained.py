"""Vision models of transformers and of timm as backbones: extra packages, imported only where a network is built of one.

Inside they stay in evaluation: their dropout is not drawn by keys, and batch statistics would make a sample depend on its
batch. Their weights are trained all the same.
"""

import inspect
from typing import TYPE_CHECKING, Protocol, Self, cast

import torch
from torch import Tensor, nn

from normpipe.classify.networks.backbones import Backbone, Features, resized
from normpipe.classify.networks.options import TimmOptions, TransformersOptions
from normpipe.errors import ModelUnavailableError, UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_NO_POOLING = "add_pooling_layer"


class _TimmModel(Protocol):
    """What all models of timm have."""

    num_features: int

    def forward_features(self, pictures: Tensor) -> Tensor: ...

    def forward_head(self, found: Tensor, pre_logits: bool) -> Tensor: ...


class _Pretrained(Backbone):
    """Brings pictures into the form that a library's model was trained with."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, width: int, options: TransformersOptions | TimmOptions) -> None:
        super().__init__(width)
        self.model = model.eval()
        self._side = options.side
        self.register_buffer("mean", torch.tensor(options.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(options.deviation).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """As torch's, but for the model within."""
        super().train(mode)
        self.model.eval()
        return self

    def _inputs(self, pictures: Tensor) -> Tensor:
        """(b, 3, side, side) from (b, 3, s, s), -1 to 1."""
        return (resized(pictures, self._side) * 0.5 + 0.5 - self.mean) / self.deviation


class TransformersBackbone(_Pretrained):
    """A vision model of transformers, https://huggingface.co/docs/transformers.

    Pooled as the architecture does it, and where that takes a layer of its own which only classification would train, as the
    mean of the tokens.

    Args:
        options: `architecture` is the model's own configuration (its config.json), `side` that of the pictures it takes, `mean`
            and `deviation` of their values, 0 to 1, are standardized away.

    Raises:
        ModelUnavailableError: transformers is not installed.
        UsageError: it has no such architecture, or it is not one of pictures.
    """

    def __init__(self, options: TransformersOptions) -> None:
        try:
            from transformers import MODEL_MAPPING, AutoConfig
        except ImportError as error:
            raise ModelUnavailableError(
                "backbone transformers: the package is missing: pip install 'normpipe[transformers]'"
            ) from error
        name = options.architecture.get("model_type")
        try:
            config = AutoConfig.for_model(**options.architecture)
            kind = MODEL_MAPPING[type(config)]
            model = kind(config, **unpooled(kind))
        except (ArithmeticError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"backbone transformers: no model can be made of the architecture {name!r}") from error
        if model.main_input_name != "pixel_values":
            raise UsageError(f"backbone transformers: {name!r} is no architecture of pictures; choose a vision model")
        for place, parameter in model.named_parameters():
            if place.endswith("mask_token"):  # stands in for hidden patches, of which there are none here
                parameter.requires_grad_(requires_grad=False)
        super().__init__(model, _width(config), options)

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:  # noqa: ARG002 (draws nothing)
        """See Backbone."""
        found = self.model(pixel_values=self._inputs(pictures))
        tokens = _by_place(found.last_hidden_state, self.width)
        pooled = found.get("pooler_output")
        return Features(tokens, tokens.mean(dim=1) if pooled is None else pooled.flatten(1))


class TimmBackbone(_Pretrained):
    """A model of timm, https://huggingface.co/docs/timm.

    Args:
        options: `architecture` is timm's name of it; the rest as of TransformersBackbone.

    Raises:
        ModelUnavailableError: timm, or the torchvision that it needs, is not installed or does not fit this torch.
        UsageError: timm has no such architecture.
    """

    def __init__(self, options: TimmOptions) -> None:
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # the latter of a torchvision that was built for another torch
            raise ModelUnavailableError(
                "backbone timm: the package, or a torchvision that fits torch, is missing: pip install 'normpipe[timm]'"
            ) from error
        if not timm.is_model(options.architecture):
            raise UsageError(f"backbone timm: there is no architecture {options.architecture!r}; see timm.list_models()")
        model = timm.create_model(options.architecture, pretrained=False, num_classes=0)
        super().__init__(model, int(model.head_hidden_size), options)

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:  # noqa: ARG002 (draws nothing)
        """See Backbone."""
        model = cast("_TimmModel", self.model)
        found = model.forward_features(self._inputs(pictures))
        return Features(_by_place(found, model.num_features), model.forward_head(found, pre_logits=True))


def build_pretrained(options: TransformersOptions | TimmOptions) -> TransformersBackbone | TimmBackbone:
    """A library's model with random weights; errors as of the two classes."""
    match options:
        case TransformersOptions():
            return TransformersBackbone(options)
        case TimmOptions():
            return TimmBackbone(options)


def unpooled(kind: type["PreTrainedModel"]) -> dict[str, bool]:
    """What leaves out the pooling layer of a model of transformers, where it has one that it can do without."""
    return {_NO_POOLING: False} if _NO_POOLING in inspect.signature(kind.__init__).parameters else {}


def _width(config: "PretrainedConfig") -> int:
    sizes = getattr(config, "hidden_sizes", None)  # of convolutional stages
    return int(sizes[-1] if sizes else config.hidden_size)


def _by_place(found: Tensor, channels: int) -> Tensor:
    """(b, k, channels) from that, from (b, channels, h, w) or from (b, h, w, channels)."""
    if found.ndim == 3:
        return found
    return found.flatten(2).transpose(1, 2) if found.shape[1] == channels else found.flatten(1, 2)
