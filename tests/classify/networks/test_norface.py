"""The classifier: what goes in and comes out, whatever it is made of; a sample's answer is its own, and every weight learns."""

import math

import pytest

from normpipe.classify.arms import Arm
from normpipe.classify.labels import Task
from normpipe.classify.objective import Objective

from .tiny import CONVNET, ENCODER, NETWORKS, SPACES, VIT, keys, labels, network, pictures, torch

from normpipe.classify.losses import Criterion, attached  # isort: skip
from normpipe.classify.networks.norface import NorfaceClassifier  # isort: skip
from normpipe.classify.networks.options import NorfaceOptions  # isort: skip

KINDS = [name for name, options in NETWORKS.items() if isinstance(options, NorfaceOptions)]


def losses(made, task, count=6, views=2):
    """Of a batch of noise."""
    values, known = labels(task, count)
    criterion = Criterion(task, Objective(), torch.ones(values.shape[1]))
    prediction = made(pictures(count, views), keys(count) if made.training else None)
    return criterion.losses(criterion.sums(prediction, values, known, torch.ones(count)))


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("task", [Task.EMOTION, Task.AU])
def test_logits_have_a_column_for_each_label(name, views, task):
    with torch.no_grad():
        prediction = network(name, task, views).eval()(pictures(3, views))
    assert prediction.logits.shape == (3, len(SPACES[task]))
    assert prediction.logits.dtype == torch.float32
    assert prediction.logits.std() > 0


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("training", [True, False])
def test_a_sample_does_not_know_its_batch(name, training):
    made = network(name).train(training)
    seen, drawn = pictures(5), keys(5)
    with torch.no_grad():
        together = made(seen, drawn if training else None).logits
        for number in (0, 3):
            alone = made(seen[number : number + 1], drawn[number : number + 1] if training else None).logits
            torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            made(seen.flip(0), drawn.flip(0) if training else None).logits.flip(0), together, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["convnet", "vit", "noisy gates", "lnl"])
def test_training_draws_by_keys_and_by_nothing_else(name):
    made = network(name).train()
    seen, drawn = pictures(5), keys(5)
    with torch.no_grad():
        once = made(seen, drawn).logits
        torch.manual_seed(99)
        assert torch.equal(made(seen, drawn).logits, once)
        assert not torch.allclose(made(seen, drawn + 1).logits, once)
        made.eval()
        assert torch.equal(made(seen, drawn).logits, made(seen).logits)


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("task", [Task.EMOTION, Task.AU_INTENSITY])
def test_every_weight_learns(name, task):
    made = network(name, task).train()
    torch.stack(list(losses(made, task).values())).sum().backward()
    for place, weight in made.named_parameters():
        assert weight.grad is not None, place
        assert torch.isfinite(weight.grad).all(), place
        assert weight.grad.abs().sum() > 0, place


@pytest.mark.parametrize("name", ["convnet", "noisy gates", "lnl"])
def test_what_is_not_known_teaches_nothing(name):
    task, count = Task.AU, 6
    made = network(name, task).train()
    values, known = labels(task, count)
    known[:, 1] = False
    known[2] = False
    criterion = Criterion(task, Objective(balance=0), torch.ones(values.shape[1]))
    seen = pictures(count).requires_grad_()
    sums = criterion.sums(made(seen, keys(count)), values, known, torch.ones(count))
    torch.stack(list(criterion.losses(sums).values())).sum().backward()
    assert torch.equal(seen.grad[2], torch.zeros_like(seen[2]))
    assert seen.grad[3].abs().sum() > 0


