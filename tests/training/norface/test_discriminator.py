"""The judge: each side gets the gradients of its own loss only."""

from .small import generator, torch

from normpipe.training.norface.discriminator import Discriminator  # isort: skip


def test_maker_and_judge_each_get_gradients_of_their_own_loss_only():
    judge = Discriminator()
    drawn = torch.rand(2, 3, 32, 32, generator=generator(), requires_grad=True)
    real = torch.rand(2, 3, 32, 32, generator=generator(1))
    fooling, telling = judge.losses(drawn, real)
    fooling.backward()
    assert drawn.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in judge.parameters())
    drawn.grad = None
    telling.backward()
    assert drawn.grad is None
    assert all(weight.grad is not None for weight in judge.parameters())
