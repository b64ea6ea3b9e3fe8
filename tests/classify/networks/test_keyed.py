"""What is drawn for a sample is its own: the same in any batch, another at any other place, and of the right distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.classify.networks.keyed import KeyedDropout, KeyedDropPath, derived, normal, uniform  # noqa: E402

int64s = st.integers(-(2**63), 2**63 - 1)
MANY = torch.arange(2000)


def test_keys_are_derived_as_splitmix64_says():
    first = torch.tensor([1234567])
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(derived(first, number)) % 2**64 for number in range(5)] == published


@given(int64s, st.integers(0, 10**6))
def test_integers_wrap_around_as_unsigned_ones_do(key, number):
    with np.errstate(over="ignore"):
        bits = np.uint64(key % 2**64) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    assert int(derived(torch.tensor([key]), number)) % 2**64 == int(bits)


@settings(deadline=None)
@given(st.lists(int64s, min_size=1, max_size=6), st.data())
def test_a_draw_does_not_know_its_batch(chosen, data):
    order = data.draw(st.permutations(range(len(chosen))))
    together = uniform(torch.tensor(chosen), 3, (2, 5))
    assert torch.equal(uniform(torch.tensor(chosen)[list(order)], 3, (2, 5)), together[list(order)])
    for key, drawn in zip(chosen, together, strict=True):
        assert torch.equal(uniform(torch.tensor([key]), 3, (2, 5))[0], drawn)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 4)])
def test_shapes(shape):
    assert uniform(MANY, 0, shape).shape == normal(MANY, 0, shape).shape == (len(MANY), *shape)


def test_uniform_numbers_are_spread_over_the_open_interval():
    drawn = uniform(MANY, 0, (500,)).double()
    assert 0 < drawn.min() < 1e-5
    assert 1 - 1e-5 < drawn.max() < 1
    counts = torch.histc(drawn, 100, 0, 1)
    assert ((counts - 10_000).abs() < 5 * 100).all(), "each hundredth, within five standard deviations"


def test_the_ends_of_the_interval_are_not_reached_in_float32():
    last = (torch.tensor(2**23 - 1).float() + 0.5) * 2.0**-23
    assert 0 < last < 1
    assert torch.isfinite(torch.special.ndtri(torch.stack([last, 1 - last]))).all()


def test_normal_numbers_have_the_moments_of_a_standard_normal():
    drawn = normal(MANY, 0, (500,)).double()
    moments = [float((drawn**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.02)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(uniform(MANY, 0, (500,)), uniform(MANY, 1, (500,)), id="places"),
        pytest.param(uniform(MANY, 0, (500,))[:-1], uniform(MANY, 0, (500,))[1:], id="neighbouring keys"),
        pytest.param(uniform(MANY, 0, (500,))[:, :-1], uniform(MANY, 0, (500,))[:, 1:], id="neighbouring values"),
        pytest.param(uniform(derived(MANY, 0), 0, (500,)), uniform(derived(MANY, 1), 0, (500,)), id="parts"),
        pytest.param(uniform(derived(MANY, 0), 0, (500,)), uniform(MANY, 0, (500,)), id="a part and the whole"),
        pytest.param(uniform(MANY, 0, (500,)), uniform(MANY << 40, 0, (500,)), id="keys of which only high bits differ"),
    ],
)
def test_draws_are_independent(one, other):
    correlation = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
    assert abs(correlation) < 5 / 1000, "five standard deviations of a million pairs"
    squares = np.corrcoef((one.flatten().numpy() - 0.5) ** 2, (other.flatten().numpy() - 0.5) ** 2)[0, 1]
    assert abs(squares) < 5 / 1000


@pytest.mark.parametrize("kind", [KeyedDropout, KeyedDropPath])
def test_evaluation_drops_nothing_and_needs_no_keys(kind):
    values = torch.rand(4, 3, 2)
    assert torch.equal(kind(0.5, 0).eval()(values, None), values)
    assert torch.equal(kind(0.0, 0).train()(values, None), values)


def test_training_without_keys_is_a_mistake():
    with pytest.raises(AssertionError, match="keys"):
        KeyedDropout(0.5, 0).train()(torch.ones(2, 3), None)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate):
    dropped = KeyedDropout(rate, 0).train()(torch.ones(2000, 100), MANY)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate))]
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)


def test_a_path_is_dropped_whole():
    dropped = KeyedDropPath(0.25, 0).train()(torch.ones(2000, 3, 4), MANY)
    assert torch.equal(dropped, dropped[:, :1, :1].expand(-1, 3, 4))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("kind", [KeyedDropout, KeyedDropPath])
def test_what_is_dropped_of_a_sample_does_not_know_its_batch(kind):
    layer, values, keys = kind(0.5, 7).train(), torch.rand(8, 5), MANY[:8]
    together = layer(values, keys)
    assert torch.equal(layer(values[5:6], keys[5:6])[0], together[5])
    assert torch.equal(layer(values.flip(0), keys.flip(0)).flip(0), together)
    assert not torch.equal(kind(0.5, 8).train()(values, keys), together), "another place, other draws"


def test_gradients_go_where_the_values_went():
    values = torch.ones(50, 4, requires_grad=True)
    dropped = KeyedDropout(0.5, 0).train()(values, MANY[:50])
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


@pytest.mark.gpu
def test_a_gpu_draws_the_same_bits():
    keys = MANY.cuda()
    assert torch.equal(uniform(keys, 3, (50,)).cpu(), uniform(MANY, 3, (50,)))
    torch.testing.assert_close(normal(keys, 3, (50,)).cpu(), normal(MANY, 3, (50,)), atol=1e-5, rtol=1e-5)
