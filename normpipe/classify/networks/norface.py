"""The classifier of Norface: features of the original and of the normalized picture, joined and read by mixtures of experts.

Input experts may look at either picture or at both, and are weighed sample by sample; output experts are weighed label by
label, since what tells one action unit need not tell another. The paper's text leaves the sizes open; those here are our
own.

Source: Liu et al., https://arxiv.org/abs/2407.15617.
"""

from collections.abc import Mapping, Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from pydantic import JsonValue
from torch import Tensor, nn

from normpipe.classify.labels import Task
from normpipe.classify.networks.backbones import build_backbone, part_keys
from normpipe.classify.networks.experts import Plain, mixture
from normpipe.classify.networks.keyed import KeyedDropout, derived
from normpipe.classify.networks.options import BACKBONE_OPTIONS
from normpipe.classify.networks.prediction import Prediction

_INPUT, _OUTPUT = "input", "output"
_JOINING, _READING, _DROPPING, _LOOKING = range(4)
"""What draws by its own keys; views by theirs from the last one on."""


class NorfaceClassifier(ModelMixin, ConfigMixin):
    """Pictures of a sample to logits.

    Args:
        task: See labels.Task. Emotions exclude each other, so one gate weighs the output experts for all of them; other labels
            have a gate each.
        labels: (C,) what is learnt, in the order of the outputs.
        side: Pixels along the side of a picture.
        views: V, pictures of a sample: 1 or 2.
        backbone: One of options.BackboneOptions, as JSON.
        shared: Whether the views share one backbone; each has its own if not.
        input_mixture: Whether experts join the views' features; a perceptron as wide as all of them does if not.
        output_mixture: Whether experts read the labels; a linear layer does if not.
        experts: Of each mixture.
        chosen: How many of them share an answer, with noise in training; None for all, without.
        dropout: Share of the joined features that is dropped.

    Raises:
        ModelUnavailableError: the backbone's library is not installed.
        UsageError: the backbone does not fit the pictures.
    """

    @register_to_config
    def __init__(
        self,
        task: str,
        labels: Sequence[str],
        side: int,
        views: int,
        backbone: Mapping[str, JsonValue],
        shared: bool = True,
        input_mixture: bool = True,
        output_mixture: bool = True,
        experts: int = 4,
        chosen: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        outputs = len(labels)
        gates = 1 if Task(task) is Task.EMOTION else outputs
        options = BACKBONE_OPTIONS.validate_python(backbone)
        looks = [build_backbone(options, side) for _ in range(1 if shared else views)]
        width = looks[0].width
        self.looks = nn.ModuleList(looks)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in self.looks])
        sizes = (experts, views * width, width, width)
        self.join = mixture(*sizes, answers=1, chosen=chosen) if input_mixture else Plain(*sizes)
        self.joined = nn.LayerNorm(width)
        self.drop = KeyedDropout(dropout, _DROPPING)
        sizes = (experts, width, 0, outputs)
        self.read = mixture(*sizes, answers=gates, chosen=chosen) if output_mixture else Plain(*sizes)
        self._views = views

    def forward(self, pictures: Tensor, keys: Tensor | None = None) -> Prediction:
        """What the network says of b samples.

        Args:
            pictures: (b, V, 3, side, side), -1 to 1, in the order of the arm's views.
            keys: (b,) int64, one per sample and epoch, see keyed.py; None in evaluation.
        """
        joined, of_input = self.join(self._features(pictures, keys), part_keys(keys, _JOINING))
        logits, of_output = self.read(self.drop(self.joined(joined), keys), part_keys(keys, _READING))
        balances = {name: balance for name, balance in ((_INPUT, of_input), (_OUTPUT, of_output)) if balance is not None}
        return Prediction(logits.float(), balances)

    def _features(self, pictures: Tensor, keys: Tensor | None) -> Tensor:
        """(b, V * width), view by view."""
        numbers = range(_LOOKING, _LOOKING + self._views)
        if len(self.looks) == self._views:
            looked = zip(self.looks, self.norms, pictures.unbind(1), numbers, strict=True)
            return torch.cat([norm(look(seen, part_keys(keys, own)).pooled) for look, norm, seen, own in looked], dim=1)
        of_views = None if keys is None else torch.stack([derived(keys, own) for own in numbers], dim=1).flatten()
        pooled = self.norms[0](self.looks[0](pictures.flatten(0, 1), of_views).pooled)
        found: Tensor = pooled.unflatten(0, (-1, self._views)).flatten(1)
        return found
