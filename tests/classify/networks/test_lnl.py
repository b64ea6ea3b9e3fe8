"""Regions: how a map is cut, that each has a network of its own, and that those that count more say more."""

import pytest

from normpipe.classify.labels import Task
from normpipe.classify.objective import Objective

from .tiny import SPACES, keys, labels, network, pictures, torch

from normpipe.classify.losses import Criterion  # isort: skip
from normpipe.classify.networks.lnl import LocalNetworks, NonLocal, UNet, cut  # isort: skip


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_map_is_cut_row_by_row():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert cut(maps, 2, 0.0).flatten(2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("height", [6, 7, 8])
@pytest.mark.parametrize("grid", [1, 2, 3, 4])
def test_everything_is_in_exactly_one_region(height, grid):
    maps = noise(2, 3, height, height)
    regions = cut(maps, grid, 0.0)
    assert regions.shape[:3] == (2, grid * grid, 3)
    torch.testing.assert_close(regions.sum((1, 3, 4)), maps.sum((2, 3)))
    assert ((regions != 0).sum((1, 3, 4)) == height * height).all()


def test_regions_reach_into_their_neighbours():
    maps = noise(1, 1, 8, 8)
    regions = cut(maps, 2, 0.5)
    assert regions.shape == (1, 4, 1, 8, 8)
    assert torch.equal(regions[0, 0, 0, 2:, 2:], maps[0, 0, :6, :6])
    assert torch.equal(regions[0, 3, 0, :6, :6], maps[0, 0, 2:, 2:])
    assert (regions[0, 0, 0, :2] == 0).all(), "nothing lies outside"


def test_each_region_has_a_network_of_its_own():
    local = LocalNetworks(3, 2, 4, 5).eval()
    regions = noise(2, 3, 2, 6, 6)
    said = local(regions)
    assert said.shape == (2, 3, 5)
    for number in range(3):
        changed = regions.clone()
        changed[:, number] += 1 + noise(2, 2, 6, 6)
        differs = (local(changed) != said).any(2).any(0)
        assert differs.tolist() == [place == number for place in range(3)]
    same = regions[:, :1].expand(-1, 3, -1, -1, -1)
    assert not torch.allclose(local(same)[:, 0], local(same)[:, 1]), "of other weights"


def test_the_non_local_block_is_the_embedded_gaussian():
    block, maps = NonLocal(6), noise(2, 6, 3, 3)
    flat = [part(maps).flatten(2) for part in (block.ask, block.tell, block.carry)]
    similar = torch.softmax(flat[0].transpose(1, 2) @ flat[1], dim=2)
    found = (similar @ flat[2].transpose(1, 2)).transpose(1, 2).unflatten(2, (3, 3))
    torch.testing.assert_close(block(maps), maps + block.leave(found))


@pytest.mark.parametrize("side", [32, 40, 36])
def test_the_u_net_keeps_its_first_resolution(side):
    assert UNet(4, (8, 8, 12))(noise(2, 3, side, side)).shape == (2, 8, side // 4, side // 4)


@pytest.mark.parametrize("views", [1, 2])
def test_each_region_says_something_and_counts_something(views):
    prediction = network("lnl", Task.EMOTION, views).eval()(pictures(3, views))
    regions = prediction.regions
    assert regions.logits.shape == (3, 4, len(SPACES[Task.EMOTION]))
    assert regions.overview.shape == (3, len(SPACES[Task.EMOTION]))
    assert (regions.weights > 0).all()
    torch.testing.assert_close(regions.weights.sum(1), torch.ones(3))
    assert torch.equal(prediction.weight_maps, regions.weights.view(3, 2, 2))
    assert not prediction.balances


def test_other_networks_have_no_weight_maps():
    assert network().eval()(pictures(1)).weight_maps is None


def test_regions_that_count_alike_count_1_each():
    made = network("lnl").eval()
    seen = pictures(1)
    made.importance.weight.data.zero_()
    made.local.leave.bias.data.zero_()
    with torch.no_grad():
        even = made(seen)
        assert (even.regions.weights == 1 / 4).all()
        said = made.local(cut(made.maps(seen.flatten(0, 1)).flatten(0, 1)[None], 2, 0.0))
        torch.testing.assert_close(even.logits, made.joint_head(said.flatten(1)))


def test_region_losses_teach_the_weights_and_the_weights_teach_the_regions():
    made = network("lnl").train()
    regions = made(pictures(2), torch.arange(2)).regions
    (regions.weights * regions.logits.square().mean(2)).sum().backward()
    assert made.importance.weight.grad.abs().sum() > 0
    assert made.local_head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["lnl", "lnl of overlapping regions"])
@pytest.mark.parametrize("task", list(Task))
def test_the_loss_of_the_labels_alone_teaches_what_weighs_the_regions(name, task):
    made, (values, known) = network(name, task).train(), labels(task, 4)
    criterion = Criterion(task, Objective(regions=0, overview=0, spread=0), torch.ones(values.shape[1]))
    found = criterion.losses(criterion.sums(made(pictures(4), keys(4)), values, known, torch.ones(4)))
    torch.stack(list(found.values())).sum().backward()
    assert found.keys() <= {"labels", "agreement"}
    learnt = {place for place, weight in made.named_parameters() if weight.grad is not None and weight.grad.abs().sum() > 0}
    own = {place for place, _ in made.named_parameters() if place.startswith(("overview.", "importance.", "local.", "maps."))}
    assert own <= learnt
    assert not {place for place in learnt if place.startswith(("overview_head.", "local_head."))}, (
        "these have losses of their own"
    )


@pytest.mark.parametrize("training", [True, False])
def test_weight_maps_sum_to_1_for_every_sample(training):
    made = network("lnl").train(training)
    made.importance.weight.data *= 100
    maps = made(pictures(6), keys(6)).weight_maps
    assert maps.max() > 0.5, "far from even"
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(6))
