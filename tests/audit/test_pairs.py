"""Pairs: who is compared with whom, with what weight, and that 100,000 rows cost no more than their limit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.audit.figures import NotMeasurable, Why
from normpipe.audit.groups import Groups
from normpipe.audit.pairs import Pairs, Rows, sample_pairs


def _pairs(rows: Rows, **options: int) -> Pairs:
    found = sample_pairs(rows, np.ones(len(rows), bool), **options)
    assert isinstance(found, Pairs)
    return found


def _random_rows(seed: int, count: int = 60) -> Rows:
    random = np.random.default_rng(seed)
    return Rows(
        random.choice(list("abcdefgh"), count), random.choice(["x", "y"], count), random.choice(["", "clip 1", "clip 2"], count)
    )


@given(st.integers(0, 50), st.sampled_from([40, 10_000]))
@settings(deadline=None)
def test_pairs_share_the_label_and_never_the_clip(seed: int, limit: int) -> None:
    rows = _random_rows(seed)
    pairs = _pairs(rows, limit=limit)
    one, two = pairs.first, pairs.second
    assert rows.labels is not None
    assert rows.sequences is not None
    assert (one != two).all()
    assert (rows.labels[one] == rows.labels[two]).all()
    assert ((rows.subjects[one] == rows.subjects[two]) == pairs.same).all()
    clips = rows.sequences
    assert ((clips[one] != clips[two]) | (clips[one] == "") | ~pairs.same).all()


def test_few_rows_give_every_pair_with_weights_that_make_people_equal() -> None:
    rows = Rows(np.array(list("aaabbc")))
    pairs = _pairs(rows)
    assert not pairs.drawn
    assert len(pairs.first) == 15
    owner = rows.subjects[pairs.first]
    for name, count in (("a", 3), ("b", 1)):
        mine = pairs.same & (owner == name)
        assert mine.sum() == count
        assert np.isclose(pairs.weights[mine].sum(), 1)
    share = {"a": 1 / 3, "b": 1 / 2, "c": 1.0}
    expected = [share[rows.subjects[i]] * share[rows.subjects[j]] for i, j in zip(pairs.first, pairs.second, strict=True)]
    assert np.allclose(pairs.weights[~pairs.same], np.array(expected)[~pairs.same])


def test_drawn_pairs_occur_in_proportion_to_the_weights_of_all_pairs() -> None:
    rows = _random_rows(1, 40)
    every, drawn = _pairs(rows), _pairs(rows, limit=100)
    assert drawn.drawn
    counts = np.zeros((40, 40))
    for seed in range(400):
        some = _pairs(rows, limit=100, seed=seed)
        np.add.at(counts, (some.first, some.second), some.weights / (100 if some.same.sum() == 0 else 1))
    truth = np.zeros((40, 40))
    np.add.at(truth, (every.first, every.second), every.weights)
    for kind in (every.same, ~every.same):
        cells = every.first[kind], every.second[kind]
        found = counts[cells] + counts[cells[::-1]]
        expected = truth[cells]
        assert np.corrcoef(found, expected)[0, 1] > 0.9
        assert np.abs(found / found.sum() - expected / expected.sum()).max() < 0.01


def test_drawn_pairs_of_a_person_weigh_one_together() -> None:
    rows = Rows(np.repeat(np.array(list("abcdef")), [300, 20, 20, 20, 20, 20]))
    pairs = _pairs(rows, limit=2000)
    totals = np.bincount(pairs.owners[pairs.same, 0], pairs.weights[pairs.same])
    assert np.allclose(totals, 1)


def test_one_seed_one_sample() -> None:
    rows = _random_rows(2, 200)
    first, again, other = (_pairs(rows, limit=50, seed=seed) for seed in (7, 7, 8))
    assert (first.first == again.first).all()
    assert (first.second == again.second).all()
    assert not np.array_equal(first.first, other.first)


def test_what_cannot_be_compared_says_why() -> None:
    def why(subjects: list[str], labels: list[str] | None = None) -> Why:
        rows = Rows(np.array(subjects), None if labels is None else np.array(labels))
        found = sample_pairs(rows, np.ones(len(rows), bool))
        assert isinstance(found, NotMeasurable)
        return found.why

    assert why(["", ""]) is Why.NO_SUBJECTS
    assert why(["a", "a", ""]) is Why.ONE_SUBJECT
    assert why(["a", "b", "c"]) is Why.ONE_IMAGE_PER_SUBJECT
    assert why(["a", "a", "b"], ["x", "y", "x"]) is Why.ONE_IMAGE_PER_SUBJECT
    assert why(["a", "a", "b"], ["x", "x", "y"]) is Why.ONE_SUBJECT


def test_rows_without_a_face_are_in_no_pair() -> None:
    rows = _random_rows(3)
    usable = np.random.default_rng(0).random(60) > 0.3
    pairs = sample_pairs(rows, usable)
    assert isinstance(pairs, Pairs)
    assert usable[pairs.first].all()
    assert usable[pairs.second].all()


def test_a_hundred_thousand_rows() -> None:
    random = np.random.default_rng(0)
    subjects = np.char.add("p", random.integers(0, 2000, 100_000).astype(str))
    pairs = _pairs(Rows(subjects, random.choice(["x", "y", "z"], 100_000)), limit=20_000)
    assert 39_000 < len(pairs.first) <= 40_000
    assert pairs.people == len(Groups.of(subjects))
