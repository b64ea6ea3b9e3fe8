"""The network that a training begins with: built by the seed, its backbone maybe with weights from elsewhere."""

import hashlib

import torch

from normpipe.classify.config import EMBEDDED, ClassifierTraining
from normpipe.classify.labels import LabelSpace
from normpipe.classify.networks.build import Network, build_network
from normpipe.classify.networks.norface import NorfaceClassifier
from normpipe.classify.networks.options import NetworkOptions, NorfaceOptions
from normpipe.classify.networks.weights import load_pretrained, pretrained_options
from normpipe.errors import UsageError


def initial_network(training: ClassifierTraining, space: LabelSpace) -> Network:
    """A network with its first weights.

    Raises:
        ModelUnavailableError: a library or weights are missing.
        UsageError: the sizes do not fit each other or the pictures, or weights are damaged.
    """
    network = build_network(_options(training), space, training.arm.views, training.size, training.seed)
    if training.pretrained is not None:
        assert isinstance(network, NorfaceClassifier), "only this kind takes weights"
        for look in network.looks:
            load_pretrained(look, _where(training.pretrained))
    _try_out(network, training)
    return network


def weights_digest(network: Network) -> str:
    """Hex sha256 of all weights."""
    found = hashlib.sha256()
    for name, weight in network.state_dict().items():
        found.update(name.encode())
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


def _options(training: ClassifierTraining) -> NetworkOptions:
    """The network's, with the backbone that its first weights are of."""
    if training.pretrained is None:
        return training.network
    assert isinstance(training.network, NorfaceOptions), "only this kind takes weights"
    return training.network.model_copy(update={"backbone": pretrained_options(_where(training.pretrained))})


def _where(pretrained: str) -> str | None:
    return None if pretrained == EMBEDDED else pretrained


def _try_out(network: Network, training: ClassifierTraining) -> None:
    """Let the network see one picture: sizes that do not fit are told before anything is written."""
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, training.arm.views, 3, training.size, training.size))
    except (RuntimeError, ValueError) as error:  # torch raises either, by what is too small
        raise UsageError(
            f"size: the network {training.network.kind} takes no pictures of {training.size} pixels; choose another size"
        ) from error
