"""Jitter: decided by its generator, within range, and no change of an expression."""

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.training.norface.jitter import jittered  # noqa: E402


def pictures(count):
    """A bright dot at a known place before a gradient."""
    found = torch.linspace(-0.5, 0, 64).expand(count, 3, 64, 64).clone()
    found[:, :, 28:36, 38:46] = 1
    return found


def test_the_generator_decides_all():
    one, same, other = (jittered(pictures(8), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_pictures_stay_pictures_and_the_originals_as_they_are():
    before = pictures(64)
    kept = before.clone()
    after = jittered(before, torch.Generator().manual_seed(0))
    assert after.shape == before.shape
    assert after.dtype == torch.float32
    assert after.min() >= -1
    assert after.max() <= 1
    assert torch.equal(before, kept)


def test_nothing_moves_farther_than_a_cut_out_face_may():
    after = jittered(pictures(200), torch.Generator().manual_seed(0)).mean(1)
    steps = torch.arange(64) + 0.5
    weight = (after - after.flatten(1).quantile(0.5, dim=1)[:, None, None]).clamp(0) ** 4
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-9)
    across, down = (weight.sum(1) * steps).sum(1), (weight.sum(2) * steps).sum(1)
    assert abs(float(across.median()) - 42) < 2
    assert abs(float(down.median()) - 32) < 2
    far = ((across - 42) ** 2 + (down - 32) ** 2).sqrt()
    assert float((far < 8).float().mean()) > 0.7, "all but covered and washed out ones"


def test_pictures_differ_among_each_other():
    after = jittered(pictures(8), torch.Generator().manual_seed(0))
    assert len({tuple(each.flatten()[:50].tolist()) for each in after}) == 8
