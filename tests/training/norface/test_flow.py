"""Learning to generate: what is trained, what is left alone, and which end is the right one."""

import numpy as np
import pytest

from .small import LATENT, generator, teacher_of, torch, training

from normpipe.training.norface.drawing import sample_sheet  # isort: skip
from normpipe.training.norface.flow import FlowLosses, FlowTrainee  # isort: skip
from normpipe.training.norface.latent import fit_latents  # isort: skip
from normpipe.training.norface.network import new_network  # isort: skip
from normpipe.training.norface.painted import PaintedSet  # isort: skip
from normpipe.training.norface.targets import STRENGTHS, build_targets, read_targets  # isort: skip
from normpipe.training.norface.teacher import Layers  # isort: skip


@pytest.fixture
def losses(run_folder):
    return FlowLosses(new_network(training(run_folder, latent=LATENT)))


@pytest.fixture
def painted(network, photos, tmp_path):
    teacher = teacher_of(photos, by_rig=0)
    passed = np.random.default_rng(0).normal(0, 1, (9, 121)).astype(np.float32)
    layers = Layers.of(network.common_face, teacher.layout.neutral())
    parts = build_targets(photos, np.arange(3), passed, teacher, layers, tmp_path / "targets", 1, lambda done, total: None)
    return PaintedSet(read_targets(parts, np.arange(3), passed), teacher, layers)


def test_flow_trains_all_that_is_behind_the_code_but_the_autoencoder(losses, painted, photos):
    trainee = FlowTrainee(losses, painted)
    torch.nn.init.normal_(losses.decoder.unet.conv_out.weight, std=0.1)  # else nothing behind it gets a gradient yet
    losses.requires_grad_(False)
    trained = [weight.requires_grad_() for weights, _ in trainee.paces() for weight in weights]
    parts = losses(*trainee.batch(np.arange(4), generator()))
    assert set(parts) == {"end"}
    parts["end"].backward()
    assert all(weight.grad is not None for weight in trained)
    for part, expected in (
        (losses.merger, {"questions", "answer", "narrow", "read", "expected"}),
        (losses.decoder, {"autoencoder"}),
    ):
        assert {name.partition(".")[0] for name, weight in part.named_parameters() if not weight.requires_grad} == expected
    sheet = sample_sheet(losses, photos, painted.targets)
    assert sheet.shape == (3 * 64, (1 + len(STRENGTHS)) * 64, 3)


def test_batches_come_again_and_codes_are_disturbed_but_not_what_is_drawn(losses, painted):
    trainee = FlowTrainee(losses, painted)
    one, again, other = (trainee.batch(np.arange(4), generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(*each) for each in zip(one, again, strict=True))
    assert [torch.equal(*each) for each in zip(one, other, strict=True)] == [False, True, False, False]
    codes, pictures, noise, time = one
    assert 0 < (codes.numpy() - painted.targets.passed[:4]).std() < 0.2
    assert torch.equal(pictures, painted.pictures(np.arange(4)))
    assert noise.shape == (4, *losses.decoder.noise.shape[1:])
    assert ((time >= 0) & (time < 1)).all()


def test_half_of_the_examples_are_at_the_start_of_a_drawing(losses, painted):
    _, _, noise, time = FlowTrainee(losses, painted).batch(np.arange(6), generator())
    own = losses.decoder.noise[0]
    assert (time == 0).tolist() == [True, False] * 3
    assert [bool(torch.equal(each, own)) for each in noise] == [True, False] * 3


def test_who_knows_the_end_loses_nothing(losses, painted, monkeypatch):
    """Latents are on the straight line from the noise to where they go."""
    codes, pictures, noise, time = FlowTrainee(losses, painted).batch(np.arange(4), generator())
    with torch.no_grad():
        latents = losses.decoder.latents(pictures)

    def end(on_the_way, asked, wanted):
        assert torch.equal(asked, time)
        shares = time.view(-1, 1, 1, 1)
        torch.testing.assert_close(on_the_way, (1 - shares) * noise + shares * latents, atol=1e-5, rtol=1e-4)
        return latents

    monkeypatch.setattr(losses.decoder, "end", end)
    assert float(losses(codes, pictures, noise, time)["end"]) == 0


def test_ends_are_learnt(losses, painted):
    fit_latents(losses.decoder, painted)
    trainee = FlowTrainee(losses, painted)
    batch = trainee.batch(np.arange(9), generator())
    optimizer = torch.optim.Adam([weight for weights, _ in trainee.paces() for weight in weights], 1e-2)
    found = []
    for _ in range(60):
        loss = losses(*batch)["end"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.5 * found[0]
