"""Where the encoder's first layers start from: the embedded face mesh, which has seen more faces than any training here will.

The stem was given the form of the mesh's first stages for this. It is a start and no more: the weights are trained on.
"""

import torch
from torch import Tensor, nn

from normpipe.faces.networks import FACE_MESH
from normpipe.faces.torch_networks import FaceNetwork
from normpipe.normalizers.norface.stem import FaceStem

_STEPS = 52
"""Operators of the mesh that the stem has."""


def copy_mesh_stem(stem: FaceStem) -> None:
    """Give a stem of the widths 16, 32, 64 and 128 the mesh's weights: then it computes what the mesh does.

    Raises:
        ModelUnavailableError: the mesh's file is damaged.
    """
    steps = list(FaceNetwork(FACE_MESH)._steps)[:_STEPS]
    source = [weight.detach() for step in steps for weight in step.parameters()]
    with torch.no_grad():
        for own, stored in zip(stem.parameters(), source, strict=True):
            own.copy_(_channels_first(stored, own))


def _channels_first(stored: Tensor, own: nn.Parameter) -> Tensor:
    """A weight as the mesh's file has it, channels last, as torch wants it."""
    if stored.ndim == 4:
        depthwise = own.shape[1] == 1 and stored.shape[0] == 1
        stored = stored.permute(3, 0, 1, 2) if depthwise else stored.permute(0, 3, 1, 2)
    return stored.reshape(own.shape)
