"""Attackers: what each of them finds where it is known what there is to find."""

import numpy as np
import pytest

from normpipe.audit.attackers import Attack, AttackLimits, Identity, Method, identity, worst
from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import Floats, Groups, Names
from normpipe.audit.identity import Verification
from normpipe.audit.pairs import Rows
from normpipe.audit.probes import PersonSpace, halves
from tests.audit.factories import FEW

_LIMITS = AttackLimits(pairs=20_000)


def _attacked(original: Floats, normalized: Floats, subjects: Names) -> dict[Method, Figure]:
    found = identity({"f": original}, {"f": normalized}, Rows(subjects), FEW, _LIMITS)
    figures = {}
    for attack in found.attacks:
        assert isinstance(attack.result, Verification)
        assert isinstance(attack.result.auc, Figure)
        figures[attack.method] = attack.result.auc
    return figures


def _people(seed: int = 0) -> tuple[Names, Floats, Floats]:
    """Subjects, their traits in 6 columns, and what varies within people in 20 columns."""
    random = np.random.default_rng(seed)
    traits = np.repeat(random.standard_normal((80, 6)), 5, axis=0)
    subjects = np.repeat(np.char.add("p", np.arange(80).astype(str)), 5)
    return subjects, traits.astype(np.float32), random.standard_normal((400, 20)).astype(np.float32)


def test_normalized_images_that_are_the_originals_give_the_originals_figures() -> None:
    subjects, traits, noise = _people()
    originals = np.hstack([traits, noise])
    found = identity({"f": originals}, {"f": originals}, Rows(subjects), FEW, _LIMITS)
    by_method = {attack.method: attack.result for attack in found.attacks}
    assert [attack.result for attack in found.before] == [by_method[Method.COSINE], by_method[Method.PROBE]]
    assert found.identification == found.identification_before


def test_a_probe_finds_the_person_under_louder_variation() -> None:
    subjects, traits, noise = _people()
    hidden = np.hstack([traits, 6 * noise])
    figures = _attacked(hidden, hidden, subjects)
    assert figures[Method.COSINE].value < 0.65
    assert figures[Method.PROBE].low > 0.8


def test_the_cross_probe_finds_what_was_moved_elsewhere() -> None:
    """The normalized feature holds the person, turned: no cosine with the original shows it."""
    subjects, traits, noise = _people()
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((26, 26)))[0].astype(np.float32)
    original = np.hstack([traits, 0.5 * noise])
    normalized = np.hstack([traits, 0.5 * np.roll(noise, 7, axis=0)]) @ turn
    figures = _attacked(original, normalized, subjects)
    assert figures[Method.CROSS_COSINE].low < 0.6
    assert figures[Method.CROSS_PROBE].low > 0.8


def test_where_no_person_is_left_every_attack_is_chance() -> None:
    subjects, traits, noise = _people()
    figures = _attacked(
        np.hstack([traits, noise]), np.random.default_rng(9).standard_normal((400, 26)).astype(np.float32), subjects
    )
    for figure in figures.values():
        assert figure.low < 0.53
        assert figure.high > 0.47


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_constant_image_is_chance_to_every_attack(noise: float) -> None:
    subjects, traits, rest = _people()
    constant = np.full((400, 26), 0.3, np.float32) + np.float32(noise) * rest[:, :1]
    for figure in _attacked(np.hstack([traits, rest]), constant, subjects).values():
        assert figure.low <= 0.5 + 1e-9
        assert figure.high >= 0.5 - 1e-9


def test_one_fixed_face_per_person_is_found_out() -> None:
    subjects, traits, _ = _people()
    figures = _attacked(traits, traits, subjects)
    assert figures[Method.COSINE].value == pytest.approx(1)
    assert figures[Method.PROBE].value > 0.999


def test_the_worst_attack_is_the_one_that_counts() -> None:
    subjects, traits, noise = _people()
    hidden = np.hstack([traits, 6 * noise])
    found = identity({}, {"f": hidden, "g": noise}, Rows(subjects), FEW, _LIMITS)
    assert found.worst is not None
    assert (found.worst.feature, found.worst.method) == ("f", Method.PROBE)
    assert [attack.method for attack in found.attacks if attack.feature == "g"] == [Method.COSINE, Method.PROBE]
    assert worst([Attack("f", Method.COSINE, NotMeasurable(Why.NO_SUBJECTS, ""))]) is None


def test_what_cannot_be_attacked_says_why() -> None:
    subjects, _, noise = _people()
    alone = np.char.add("q", np.arange(400).astype(str))

    def reasons(names: Names) -> set[Why]:
        found: Identity = identity({"f": noise}, {"f": noise}, Rows(names), FEW, _LIMITS)
        assert found.worst is None
        return {attack.result.why for attack in found.attacks if isinstance(attack.result, NotMeasurable)}

    assert reasons(alone) == {Why.ONE_IMAGE_PER_SUBJECT}
    assert reasons(np.full(400, "")) == {Why.NO_SUBJECTS}
    assert reasons(np.full(400, "p")) == {Why.ONE_SUBJECT}
    few = identity({"f": noise[:40]}, {"f": noise[:40]}, Rows(subjects[:40]), FEW, _LIMITS)
    probe = next(attack.result for attack in few.attacks if attack.method is Method.PROBE)
    assert isinstance(probe, NotMeasurable)
    assert probe.why is Why.TOO_FEW_SUBJECTS


def test_rows_without_a_face_are_left_out() -> None:
    subjects, traits, noise = _people()
    holes = np.hstack([traits, noise])
    holes[::7] = np.nan
    kept = np.isfinite(holes).all(axis=1)
    with_holes, without = _attacked(holes, holes, subjects), _attacked(holes[kept], holes[kept], subjects[kept])
    for method in Method:
        assert with_holes[method].value == pytest.approx(without[method].value, abs=1e-6)


def test_halves_share_no_person_and_spread_people_with_several_images() -> None:
    names = np.array(["a", "a", "b", "b", "c", "c", "d", "d", "e", "f", "g", "h"])
    people = Groups.of(names)
    half = halves(people, 0)
    assert all(len(set(half[names == name])) == 1 for name in people.names)
    several = np.array([half[names == name][0] for name in "abcd"])
    assert several.sum() == 2


def test_the_ratio_is_that_of_the_model_it_is_made_for() -> None:
    """Against the densities of scipy's multivariate normal."""
    from scipy.stats import multivariate_normal

    subjects, traits, noise = _people()
    space = PersonSpace.fit(np.hstack([traits, noise]), Groups.of(subjects), 0)
    random = np.random.default_rng(0)
    one, two = random.standard_normal((2, 3, len(space.spread)))
    expected = np.zeros(3)
    for column, spread in enumerate(space.spread):
        joint = multivariate_normal(np.zeros(2), [[spread + 1, spread], [spread, spread + 1]])
        alone = multivariate_normal(0.0, spread + 1)
        both = np.stack([one[:, column], two[:, column]], axis=1)
        expected += joint.logpdf(both) - alone.logpdf(both[:, 0]) - alone.logpdf(both[:, 1])
    assert space.scores(one, two) == pytest.approx(expected)
