"""The losses: each is nothing where all is right, something where it is not, and blind to what it shall not see."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.training.norface import losses  # noqa: E402


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_what_is_not_known_neither_counts_nor_teaches():
    read = torch.zeros(2, 3, requires_grad=True)
    truth = torch.tensor([[2.0, float("nan"), 0.0], [float("nan"), float("nan"), 4.0]])
    error = losses.known_error(read, truth)
    assert error.item() == pytest.approx((4 + 0 + 16) / 3)
    error.backward()
    assert read.grad[0, 1] == 0
    assert torch.isfinite(read.grad).all()
    assert losses.known_error(read, torch.full((2, 3), float("nan"))).item() == 0


def test_only_what_the_mask_covers_counts():
    drawn, wanted = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    assert float(losses.covered_error(drawn, wanted, mask)) == 0
    mask[..., :2] = 1
    wanted[..., 2:] = 100
    assert float(losses.covered_error(drawn, wanted, mask)) == pytest.approx(1)


def test_hidden_patches_are_judged_by_their_pattern_and_seen_ones_not(generator):
    pictures = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    patches = torch.nn.functional.unfold(pictures, 16, stride=16).transpose(1, 2)
    guessed = (patches - patches.mean(2, keepdim=True)) / patches.std(2, keepdim=True)
    hidden = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])
    assert float(losses.hidden_error(guessed, pictures, hidden, 16)) < 1e-3
    assert float(losses.hidden_error(guessed, pictures * 0.3 + 0.2, hidden, 16)) < 1e-3, "light is no part of the task"
    wrong = torch.where(hidden[..., None] > 0, guessed, guessed + 100)
    assert float(losses.hidden_error(wrong, pictures, hidden, 16)) < 1e-3
    assert float(losses.hidden_error(-guessed, pictures, hidden, 16)) > 1


def test_judge_and_maker_want_the_opposite():
    verdict = torch.zeros(4, requires_grad=True)
    losses.fooling(verdict).backward()
    assert (verdict.grad < 0).all(), "drawings shall be judged higher"
    verdict.grad = None
    losses.telling(torch.full((4,), 2.0), verdict).backward()
    assert (verdict.grad > 0).all(), "the judge shall judge them lower"
    assert float(losses.telling(torch.full((4,), 1.5), torch.full((4,), -1.5))) == 0


def test_perception_and_identity_are_of_directions(generator):
    one, other = torch.randn(2, 5, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    assert float(losses.perceived_error(one, one * 3)) == pytest.approx(0, abs=1e-6)
    assert float(losses.perceived_error(one, other)) > 0.1
    assert float(losses.identity_distance(one[:, 0], one[:, 0] * 3)) == pytest.approx(0, abs=1e-6)
    assert float(losses.identity_distance(one[:, 0], -one[:, 0])) == pytest.approx(2)


def test_landmarks_are_compared_wherever_and_however_large_the_face_is(generator):
    points = torch.rand(1, 468, 2, generator=generator)
    moved = points * 2 + 5
    assert float(losses.mesh_error(points, moved)) == pytest.approx(0, abs=1e-4)
    bent = points.clone()
    bent[:, 61] += 0.3
    assert float(losses.mesh_error(points, bent)) > 0
    assert float(losses.aperture_error(points, bent)) == 0, "a mouth corner opens nothing"
    bent[:, 14] += 0.5
    assert float(losses.aperture_error(points, bent)) > 0.01


def test_what_is_learnt_behind_the_reversal_is_unlearnt_before_it():
    values = torch.ones(3, requires_grad=True)
    reversed_values = losses.reversed_gradient(values, 0.5)
    assert torch.equal(reversed_values, values)
    (reversed_values * torch.tensor([1.0, 2, 3])).sum().backward()
    assert values.grad.tolist() == [-0.5, -1, -1.5]


def test_the_adversary_finds_people_in_a_code_that_tells_them():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        guesser = losses.adversary(4, 2)
    code = torch.tensor(np.repeat([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], 8, axis=0), dtype=torch.float32)
    person = torch.arange(2).repeat_interleave(8)
    optimizer = torch.optim.Adam(guesser.parameters(), 0.05)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(guesser(code), person).backward()
        optimizer.step()
    assert guesser(code).argmax(1).equal(person)
