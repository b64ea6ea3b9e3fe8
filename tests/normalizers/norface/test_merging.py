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


def codes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, FREE + OWN, generator=torch.Generator().manual_seed(seed))


def test_a_code_is_of_the_whole_source_and_has_no_place_in_it():
    source = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(0))
    code = merger().code(source)
    assert code.shape == (3, FREE + OWN)
    torch.testing.assert_close(code, merger().code(source.flip(1)), msg="attention does not ask where a token stood")


def test_at_strength_0_two_people_with_one_expression_are_one():
    one, other = codes(2)
    other[:FREE] = one[:FREE]
    passed = merger().passed(torch.stack([one, other]), torch.zeros(1))
    torch.testing.assert_close(passed[0], passed[1])


def test_at_strength_1_everything_passes():
    torch.testing.assert_close(merger().passed(codes(4), torch.ones(1)), codes(4))


@settings(deadline=None)
@given(st.floats(0, 1))
def test_what_passes_lies_between(strength):
    least, most = (merger().passed(codes(4), torch.tensor([end])) for end in (0.0, 1.0))
    between = merger().passed(codes(4), torch.tensor([strength]))
    torch.testing.assert_close(between, least + strength * (most - least), atol=1e-5, rtol=1e-5)


def test_one_target_serves_a_batch():
    target = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(1))
    together = merger().merge(codes(3), target)
    alone = torch.cat([merger().merge(code[None], target) for code in codes(3)])
    assert together.shape == (3, 9, 16)
    torch.testing.assert_close(together, alone)
