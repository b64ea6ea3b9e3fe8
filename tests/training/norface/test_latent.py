"""Latents: the autoencoder learns, nothing else does, and what is to be drawn in them spreads like noise."""

import numpy as np
import pytest

from .small import generator, torch

from normpipe.normalizers.norface.generation import FlowDecoder  # isort: skip
from normpipe.training.norface.latent import LatentLosses, LatentTrainee, fit_latents  # isort: skip


class Pictures:
    """Stands for a PaintedSet of 300 pictures, of one colour each."""

    def __len__(self):
        return 300

    def pictures(self, chosen):
        return torch.from_numpy(chosen / 150 - 1).float().view(-1, 1, 1, 1).expand(-1, 4, 32, 32).contiguous()


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return FlowDecoder(16, 32, (16, 8), 2, (8, 16), 4, 3)


def test_the_autoencoder_is_trained_and_nothing_else(decoder):
    losses = LatentLosses(decoder, 0.1)
    trainee = LatentTrainee(losses, Pictures())
    assert trainee.size == 300
    decoder.requires_grad_(False)
    trained = [weight.requires_grad_() for weights, _ in trainee.paces() for weight in weights]
    given = trainee.batch(np.arange(4), generator())
    assert [part.shape for part in given] == [(4, 4, 32, 32), (4, 2, 4, 4)]
    found = losses(*given)
    assert set(found) == {"picture", "prior"}
    sum(found.values()).backward()
    assert all(weight.grad is not None for weight in trained)
    untrained = {name.partition(".")[0] for name, weight in decoder.named_parameters() if not weight.requires_grad}
    assert untrained == {"enter", "unet"}


def test_batches_come_again(decoder):
    trainee = LatentTrainee(LatentLosses(decoder, 0.1), Pictures())
    one, again, other = (trainee.batch(np.arange(4), generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(*each) for each in zip(one, again, strict=True))
    assert not torch.equal(one[1], other[1])


def test_latents_that_are_normal_already_cost_nothing(decoder):
    class Normal(torch.nn.Module):
        def forward(self, pictures):
            return torch.zeros(len(pictures), 4, 4, 4)

    losses = LatentLosses(decoder, 1.0)
    noise = torch.zeros(2, 2, 4, 4)
    assert float(losses(torch.zeros(2, 4, 32, 32), noise)["prior"].detach()) > 0
    decoder.autoencoder.encoder = Normal()
    assert float(losses(torch.zeros(2, 4, 32, 32), noise)["prior"].detach()) == 0


def test_what_is_to_be_drawn_is_how_pictures_differ_and_spreads_like_noise(decoder):
    for _ in range(2):  # the second time as the first
        fit_latents(decoder, Pictures())
        latents = decoder.latents(Pictures().pictures(np.arange(300))).detach()
        assert latents.mean(dim=0).abs().max() < 0.05, "at each place"
        assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05
