import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from normpipe.normalizers.norface.merging import ExpressionMerger  # noqa: E402

FREE, OWN = 5, 6


def merger() -> ExpressionMerger:
    torch.manual_seed(0)
    return ExpressionMerger(dim=16, depth=1, heads=2, answers=4, answer_dim=4, free=FREE, own=OWN).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Free and own parts of so many codes."""
    return noise(count, FREE), noise(count, OWN, seed=1)


def test_an_expression_is_of_the_whole_source_and_has_no_place_in_it():
    source = noise(3, 9, 16)
    free = merger().expression(source)
    assert free.shape == (3, FREE)
    torch.testing.assert_close(free, merger().expression(source.flip(1)), msg="attention does not ask where a token stood")


def test_at_strength_0_two_people_with_one_expression_are_one():
    free, own = parts(2)
    passed = merger().passed(free[:1].expand(2, -1), own, torch.zeros(1))
    torch.testing.assert_close(passed[0], passed[1])


def test_at_strength_1_everything_passes():
    torch.testing.assert_close(merger().passed(*parts(4), torch.ones(1)), torch.cat(parts(4), dim=1))


def test_the_free_part_passes_at_any_strength():
    free, own = parts(4)
    for strength in (0.0, 0.5, 1.0):
        assert torch.equal(merger().passed(free, own, torch.tensor([strength]))[:, :FREE], free)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_what_passes_lies_between(strength):
    least, most = (merger().passed(*parts(4), torch.tensor([end])) for end in (0.0, 1.0))
    between = merger().passed(*parts(4), torch.tensor([strength]))
    torch.testing.assert_close(between, least + strength * (most - least), atol=1e-5, rtol=1e-5)


def test_one_target_and_one_strength_serve_a_batch():
    source, target, own = noise(3, 9, 16), noise(1, 9, 16, seed=1), parts(3)[1]
    together = merger()(source, own, target, torch.tensor([0.5]))
    alone = torch.cat(
        [merger()(one[None], measured[None], target, torch.tensor([0.5])) for one, measured in zip(source, own, strict=True)]
    )
    assert together.shape == (3, 9, 16)
    torch.testing.assert_close(together, alone)


def test_what_is_drawn_follows_from_what_is_read_and_from_what_is_measured():
    source, target, own = noise(2, 9, 16), noise(1, 9, 16, seed=1), parts(2)[1]
    passed = merger().passed(merger().expression(source), own, torch.tensor([0.5]))
    merged = merger()(source, own, target, torch.tensor([0.5]))
    torch.testing.assert_close(merged, merger().merge(passed, target))
    assert not torch.allclose(merger()(source, own.flip(0), target, torch.tensor([0.5])), merged)
    assert not torch.allclose(merger()(source.flip(0), own, target, torch.tensor([0.5])), merged)
