"""Masked pictures: what is hidden is not seen, and guessing it teaches the encoder."""

import numpy as np

from .small import generator, torch

from normpipe.training.norface.masked import MaskedLosses, MaskedTrainee, covered  # isort: skip
from normpipe.training.norface.network import pictures_of  # isort: skip


def test_nothing_of_a_hidden_patch_is_seen(network, photos):
    pictures = pictures_of(photos, np.arange(2))
    hidden = torch.zeros(2, 16)
    hidden[:, :12] = 1
    visible = torch.arange(12, 16).expand(2, -1)
    other = pictures.clone()
    other[:, :, :48] = torch.rand(2, 3, 48, 64, generator=generator())
    with torch.no_grad():
        one, same = (network.encoder(covered(each, hidden), visible) for each in (pictures, other))
    assert torch.equal(one, same)
    assert torch.equal(covered(pictures, hidden)[:, :, 48:], pictures[:, :, 48:])


def test_masked_batches_show_so_many_patches_and_its_loss_teaches_the_encoder(network, photos):
    losses = MaskedLosses(network.encoder)
    trainee = MaskedTrainee(losses, photos, 0.75)
    pictures, order, seen = trainee.batch(np.arange(3), generator())
    assert seen.shape == (3, 4)
    assert (order.sort(dim=1).values == torch.arange(16)).all()
    losses(pictures, order, seen)["hidden"].backward()
    assert all(weight.grad is not None for weight in losses.parameters())
