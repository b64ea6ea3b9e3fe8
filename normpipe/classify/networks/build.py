"""A network from its options, or from the folder that it was saved to."""

import torch

from normpipe.classify.labels import LabelSpace
from normpipe.classify.networks.lnl import LnlClassifier
from normpipe.classify.networks.norface import NorfaceClassifier
from normpipe.classify.networks.options import LnlOptions, NetworkOptions, NorfaceOptions

Network = NorfaceClassifier | LnlClassifier


def build_network(options: NetworkOptions, space: LabelSpace, views: int, side: int, seed: int) -> Network:
    """A network with random weights, which are a function of the arguments.

    Args:
        options: Which, and its sizes.
        space: What it learns.
        views: V, pictures of a sample.
        side: Pixels along the side of a picture.
        seed: Of the weights.

    Raises:
        ModelUnavailableError: the backbone's library is not installed.
        UsageError: the sizes do not fit each other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match options:
            case NorfaceOptions():
                return _norface(options, space, views, side)
            case LnlOptions():
                return _lnl(options, space, views)


def _norface(options: NorfaceOptions, space: LabelSpace, views: int, side: int) -> NorfaceClassifier:
    made: NorfaceClassifier = NorfaceClassifier(
        task=space.task.value,
        labels=space.names,
        side=side,
        views=views,
        backbone=options.backbone.model_dump(mode="json"),
        shared=options.shared,
        input_mixture=options.input_mixture,
        output_mixture=options.output_mixture,
        experts=options.experts,
        chosen=options.chosen,
        dropout=options.dropout,
    )
    return made


def _lnl(options: LnlOptions, space: LabelSpace, views: int) -> LnlClassifier:
    made: LnlClassifier = LnlClassifier(
        labels=space.names,
        views=views,
        patch=options.patch,
        widths=options.widths,
        grid=options.grid,
        reach=options.reach,
        region_width=options.region_width,
        region_dim=options.region_dim,
        dropout=options.dropout,
    )
    return made
