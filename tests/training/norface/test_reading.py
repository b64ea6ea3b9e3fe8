"""Reading: expressions in standard deviations, taught by whom they are known of, and nothing trained but what reads."""

from dataclasses import replace

import numpy as np
import pytest

from normpipe.normalizers.mean_face.model import load_model

from .small import generator, teacher_of, torch

from normpipe.training.norface import config  # isort: skip
from normpipe.training.norface.examples import Kind  # isort: skip
from normpipe.training.norface.reading import ReadingLosses, ReadingTrainee, measured, read_expressions, spreads  # isort: skip


@pytest.fixture(scope="module")
def mixed(photos):
    """The photos, of which two are said to be heads and two warps, whose gaze is not known."""
    kinds, expression = photos.kinds.copy(), photos.expression.copy()
    kinds[[1, 4]], kinds[[7, 8]] = Kind.HEAD, Kind.WARP
    expression[[1, 4, 7, 8]] = np.random.default_rng(0).random((4, 57), np.float32)
    expression[[7, 8], :8] = np.nan
    return replace(photos, kinds=kinds, expression=expression)


def trainee_of(network, examples, adversary=0.0):
    people = len(np.unique(examples.people))
    losses = ReadingLosses(network.encoder, network.merger, config.Reading(adversary=adversary), people)
    return losses, ReadingTrainee(losses, examples)


def test_spreads_are_of_the_rigs_weights_where_they_are_known_and_of_photos_else(photos, mixed):
    found = spreads(photos)
    assert found.shape == (121,)
    assert (found[:57] == 1).all(), "nothing is known of the rig without heads"
    np.testing.assert_allclose(found[57:97], photos.shape.std(axis=0) + 0.01, rtol=1e-4)
    np.testing.assert_allclose(spreads(mixed)[:57], np.nanstd(mixed.expression, axis=0) + 0.01, rtol=1e-4)
    others = mixed.kinds != Kind.PHOTO
    moved = mixed.shape.copy()
    moved[others] += 100
    np.testing.assert_array_equal(spreads(replace(mixed, shape=moved)), spreads(mixed))


def test_what_was_measured_is_in_spreads_and_errors_are_cut_off(photos):
    own = measured(photos)
    assert own.shape == (len(photos), 64)
    assert own.dtype == np.float32
    assert own.std(axis=0).max() <= 1 + 1e-5
    np.testing.assert_allclose(own[:, :40] * spreads(photos)[57:97], photos.shape, atol=1e-5)
    spoilt = photos.shape.copy()
    spoilt[0] = 1e6
    spoilt = replace(photos, shape=spoilt, kinds=np.where(np.arange(len(photos)) == 0, Kind.HEAD, photos.kinds))
    assert np.abs(measured(spoilt)).max() == 5


def test_what_is_measured_of_an_example_is_what_the_layout_measures_of_a_face(photos, portraits):
    """Both in the same order: but for the number of looks, a code means the same in training and after it."""
    layout = teacher_of(photos).layout
    faces = np.stack([layout.measured(found.face) for found in portraits.faces(0, len(portraits))])
    terms = len(load_model().shape_out)
    for part in (slice(terms), slice(terms, None)):
        assert np.corrcoef(faces[:, part].ravel(), measured(photos)[:, part].ravel())[0, 1] > 0.8


def test_where_nothing_is_known_of_any_all_come_up_and_nothing_is_learnt(network, photos):
    losses, trainee = trainee_of(network, photos)
    assert trainee.size == len(photos)
    found = losses(*trainee.batch(np.arange(4), generator()))
    assert set(found) == {"expression"}
    assert found["expression"] == 0
    found["expression"].backward()
    assert not any(weight.grad is not None and weight.grad.any() for weight in losses.parameters())


def test_without_an_adversary_photos_do_not_come_up_beside_heads_and_warps(network, mixed):
    losses, trainee = trainee_of(network, mixed)
    assert trainee.size == 4
    pictures, truth, person = trainee.batch(np.arange(4), generator())
    wanted = mixed.expression[[1, 4, 7, 8]] / spreads(mixed)[:57]
    np.testing.assert_allclose(truth, np.clip(wanted, -5, 5), rtol=1e-6)
    assert truth[2:, :8].isnan().all()
    assert [sorted(set(mixed.people))[number] for number in person] == mixed.people[[1, 4, 7, 8]].tolist()
    assert pictures.shape == (4, 3, 64, 64)
    assert losses(pictures, truth, person)["expression"] > 0


def test_for_the_adversary_photos_come_up_too(network, mixed):
    losses, trainee = trainee_of(network, mixed, adversary=0.1)
    assert trainee.size == len(mixed)
    _, truth, person = trainee.batch(np.arange(len(mixed)), generator())
    assert truth.isnan().all(dim=1).sum() == len(mixed) - 4
    assert len(set(person.tolist())) == len(np.unique(mixed.people))
    assert set(losses(*trainee.batch(np.arange(4), generator()))) == {"expression", "adversary"}


def test_reading_trains_all_that_reads_and_nothing_else(network, mixed):
    losses, trainee = trainee_of(network, mixed, adversary=1)
    losses.requires_grad_(False)
    trained = [weight.requires_grad_() for weights, _ in trainee.paces() for weight in weights]
    sum(losses(*trainee.batch(np.arange(4), generator())).values()).backward()
    assert all(weight.grad is not None for weight in trained)
    untrained = {name.partition(".")[0] for name, weight in network.merger.named_parameters() if not weight.requires_grad}
    assert untrained == {"expected", "carry", "places", "blocks", "norm"}


def test_expressions_are_read_in_order_whatever_comes_together(network, photos, monkeypatch):
    from normpipe.training.norface import reading

    at_once = read_expressions(network.encoder, network.merger, photos, torch.device("cpu"))
    monkeypatch.setattr(reading, "_TOGETHER", 5)
    few = read_expressions(network.encoder, network.merger, photos, torch.device("cpu"))
    assert at_once.shape == (len(photos), 57)
    assert np.allclose(at_once, few, atol=1e-5)
