"""A drawing moves, lights and covers the target; alpha goes with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .tiny import torch

from normpipe.normalizers.norface.decoder import Drawing, WarpDecoder, draw  # isort: skip

SIDE = 16


def drawing(flow=(0.0, 0.0), light=0.0, cover=0.0, colour=0.0, batch=1):
    """The same everywhere."""
    grid = torch.ones(batch, 1, 4, 4)
    return Drawing(
        torch.cat([grid * flow[0], grid * flow[1]], dim=1), grid * light, grid * cover, grid.expand(-1, 3, -1, -1) * colour
    )


def target():
    generator = torch.Generator().manual_seed(0)
    colour = torch.rand(1, 3, SIDE, SIDE, generator=generator) * 1.6 - 0.9
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., 4:12, 4:12] = 1
    return colour, alpha


def test_a_drawing_of_nothing_is_the_target():
    colour, alpha = draw(*target(), drawing())
    torch.testing.assert_close(colour, target()[0])
    torch.testing.assert_close(alpha, target()[1])


def test_a_new_decoder_draws_next_to_nothing():
    decoder = WarpDecoder(dim=8, widths=(8, 4), groups=4)
    with torch.no_grad():
        colour, alpha = draw(*target(), decoder(torch.randn(2, 16, 8)))
    assert colour.shape == (2, 3, SIDE, SIDE)
    assert alpha.shape == (2, 1, SIDE, SIDE)
    assert (colour - target()[0]).abs().max() < 0.05
    assert (alpha - target()[1]).abs().max() < 0.05


def test_colour_and_alpha_move_together():
    colour, alpha = draw(*target(), drawing(flow=(2 / SIDE, -3 / SIDE)))
    torch.testing.assert_close(colour[..., 3:, :-2], target()[0][..., :-3, 2:])
    torch.testing.assert_close(alpha[..., 3:, :-2], target()[1][..., :-3, 2:])


@settings(deadline=None)
@given(st.floats(0, 1))
def test_what_is_covered_is_opaque(share):
    colour, alpha = draw(*target(), drawing(cover=share, colour=0.25))
    torch.testing.assert_close(alpha, share + (1 - share) * target()[1])
    torch.testing.assert_close(colour, share * 0.25 + (1 - share) * target()[0])


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_more_light_the_lighter(one, other):
    darker, lighter = (draw(*target(), drawing(light=light))[0] for light in sorted([one, other]))
    assert (lighter >= darker - 1e-6).all()


def test_one_target_serves_a_batch_and_gradients_reach_every_part():
    parts = [part.clone().requires_grad_() for part in (drawing(batch=3).flow, drawing(light=0.1, batch=3).light)]
    cover, laid_over = (torch.full((3, channels, 4, 4), 0.3, requires_grad=True) for channels in (1, 3))
    colour, alpha = draw(*target(), Drawing(*parts, cover, laid_over))
    assert (colour.shape, alpha.shape) == ((3, 3, SIDE, SIDE), (3, 1, SIDE, SIDE))
    (colour.square().sum() + alpha.square().sum()).backward()
    for part in (*parts, cover, laid_over):
        assert torch.isfinite(part.grad).all()
        assert part.grad.abs().sum() > 0


@pytest.mark.parametrize("side", [8, 40])
def test_a_drawing_fits_a_target_of_any_size(side):
    colour, alpha = draw(torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side), drawing(cover=0.5))
    assert colour.shape[-1] == alpha.shape[-1] == side
    assert (alpha == 1).all()
