"""The losses: plain formulas and scikit-learn say the same, the masked has no part, parts of a batch add up to the whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_squared_error

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.classify.labels import Task  # noqa: E402
from normpipe.classify.losses import Criterion, agreement, asymmetric_error, attached, moments, scores  # noqa: E402
from normpipe.classify.networks.experts import Balance, balance_loss  # noqa: E402
from normpipe.classify.networks.prediction import Prediction, Regions  # noqa: E402
from normpipe.classify.objective import Objective  # noqa: E402

torch.set_num_threads(1)

ROWS, LABELS = 12, 4
SEEN = list(itertools.product(Task, [0, 1, 2]))


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def logits(seed, *shape):
    return torch.randn(*(shape or (ROWS, LABELS)), generator=drawn(seed), dtype=torch.float64) * 2


def truth(task, seed):
    """(ROWS, LABELS) values; known; weights of rows; weights of labels."""
    noise = torch.rand(ROWS, LABELS, generator=drawn(seed + 100), dtype=torch.float64)
    known = torch.rand(ROWS, LABELS, generator=drawn(seed + 200)) < 0.7
    match task:
        case Task.EMOTION:
            values = torch.nn.functional.one_hot(noise.argmax(1), LABELS).double()
            known = known[:, :1].expand(-1, LABELS)
        case Task.AU:
            values = (noise > 0.6).double()
        case Task.AU_INTENSITY:
            values = (noise * 6).floor()
        case Task.VALENCE_AROUSAL:
            values = noise * 2 - 1
    rows = torch.rand(ROWS, generator=drawn(seed + 300), dtype=torch.float64) + 0.1
    of_labels = torch.rand(LABELS, generator=drawn(seed + 400), dtype=torch.float64) + 0.5
    return values, known, rows, of_labels


def losses(task, prediction, values, known, rows, of_labels, **objective):
    criterion = Criterion(task, Objective(**objective), of_labels)
    return criterion.losses(criterion.sums(prediction, values, known, rows))


def lnl(seed):
    regions = Regions(logits(seed, ROWS, 9, LABELS), logits(seed + 1, ROWS, 9).softmax(1), logits(seed + 2, ROWS, LABELS))
    return Prediction(logits(seed + 3), regions=regions)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("occurrence", ["cross_entropy", "asymmetric"])
def test_action_units(seed, occurrence):
    said, (values, known, rows, of_labels) = logits(seed), truth(Task.AU, seed)
    found = losses(Task.AU, Prediction(said), values, known, rows, of_labels, occurrence=occurrence)
    p = 1 / (1 + np.exp(-said.numpy()))
    y, w = values.numpy(), known.numpy() * rows.numpy()[:, None] * of_labels.numpy()
    factor = p if occurrence == "asymmetric" else 1
    wanted = -(w * (y * np.log(p) + factor * (1 - y) * np.log(1 - p))).sum() / w.sum()
    assert found.keys() == {"labels"}
    assert found["labels"].item() == pytest.approx(wanted, rel=1e-12)
    if occurrence == "cross_entropy":
        by_label = [log_loss(y[:, c], p[:, c], sample_weight=w[:, c], labels=[0, 1]) for c in range(LABELS)]
        assert found["labels"].item() == pytest.approx(np.average(by_label, weights=w.sum(0)), rel=1e-9)


def test_the_factor_of_the_asymmetric_loss_has_no_gradient():
    said = torch.tensor([[1.3, -0.4]], dtype=torch.float64, requires_grad=True)
    asymmetric_error(said, torch.tensor([[0.0, 1.0]], dtype=torch.float64)).sum().backward()
    p = said.detach().sigmoid()[0]
    torch.testing.assert_close(said.grad[0], torch.stack([p[0] * p[0], p[1] - 1]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_emotions(seed):
    said, (values, known, rows, of_labels) = logits(seed), truth(Task.EMOTION, seed)
    found = losses(Task.EMOTION, Prediction(said), values, known, rows, of_labels)
    chosen = known[:, 0]
    weights = (rows * of_labels[values.argmax(1)])[chosen]
    wanted = log_loss(
        values.argmax(1)[chosen], said.softmax(1)[chosen].numpy(), sample_weight=weights.numpy(), labels=range(LABELS)
    )
    assert found["labels"].item() == pytest.approx(wanted, rel=1e-9)
    one = torch.nn.functional.cross_entropy(said[chosen], values.argmax(1)[chosen], of_labels)
    alike = losses(Task.EMOTION, Prediction(said), values, known, torch.ones(ROWS), of_labels)
    assert alike["labels"].item() == pytest.approx(one.item(), rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("task", [Task.AU_INTENSITY, Task.VALENCE_AROUSAL])
def test_numbers(seed, task):
    said, (values, known, rows, of_labels) = logits(seed), truth(task, seed)
    found = losses(task, Prediction(said), values, known, rows, of_labels)
    weights = (known * rows[:, None] * of_labels).flatten().numpy()
    wanted = mean_squared_error(values.flatten().numpy(), scores(task, said).flatten().numpy(), sample_weight=weights)
    assert found["labels"].item() == pytest.approx(wanted, rel=1e-9)
    assert ("agreement" in found) == (task is Task.VALENCE_AROUSAL), "unless given"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agreement_is_that_of_the_textbooks(seed):
    x, y = logits(seed, 30, 3), logits(seed + 50, 30, 3) + 0.5
    y = x + 0.5 * y
    sums = moments(x, y, torch.ones(30, 3))
    a, b = x.numpy(), y.numpy()
    covariance = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    concordance = 2 * covariance / (a.var(0) + b.var(0) + (a.mean(0) - b.mean(0)) ** 2)
    np.testing.assert_allclose(agreement(sums, "ccc").numpy(), concordance, rtol=1e-9)
    for column in range(3):  # analysis of variance: rows are subjects, the two numbers raters
        table = np.stack([a[:, column], b[:, column]], axis=1)
        of_rows = 2 * table.mean(1).var(ddof=1)
        residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        of_error = (residual**2).sum() / (len(table) - 1)
        assert agreement(sums, "icc")[column].item() == pytest.approx((of_rows - of_error) / (of_rows + of_error), rel=1e-9)


def test_agreement_at_its_ends():
    x = logits(0, 30, 2)
    for measure in ("icc", "ccc"):
        torch.testing.assert_close(agreement(moments(x, x, torch.ones(30, 2)), measure), torch.ones(2).double())
        torch.testing.assert_close(
            agreement(moments(x, -x + x.mean(0) * 2, torch.ones(30, 2)), measure), -torch.ones(2).double()
        )
        still = torch.full((30, 2), 0.3)
        assert (agreement(moments(still, still, torch.ones(30, 2)), measure).abs() < 1e-3).all()
    offset = moments(x, x + 1, torch.ones(30, 2))
    torch.testing.assert_close(agreement(offset, "icc"), torch.ones(2).double())
    assert (agreement(offset, "ccc") < 0.95).all()


@pytest.mark.parametrize("measure", ["icc", "ccc"])
@pytest.mark.parametrize("task", [Task.AU_INTENSITY, Task.VALENCE_AROUSAL])
def test_the_agreement_loss_is_over_what_is_known(measure, task):
    said, (values, known, rows, of_labels) = logits(1), truth(task, 1)
    known[:, 2] = False
    found = losses(task, Prediction(said), values, known, rows, of_labels, agreement=0.5, measure=measure)
    each = []
    for column in (0, 1, 3):
        here = known[:, column]
        sums = moments(scores(task, said)[here, column : column + 1], values[here, column : column + 1], rows[here, None])
        each.append(1 - agreement(sums, measure).item())
    assert found["agreement"].item() == pytest.approx(0.5 * np.mean(each), rel=1e-9)


@pytest.mark.parametrize(("task", "seed"), SEEN)
def test_the_masked_has_exactly_no_gradient(task, seed):
    said = logits(seed).float().requires_grad_()
    values, known, rows, of_labels = truth(task, seed)
    values[~known] = float("nan")
    found = losses(task, Prediction(said), values.float(), known, rows.float(), of_labels.float(), agreement=1)
    torch.stack(list(found.values())).sum().backward()
    assert torch.isfinite(said.grad).all()
    assert (said.grad[~known] == 0).all()
    assert said.grad[known].abs().sum() > 0


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([Task.AU_INTENSITY, Task.VALENCE_AROUSAL]),
    st.sampled_from(["icc", "ccc"]),
    st.lists(st.booleans(), min_size=ROWS * LABELS, max_size=ROWS * LABELS),
    st.sampled_from([float("nan"), float("inf"), -7.0, 1e30]),
    st.integers(0, 5),
)
def test_what_stands_where_a_number_is_not_known_changes_nothing(task, measure, flags, junk, seed):
    values, _, rows, of_labels = truth(task, seed)
    known = torch.tensor(flags).view(ROWS, LABELS)
    said = logits(seed).requires_grad_()

    def found(values):
        each = losses(task, Prediction(said), values, known, rows, of_labels, agreement=0.5, measure=measure)
        gradient = torch.autograd.grad(torch.stack(list(each.values())).sum(), said)[0]
        return {name: value.detach() for name, value in each.items()}, gradient

    plain, gradient = found(values)
    spoilt, same = found(values.where(known, junk))
    assert {name: value.item() for name, value in spoilt.items()} == {name: value.item() for name, value in plain.items()}
    assert torch.equal(same, gradient)
    assert torch.isfinite(gradient).all()
    assert (gradient[~known] == 0).all()
    weights = known * rows[:, None] * of_labels
    wanted = (weights * (scores(task, said.detach()) - values) ** 2).sum() / weights.sum().clamp(min=1e-12)
    assert plain["labels"].item() == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize("task", list(Task))
def test_nothing_known_costs_nothing(task):
    prediction = lnl(0)
    values, known, rows, of_labels = truth(task, 0)
    found = losses(task, prediction, values, known & False, rows, of_labels, agreement=1)
    assert {name: value.item() for name, value in found.items()} == dict.fromkeys(found, 0.0)


def test_a_row_counts_as_much_as_it_weighs():
    said, (values, known, _, of_labels) = logits(0), truth(Task.AU, 0)
    rows = torch.ones(ROWS, dtype=torch.float64)
    rows[3] = 2
    twice = torch.cat([torch.arange(ROWS), torch.tensor([3])])
    weighted = losses(Task.AU, Prediction(said), values, known, rows, of_labels)
    repeated = losses(Task.AU, Prediction(said[twice]), values[twice], known[twice], torch.ones(ROWS + 1), of_labels)
    assert weighted["labels"].item() == pytest.approx(repeated["labels"].item(), rel=1e-12)


@pytest.mark.parametrize("task", list(Task))
def test_the_joint_network_has_the_losses_of_its_parts(task):
    prediction, (values, known, rows, of_labels) = lnl(0), truth(task, 0)
    found = losses(task, prediction, values, known, rows, of_labels, agreement=0, regions=0.5, overview=0.25, spread=0.1)
    alone = lambda said, rows: losses(task, Prediction(said), values, known, rows, of_labels, agreement=0)["labels"]  # noqa: E731
    regions = prediction.regions
    errors = [alone(regions.logits[:, k], rows * regions.weights[:, k]) for k in range(9)]
    counted = [Criterion(task, Objective(agreement=0), of_labels).sums(
        Prediction(regions.logits[:, k]), values, known, rows * regions.weights[:, k])["labels"] for k in range(9)]  # fmt: skip
    whole = Criterion(task, Objective(agreement=0), of_labels).sums(prediction, values, known, rows)["labels"][1]
    wanted = sum(error * sums[1] for error, sums in zip(errors, counted, strict=True)) / whole
    assert found["labels"].item() == pytest.approx(alone(prediction.logits, rows).item(), rel=1e-12)
    assert found["regions"].item() == pytest.approx(0.5 * wanted.item(), rel=1e-9)
    assert found["overview"].item() == pytest.approx(0.25 * alone(regions.overview, rows).item(), rel=1e-12)


def test_weights_of_regions_are_held_against_collapse():
    values, known, rows, of_labels = truth(Task.AU, 0)
    known = torch.ones_like(known)

    def spread(weights):
        regions = Regions(logits(0, ROWS, 4, LABELS), weights, logits(1))
        return losses(Task.AU, Prediction(logits(2), regions=regions), values, known, rows, of_labels, spread=1)["spread"]

    even = torch.full((ROWS, 4), 0.25, dtype=torch.float64)
    one = torch.eye(4, dtype=torch.float64)[:1].expand(ROWS, -1).clone().requires_grad_()
    assert spread(even).item() == pytest.approx(0, abs=1e-9)
    assert spread(one).item() == pytest.approx(np.log(4))
    spread(one).backward()
    assert torch.isfinite(one.grad).all()


def balances(seed):
    numbers = torch.rand(3, 2, 4, generator=drawn(seed)) + 0.1
    return {name: Balance(*part, part[0].sum()) for name, part in zip(("input", "output"), numbers, strict=False)}


def test_the_balance_of_every_mixture_counts():
    made = balances(0)
    values, known, rows, of_labels = truth(Task.AU, 0)
    found = losses(Task.AU, Prediction(logits(0), made), values, known, rows, of_labels, balance=0.1)
    wanted = sum(balance_loss(each.importance, each.load).item() for each in made.values())
    assert found["balance"].item() == pytest.approx(0.1 * wanted, rel=1e-6)
    assert "balance" not in losses(Task.AU, Prediction(logits(0), made), values, known, rows, of_labels, balance=0)


def part(prediction, chosen):
    regions = prediction.regions
    return Prediction(
        prediction.logits[chosen],
        regions=Regions(regions.logits[chosen], regions.weights[chosen], regions.overview[chosen]),
    )


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(list(Task)), st.integers(0, 5), st.integers(1, ROWS - 1))
def test_parts_of_a_batch_add_up(task, seed, split):
    """The losses and their gradients, however a batch is shared out."""
    criterion = Criterion(task, Objective(agreement=1), truth(task, seed)[3])
    values, known, rows, _ = truth(task, seed)
    prediction = lnl(seed)
    leaves = [prediction.logits, prediction.regions.logits, prediction.regions.weights, prediction.regions.overview]
    for leaf in leaves:
        leaf.requires_grad_()
    whole = criterion.sums(prediction, values, known, rows)
    losses_of_whole = criterion.losses(whole)
    wanted = torch.autograd.grad(torch.stack(list(losses_of_whole.values())).sum(), leaves)

    shares = [torch.arange(ROWS) < split, torch.arange(ROWS) >= split]
    own = [criterion.sums(part(prediction, share), values[share], known[share], rows[share]) for share in shares]
    added = {name: own[0][name] + own[1][name] for name in own[0]}
    for name, value in criterion.losses(added).items():
        torch.testing.assert_close(value, losses_of_whole[name])
    gradients = [
        torch.autograd.grad(torch.stack(list(criterion.losses(attached(added, each)).values())).sum(), leaves) for each in own
    ]
    for first, second, both in zip(*gradients, wanted, strict=True):
        torch.testing.assert_close(first + second, both)


@pytest.mark.parametrize(("task", "low", "high"), [(Task.AU, 0, 1), (Task.AU_INTENSITY, 0, 5), (Task.VALENCE_AROUSAL, -1, 1)])
def test_scores_are_of_the_tasks_range(task, low, high):
    said = scores(task, torch.tensor([-50.0, 0.0, 50.0]))
    torch.testing.assert_close(said, torch.tensor([low, (low + high) / 2, high]).float())


def test_scores_of_emotions_are_probabilities():
    torch.testing.assert_close(scores(Task.EMOTION, logits(0)).sum(1), torch.ones(ROWS).double())