@pytest.mark.parametrize("name", ["convnet", "noisy gates", "lnl"])
def test_two_halves_of_a_batch_teach_what_the_whole_teaches(name):
    """All losses, the balance of experts among them, and the gradients of all weights."""
    task, count = Task.AU, 6
    made, seen, drawn, rows = network(name, task).train(), pictures(count), keys(count), torch.ones(count)
    values, known = labels(task, count)
    known[1, 0] = known[4] = False
    criterion = Criterion(task, Objective(balance=1), torch.ones(values.shape[1]))

    def sums(chosen):
        return criterion.sums(made(seen[chosen], drawn[chosen]), values[chosen], known[chosen], rows[chosen])

    def gradients(losses):
        return torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(made.parameters()))

    losses_of_whole = criterion.losses(sums(slice(None)))
    own = [sums(slice(2)), sums(slice(2, None))]
    added = {name: own[0][name] + own[1][name] for name in own[0]}
    torch.testing.assert_close(criterion.losses(added), losses_of_whole, atol=1e-5, rtol=1e-4)
    assert ("balance" in losses_of_whole) == (name != "lnl")
    of_halves = [gradients(criterion.losses(attached(added, each))) for each in own]
    for first, second, whole in zip(*of_halves, gradients(losses_of_whole), strict=True):
        torch.testing.assert_close(first + second, whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_saved_network_is_the_same_again(name, tmp_path):
    made = network(name).eval()
    made.save_pretrained(tmp_path / "first")
    again = type(made).from_pretrained(tmp_path / "first").eval()
    again.save_pretrained(tmp_path / "second")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second"))
    assert first.keys() == second.keys() == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert first["diffusion_pytorch_model.safetensors"] == second["diffusion_pytorch_model.safetensors"]
    with torch.no_grad():
        assert torch.equal(again(pictures(3)).logits, made(pictures(3)).logits)
        drawn = keys(3)
        assert torch.equal(again.train()(pictures(3), drawn).logits, made.train()(pictures(3), drawn).logits)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_weights_are_a_function_of_the_seed(name):
    first, again, other = (network(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", KINDS)
def test_mixtures_tell_how_evenly_experts_were_used(name):
    options, balances = NETWORKS[name], network(name)(pictures(5), keys(5)).balances
    answers = {"input": 5, "output": 5 * len(SPACES[Task.AU])}
    wanted = [kind for kind, on in (("input", options.input_mixture), ("output", options.output_mixture)) if on]
    assert list(balances) == wanted
    for kind in wanted:
        assert balances[kind].importance.shape == balances[kind].load.shape == (options.experts,)
        assert float(balances[kind].count) == answers[kind]


def test_emotions_share_a_gate_and_other_labels_have_their_own():
    assert float(network(task=Task.EMOTION)(pictures(5), keys(5)).balances["output"].count) == 5
    assert float(network(task=Task.AU_INTENSITY)(pictures(5), keys(5)).balances["output"].count) == 5 * 2


def test_both_pictures_are_looked_at():
    made, seen = network().eval(), pictures(2)
    with torch.no_grad():
        before = made(seen).logits
        for view in (0, 1):
            changed = seen.clone()
            changed[:, view] *= -1
            assert not torch.allclose(made(changed).logits, before)


def test_the_capacity_control_has_as_many_weights_as_what_it_controls():
    counts = {arm: sum(weight.numel() for weight in network(views=arm.views).parameters()) for arm in Arm}
    assert counts[Arm.TWICE] == counts[Arm.BOTH] > counts[Arm.ORIGINAL] == counts[Arm.NORMALIZED]


def test_views_have_draws_of_their_own():
    made, seen = network(), pictures(3, views=1).expand(-1, 2, -1, -1, -1)
    with torch.no_grad():
        halves = made.eval()._features(seen, None).chunk(2, dim=1)
        in_training = made.train()._features(seen, keys(3)).chunk(2, dim=1)
    assert torch.equal(*halves)
    assert not torch.equal(*in_training)


def test_backbones_of_its_own_cost_a_view_as_much_again():
    shared, own = network("convnet"), network("own backbones")
    counts = [sum(weight.numel() for weight in made.looks.parameters()) for made in (shared, own)]
    assert counts[1] == 2 * counts[0]


def test_a_plain_network_is_as_large_as_the_experts_it_stands_for():
    counts = {name: sum(weight.numel() for weight in network(name).join.parameters()) for name in ("convnet", "output mixture")}
    assert math.isclose(counts["convnet"], counts["output mixture"], rel_tol=0.25)


@pytest.mark.parametrize("backbone", [CONVNET, VIT, ENCODER])
def test_the_configuration_says_what_it_is_made_of(backbone, tmp_path):
    made = NorfaceClassifier("au", ("AU01",), 32, 1, backbone.model_dump(mode="json"))
    assert made.config["backbone"] == backbone.model_dump(mode="json")
    assert made.config["labels"] == ("AU01",)


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_gpu_says_the_same(name):
    made, seen, drawn = network(name).train(), pictures(3), keys(3)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        here = made(seen, drawn).logits
        there = made.cuda()(seen.cuda(), drawn.cuda()).logits
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=1e-3)
