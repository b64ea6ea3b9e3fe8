"""Shares sum to 1, the balance is what the paper's formulas say, and adds up over parts of a batch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.classify.networks.experts import (  # noqa: E402
    Balance,
    DenseGate,
    Experts,
    Mixture,
    NoisyTopKGate,
    Plain,
    balance_loss,
    mixture,
)
from normpipe.classify.networks.keyed import normal  # noqa: E402

INPUTS, EXPERTS = 5, 4
KEYS = torch.arange(64)


def vectors(count=64):
    return torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(1))


def stirred(module):
    """With random weights in the gates, which begin with zeros."""
    for name, weight in module.named_parameters():
        if "clean" in name or "noise" in name:
            torch.nn.init.normal_(weight)
    return module


def gates(answers=3):
    return {
        "dense": stirred(DenseGate(INPUTS, answers, EXPERTS)),
        "noisy": stirred(NoisyTopKGate(INPUTS, answers, EXPERTS, 2)),
        "one of all": stirred(NoisyTopKGate(INPUTS, answers, EXPERTS, 1)),
    }


@pytest.mark.parametrize("name", ["dense", "noisy", "one of all"])
@pytest.mark.parametrize("training", [True, False])
def test_shares_sum_to_1_and_so_does_their_use(name, training):
    shares, balance = gates()[name].train(training)(vectors(), KEYS)
    assert shares.shape == (64, 3, EXPERTS)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(2), torch.ones(64, 3))
    assert float(balance.count) == 64 * 3
    torch.testing.assert_close(balance.importance, shares.sum((0, 1)))
    assert balance.usage().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("chosen", [1, 2, 3])
def test_as_many_experts_answer_as_are_chosen(chosen):
    gate = stirred(NoisyTopKGate(INPUTS, 3, EXPERTS, chosen))
    for training in (True, False):
        shares, _ = gate.train(training)(vectors(), KEYS)
        assert ((shares > 0).sum(2) == chosen).all()


def test_without_noise_the_best_are_chosen():
    gate = gates()["noisy"].eval()
    shares, balance = gate(vectors(), None)
    clean = gate.clean(vectors()).unflatten(1, (3, EXPERTS))
    best = clean.topk(2, dim=2)
    torch.testing.assert_close(shares.gather(2, best.indices), best.values.softmax(2))
    assert torch.equal(balance.load, (shares > 0).float().sum((0, 1))), "how often each was chosen"


def test_noise_is_of_the_sample_and_only_of_training():
    gate = gates()["noisy"].train()
    together, _ = gate(vectors(), KEYS)
    torch.testing.assert_close(gate(vectors()[7:8], KEYS[7:8])[0][0], together[7])
    assert not torch.equal(gate(vectors(), KEYS + 1)[0], together)
    assert torch.equal(gate.eval()(vectors(), KEYS)[0], gate(vectors(), None)[0])


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(12)), st.integers(1, 3), st.integers(0, 2**62))
def test_who_is_chosen_in_training_does_not_depend_on_the_others(order, chosen, seed):
    gate = stirred(NoisyTopKGate(INPUTS, 3, EXPERTS, chosen)).train()
    values, drawn = vectors(12), torch.arange(12) * 977 + seed
    shares, _ = gate(values, drawn)
    mixed, _ = gate(values[list(order)], drawn[list(order)])
    assert torch.equal(mixed > 0, (shares > 0)[list(order)])
    assert ((shares > 0).sum(2) == chosen).all()
    torch.testing.assert_close(mixed, shares[list(order)])


def test_noise_lets_every_expert_have_its_turn():
    gate = gates(answers=1)["one of all"].train()
    same = vectors(1).expand(2000, -1)
    often = (gate(same, torch.arange(2000))[0] > 0).float().mean((0, 1))
    assert (often > 0).all()
    assert (often < 1).all()
    assert (gate.eval()(same, None)[0] > 0).float().mean((0, 1)).max() == 1, "without noise always the same"


def test_the_load_is_the_probability_to_be_chosen_if_only_ones_own_noise_is_drawn_again():
    """Equations 8 and 9, by counting."""
    gate = gates(answers=1)["noisy"].train()
    values, key = vectors(1), KEYS[:1]
    _, balance = gate(values, key)
    clean = gate.clean(values)[0].double()
    spread = (torch.nn.functional.softplus(gate.noise(values)[0]) + 1e-2).double()
    noisy = clean + normal(key, 0, (1, EXPERTS))[0, 0] * spread
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for expert in range(EXPERTS):
        others = torch.cat([noisy[:expert], noisy[expert + 1 :]])
        chosen = (clean[expert] + draws * spread[expert])[:, None] > others
        often = (chosen.sum(1) >= EXPERTS - 2).double().mean()  # at most one of the others is better
        assert balance.load[expert].item() == pytest.approx(float(often), abs=0.005)


@pytest.mark.parametrize("name", ["dense", "noisy"])
@settings(deadline=None, max_examples=20)
@given(st.integers(1, 63))
def test_the_balance_adds_up_over_parts_of_a_batch(name, split):
    gate = gates()[name].train()
    _, whole = gate(vectors(), KEYS)
    (_, first), (_, second) = gate(vectors()[:split], KEYS[:split]), gate(vectors()[split:], KEYS[split:])
    torch.testing.assert_close(first.importance + second.importance, whole.importance)
    torch.testing.assert_close(first.load + second.load, whole.load)
    assert first.count + second.count == whole.count


def test_the_balance_loss_is_that_of_the_formula():
    importance, load = torch.tensor([1.0, 3.0]), torch.tensor([6.0, 2.0])
    assert float(balance_loss(importance, load)) == pytest.approx(1 / 4 + 4 / 16)
    assert float(balance_loss(torch.ones(4) * 7, torch.ones(4))) == 0
    torch.testing.assert_close(balance_loss(importance * 10, load), balance_loss(importance, load))
    assert float(balance_loss(torch.zeros(3), torch.zeros(3))) == 0, "of no samples"
    assert float(balance_loss(torch.tensor([4.0, 0, 0, 0]), torch.ones(4))) == pytest.approx(3)


@pytest.mark.parametrize("name", ["dense", "noisy"])
def test_the_balance_loss_evens_out_a_gate_that_prefers_one(name):
    gate = gates(answers=1)[name].train()
    values = vectors() * 0.1 + torch.tensor([1.0, 0, 0, 0, 0])
    gate.clean.weight.data[0, 0] = 2
    optimizer = torch.optim.SGD(gate.parameters(), 0.5)
    before = gate(values, KEYS)[1].usage().max()
    for _ in range(30):
        _, balance = gate(values, KEYS)
        optimizer.zero_grad()
        balance_loss(balance.importance, balance.load).backward()
        optimizer.step()
    assert gate(values, KEYS)[1].usage().max().item() < before.item() - 0.2


def test_all_gates_begin_with_equal_shares():
    shares, balance = DenseGate(INPUTS, 2, EXPERTS)(vectors(), None)
    assert (shares == 1 / EXPERTS).all()
    assert balance_loss(balance.importance, balance.load).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("hidden", [0, 7])
def test_experts_are_perceptrons_side_by_side(hidden):
    experts = Experts(EXPERTS, INPUTS, hidden, 3)
    answers = experts(vectors())
    assert answers.shape == (EXPERTS, 64, 3)
    for number in range(EXPERTS):
        said = vectors()
        for place, layer in enumerate(experts.layers):
            said = torch.nn.functional.gelu(said) if place else said
            said = said @ layer.weight[number] + layer.bias[number]
        torch.testing.assert_close(answers[number], said)


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("chosen", [None, 2])
def test_a_mixture_is_the_weighted_sum_of_its_experts(answers, chosen):
    mixed = stirred(mixture(EXPERTS, INPUTS, 7, 3, answers=answers, chosen=chosen)).eval()
    shares, _ = mixed.gate(vectors(), None)
    said = mixed.experts(vectors())
    found, _ = mixed(vectors(), None)
    for label in range(3):
        gate = shares[:, min(label, answers - 1)]
        torch.testing.assert_close(found[:, label], (gate * said[:, :, label].t()).sum(1))


def test_a_gate_is_for_all_outputs_or_for_one():
    with pytest.raises(AssertionError):
        mixture(EXPERTS, INPUTS, 7, 3, answers=2, chosen=None)
    with pytest.raises(AssertionError):
        NoisyTopKGate(INPUTS, 1, EXPERTS, EXPERTS)


@pytest.mark.parametrize("chosen", [None, 1, 2])
def test_gradients_reach_every_weight(chosen):
    mixed = mixture(EXPERTS, INPUTS, 7, 3, answers=3, chosen=chosen).train()
    found, balance = mixed(vectors(), KEYS)
    (found.square().sum() + balance_loss(balance.importance, balance.load)).backward()
    for name, weight in mixed.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_a_plain_network_has_the_size_of_the_mixture_without_its_gate():
    plain, mixed = Plain(EXPERTS, INPUTS, 7, 3), mixture(EXPERTS, INPUTS, 7, 3, answers=1, chosen=None)
    found, nothing = plain(vectors(), None)
    assert found.shape == (64, 3)
    assert nothing is None
    weights = [sum(part.weight.numel() for part in experts.layers) for experts in (plain.network, mixed.experts)]
    assert weights[0] == weights[1]
    assert isinstance(mixed, Mixture)


def test_usage_of_nothing_is_nothing():
    zeros = torch.zeros(3)
    assert Balance(zeros, zeros, torch.tensor(0.0)).usage().tolist() == [0, 0, 0]
