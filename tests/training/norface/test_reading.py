"""Reading: codes in standard deviations, photos as often as asked, and nothing trained but what makes the code."""

import numpy as np

from .small import generator, torch

from normpipe.training.norface import config  # isort: skip
from normpipe.training.norface.reading import ReadingLosses, ReadingTrainee, known, read_codes, spreads  # isort: skip


def test_codes_are_in_spreads_of_photos(photos):
    found = spreads(photos)
    assert found.shape == (121,)
    assert (found[:57] == 1).all(), "nothing is known of the rig without heads"
    assert np.nanstd(known(photos)[:, 57:] / found[57:], axis=0).max() <= 1 + 1e-5


def test_photos_come_up_as_often_as_asked_and_their_codes_are_theirs(network, photos):
    losses = ReadingLosses(network.encoder, network.merger, config.Reading(), 3)
    trainee = ReadingTrainee(losses, photos, 3)
    assert trainee.size == 3 * len(photos)
    _, truth, person = trainee.batch(np.array([5, 5 + len(photos), 5 + 2 * len(photos)]), generator())
    assert torch.equal(torch.nan_to_num(truth[0]), torch.nan_to_num(truth[2]))
    assert truth[0, :57].isnan().all()
    assert len(set(person.tolist())) == 1


def test_reading_trains_all_that_makes_a_code_and_nothing_else(network, photos):
    losses = ReadingLosses(network.encoder, network.merger, config.Reading(adversary=1), 3)
    trainee = ReadingTrainee(losses, photos, 1)
    losses.requires_grad_(False)
    trained = [weight.requires_grad_() for weights, _ in trainee.paces() for weight in weights]
    sum(losses(*trainee.batch(np.arange(4), generator())).values()).backward()
    assert all(weight.grad is not None for weight in trained)
    untrained = {name.partition(".")[0] for name, weight in network.merger.named_parameters() if not weight.requires_grad}
    assert untrained == {"expected", "carry", "places", "blocks", "norm"}


def test_codes_are_read_in_order_whatever_comes_together(network, photos, monkeypatch):
    from normpipe.training.norface import reading

    at_once = read_codes(network.encoder, network.merger, photos, torch.device("cpu"))
    monkeypatch.setattr(reading, "_TOGETHER", 5)
    few = read_codes(network.encoder, network.merger, photos, torch.device("cpu"))
    assert at_once.shape == (len(photos), 121)
    assert np.allclose(at_once, few, atol=1e-5)
