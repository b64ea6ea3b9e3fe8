"""Folds: nobody in two sets, the published people where they belong, and data that do not fit in one line without a name."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.classify.folds import Coverage, Fold, Rows, coverage, dealt, folds, protocol_targets, units
from normpipe.classify.labels import Task
from normpipe.classify.protocols import KFold, Protocol, Reading, Splits, Validation, load_protocol
from normpipe.errors import UsageError
from tests.classify.factories import label_table

UNITS = {"name": "own", "task": Task.AU, "labels": ("AU01", "AU12"), "metric": "f1"}
KFOLD = Protocol(**UNITS, kfold=KFold(k=3))
SPLITS = Protocol(**UNITS, splits=Splits(train=("train",), test=("test",)), validation=Validation(one_in=4))
CROSS = Protocol(**UNITS, datasets={"one": Reading(), "two": Reading()}, cross_dataset=("one", "two"))
PARTS = Protocol(
    **UNITS, parts={"A": ("p0", "p1", "p2"), "B": ("p3", "p4"), "C": ("p5",)}, folds={"first": "B", "second": "A"}, partial=True
)


def divided(protocol: Protocol, table) -> list[Fold]:
    return folds(protocol, Rows.of(table), protocol_targets(protocol, table))


def people_of(table, rows) -> set[str]:
    return {str(name) for name in np.array(table["subject"].to_pylist())[rows]}


def everyone(name: str, rows: int = 2, **columns):
    """Some labelled rows of each person on the lists of a protocol."""
    subjects = [subject for part in load_protocol(name).parts.values() for subject in part for _ in range(rows)]
    return label_table(subject=subjects, **{column: [value] * len(subjects) for column, value in columns.items()})


def test_bp4d_tests_the_published_people_and_takes_validation_from_the_others():
    protocol = load_protocol("bp4d-au")
    table = everyone("bp4d-au", dataset="BP4D", au_occurrence_12=1)
    found = divided(protocol, table)
    assert [fold.name for fold in found] == ["fold1", "fold2", "fold3"]
    for fold, part in zip(found, ("P3", "P2", "P1"), strict=True):
        assert people_of(table, fold.test) == set(protocol.parts[part])
        held_out = people_of(table, fold.validation)
        assert len(held_out) in {5, 6}
        assert people_of(table, fold.train) | held_out == {*sum(protocol.parts.values(), ())} - set(protocol.parts[part])


def test_fera_2015_is_one_fold():
    (fold,) = divided(load_protocol("bp4d-intensity"), everyone("bp4d-intensity", au_intensity_06=2.0))
    assert len(fold.test) == 40
    assert len(fold.train) + len(fold.validation) == 42


def test_disfa_reads_occurrence_from_intensities():
    table = everyone("disfa-au", rows=1, dataset="DISFA", au_intensity_12=2.0, au_intensity_01=1.0, au_occurrence_01=1)
    truth = protocol_targets(load_protocol("disfa-au"), table)
    assert truth.values[0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert truth.known[0].tolist() == [True, False, False, False, False, True, False, False]
    assert len(folds(load_protocol("disfa-au"), Rows.of(table), truth)) == 3


def test_across_datasets_each_is_read_its_own_way_and_tested_by_the_other():
    table = label_table(
        dataset=["BP4D"] * 4 + ["disfa"] * 4 + ["gft"],
        subject=["a", "a", "b", "b", "a", "a", "b", "b", "c"],
        au_occurrence_12=[0, 1, 0, 1, None, None, None, None, 1],
        au_intensity_12=[5.0, 0.0, None, None, 0.0, 1.0, 2.0, 3.0, 4.0],
    )
    protocol = load_protocol("bp4d-disfa")
    truth = protocol_targets(protocol, table)
    assert truth.values[:, protocol.labels.index("AU12")].tolist() == [0, 1, 0, 1, 0, 0, 1, 1, 0]
    assert not truth.known[8].any()
    found = {fold.name: fold for fold in divided(protocol, table)}
    assert found["disfa"].test.tolist() == [4, 5, 6, 7]
    assert sorted([*found["disfa"].train, *found["disfa"].validation]) == [0, 1, 2, 3]
    assert found["bp4d"].test.tolist() == [0, 1, 2, 3]


def test_splits_need_no_subjects_and_seven_emotions_leave_out_the_eighth():
    words = ["neutral", "fear", "anger", "contempt"] * 10
    table = label_table(dataset=["AffectNet"] * 40, split=["train"] * 32 + ["val"] * 8, emotion=words)
    (fold,) = divided(load_protocol("affectnet-7"), table)
    assert fold.test.tolist() == [row for row in range(32, 40) if words[row] != "contempt"]
    assert len(fold.train) + len(fold.validation) == 24
    assert len(fold.validation) == 2
    (eight,) = divided(load_protocol("affectnet-8"), table)
    assert len(eight.test) == 8


def test_a_split_of_the_data_for_validation_is_taken_as_it_is():
    splits = Splits(train=("train",), validation=("dev",), test=("test",))
    table = label_table(split=["train", "dev", "dev", "test"], au_occurrence_01=[0, 1, 0, 1])
    (fold,) = divided(SPLITS.model_copy(update={"splits": splits}), table)
    assert (fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()) == ([0], [1, 2], [3])


def test_without_validation_everyone_else_trains():
    table = label_table(subject=list("abcdef"), au_occurrence_01=[1] * 6)
    for fold in divided(KFOLD.model_copy(update={"validation": Validation(one_in=0)}), table):
        assert fold.validation.tolist() == []
        assert sorted([*fold.train, *fold.test]) == list(range(6))


def test_rows_without_a_label_of_the_protocol_are_in_no_fold():
    table = label_table(subject=list("abcdefabcdef"), au_occurrence_01=[1] * 6 + [None] * 6, au_occurrence_25=[1] * 12)
    for fold in divided(KFOLD, table):
        assert max(*fold.train, *fold.validation, *fold.test) < 6
    assert coverage(KFOLD, Rows.of(table), protocol_targets(KFOLD, table)).unlabelled == 6


def random_table(seed: int, people: int, rows: int):
    """Rows of people of two data sets, some without a label."""
    random = np.random.default_rng(seed)
    person = random.integers(0, people, rows)
    return label_table(
        dataset=random.choice(["one", "two"], rows).tolist(),
        subject=[f"p{number}" for number in person],
        split=np.where(person % 2, "train", "test").tolist(),
        au_occurrence_01=random.choice([0, 1, None], rows).tolist(),
        au_occurrence_12=random.choice([0, 1, None], rows).tolist(),
    )


@pytest.mark.parametrize("protocol", [KFOLD, CROSS, PARTS, SPLITS], ids=["kfold", "cross", "parts", "splits"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(6, 12), own=st.integers(0, 9))
def test_nobody_is_in_two_sets_whatever_the_data(protocol, seed, people, own):
    table = random_table(seed, people, 60)
    protocol = protocol.model_copy(update={"validation": Validation(one_in=3, seed=own)})
    names, labelled = units(protocol, Rows.of(table)), protocol_targets(protocol, table).known.any(axis=1)
    for fold in divided(protocol, table):
        sets = [set(names[rows].tolist()) for rows in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, sets)) == len(set.union(*sets))
        assert all(sets)
        assert labelled[[*fold.train, *fold.validation, *fold.test]].all()


@pytest.mark.parametrize("protocol", [KFOLD, CROSS, PARTS, SPLITS], ids=["kfold", "cross", "parts", "splits"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(protocol, seed):
    table = random_table(seed, 8, 60)
    order = np.random.default_rng(seed).permutation(60)
    for one, other in zip(divided(protocol, table), divided(protocol, table.take(order)), strict=True):
        for first, second in ((one.train, other.train), (one.validation, other.validation), (one.test, other.test)):
            assert first.tolist() == sorted(order[second])


def test_made_folds_test_everyone_once_and_another_seed_deals_anew():
    table = random_table(1, 12, 200)
    found = divided(KFOLD, table)
    labelled = np.flatnonzero(protocol_targets(KFOLD, table).known.any(axis=1))
    assert sorted(np.concatenate([fold.test for fold in found])) == labelled.tolist()
    again = divided(KFOLD.model_copy(update={"kfold": KFold(k=3, seed=1)}), table)
    assert [fold.test.tolist() for fold in divided(KFOLD, table)] == [fold.test.tolist() for fold in found]
    assert {frozenset(fold.test.tolist()) for fold in found} != {frozenset(fold.test.tolist()) for fold in again}


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hands=st.integers(2, 6), people=st.integers(6, 30))
def test_hands_get_as_many_people_but_for_one(seed, hands, people):
    amounts = np.random.default_rng(seed).random((people, 3))
    counts = np.bincount(dealt(amounts, hands, seed), minlength=hands)
    assert counts.max() - counts.min() <= 1


def test_what_few_people_show_is_spread_over_the_hands():
    """Of thirty people, three show a label often; at random they would be apart in about every fifth deal."""
    amounts = np.ones((30, 2))
    amounts[:, 0] = 0
    amounts[[2, 17, 23], 0] = 5
    for seed in range(20):
        assert len(set(dealt(amounts, 3, seed)[[2, 17, 23]])) == 3


@pytest.mark.parametrize("units_there_are", [60, 6000])
def test_of_single_rows_each_hand_gets_its_share_of_every_class(units_there_are):
    random = np.random.default_rng(0)
    kinds = random.choice(3, units_there_are, p=[0.1, 0.3, 0.6])
    hand = dealt(np.eye(3)[kinds], 5, 0)
    table = np.stack([np.bincount(kinds[hand == number], minlength=3) for number in range(5)])
    assert (np.ptp(table, axis=0) <= 2).all()
    assert np.ptp(table.sum(axis=1)) <= 1


def test_hands_are_more_alike_than_by_chance():
    random = np.random.default_rng(0)
    amounts = random.gamma(0.5, size=(41, 12))

    def unlike(hand) -> float:
        totals = np.stack([amounts[hand == number].sum(axis=0) for number in range(3)]) / amounts.sum(axis=0)
        return float(totals.std(axis=0).mean())

    made = np.mean([unlike(dealt(amounts, 3, seed)) for seed in range(10)])
    chance = np.mean([unlike(random.permutation(41) % 3) for _ in range(10)])
    assert made < 0.6 * chance


def test_coverage_counts_what_does_not_take_part():
    table = label_table(
        dataset=["own", "own", None, "other", "own"],
        subject=["p0", "p9", "p1", "p0", "p3"],
        au_occurrence_01=[1, 0, 1, 1, None],
    )
    protocol = PARTS.model_copy(update={"datasets": {"own": Reading()}})
    found = coverage(protocol, Rows.of(table), protocol_targets(protocol, table))
    assert found == Coverage(rows=3, unlabelled=1, others=1, listed=6, missing=4, unlisted=1, unsplit=0)


def test_people_of_datasets_with_the_same_name_are_two():
    table = label_table(dataset=["one", "One", "two"], subject=["p1", "p1", "p1"], au_occurrence_01=[1, 1, 1])
    first, second, third = units(CROSS, Rows.of(table))
    assert first == second != third


def test_rows_that_name_no_dataset_are_of_the_only_ones_people():
    table = label_table(dataset=["own", None, "OWN"], subject=["p1", "p1", "p1"], au_occurrence_01=[1, 1, 1])
    assert len(set(units(KFOLD.model_copy(update={"datasets": {"own": Reading()}}), Rows.of(table)))) == 1


@pytest.mark.parametrize(
    ("protocol", "columns", "line"),
    [
        (Protocol(**UNITS, absent="nobody has the lists"), {}, "own: there are no folds: nobody has the lists"),
        (
            load_protocol("bp4d-au"),
            {"subject": ["F001", "F002", "Jane", "Joe"]},
            "bp4d-au: 39 of its 41 subjects have no labelled pair in the data (F003, F004, F005 and 36 more) and 2 subjects of"
            " the data are not on its lists, which write them like F001; correct the manifest's column subject, or go on with"
            " the rest: --set 'protocol_keys={partial: true}'",
        ),
        (
            load_protocol("bp4d-au"),
            {"subject": ["F001", "F002", "F001", "F002"]},
            "bp4d-au: 39 of its 41 subjects have no labelled pair in the data (F003, F004, F005 and 36 more); add them,",
        ),
        (load_protocol("bp4d-au"), {"subject": ["F001", None, None, "F002"]}, "bp4d-au: 2 rows name no subject"),
        (
            load_protocol("bp4d-au"),
            {"dataset": ["disfa"] * 4},
            "bp4d-au: no row of the data set bp4d is annotated with au; 4 rows are of others by the column dataset"
            " (disfa): correct it, or take another protocol",
        ),
        (
            KFOLD,
            {"au_occurrence_01": [None] * 4},
            "own: no row is annotated with au; 4 rows have none of its labels in au_occurrence_01, au_occurrence_12",
        ),
        (
            load_protocol("disfa-au"),
            {"dataset": ["disfa"] * 4},
            "disfa-au: no row of the data set disfa is annotated with au; 4 rows have none of its labels in"
            " au_intensity_01, au_intensity_02, au_intensity_04 and 5 more",
        ),
        (KFOLD, {"subject": ["p1", "p2", "p1", "p2"]}, "own: 3 folds of 2 subjects; take more people, or lower kfold.k"),
        (KFOLD.model_copy(update={"kfold": KFold(k=2)}), {"subject": ["p1", "p2", "p1", "p2"]}, "own: one subject to train on"),
        (SPLITS, {"split": ["train", "test", "validation", None]}, "own: 2 rows have a split that is none of train, test"),
        (SPLITS, {"split": ["train"] * 4}, "own: split has no row to test: the column split says test nowhere; correct it"),
        (SPLITS, {"split": ["test"] * 4}, "own: split has no row to train on: the column split says train nowhere; correct it"),
        (
            CROSS,
            {"dataset": ["one"] * 4, "subject": ["p1", "p2", "p3", "p4"]},
            "own: one has no row to train on: no labelled row is of two; name a run with it in data",
        ),
        (
            SPLITS,
            {"split": ["train", "test", "train", "test"], "subject": ["p1", "p1", "p2", "p3"]},
            "own: 1 subjects are in two sets of split",
        ),
        (
            PARTS,
            {"subject": ["p0", "p1", "p0", "p1"]},
            "own: first has no row to test: nobody of B is in the data; add them, or leave it out: --set 'protocol_keys={folds:"
            " {second: A}}'",
        ),
        (
            PARTS,
            {"subject": ["p3", "p4", "p3", "p4"]},
            "own: first has no row to train on: only people of B are in the data; add them, or",
        ),
    ],
)
def test_data_that_do_not_fit_are_one_line_with_counts_and_no_name(protocol, columns, line):
    table = label_table(**{"subject": [None] * 4, "au_occurrence_01": [1, 0, 1, 0], **columns})
    with pytest.raises(UsageError) as error:
        divided(protocol, table)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    assert "Jane" not in str(error.value)


def test_where_nobody_is_on_the_lists_there_is_no_rest_to_go_on_with():
    table = label_table(subject=["Jane", "Joe"], au_occurrence_01=[1, 0])
    with pytest.raises(UsageError, match=r"^bp4d-au: 41 of its 41 subjects .* correct the manifest's column subject$"):
        divided(load_protocol("bp4d-au"), table)


def test_a_fold_that_is_left_out_as_advised_lets_the_others_be():
    subjects = [subject for part in ("P1", "P2") for subject in load_protocol("bp4d-au").parts[part]]
    table = label_table(subject=subjects, au_occurrence_01=[1] * len(subjects))
    with pytest.raises(UsageError, match="fold1 has no row to test: nobody of P3") as error:
        divided(load_protocol("bp4d-au", ["partial=true"]), table)
    (advised,) = re.findall(r"\{(folds: .*)\}'", str(error.value))
    protocol = load_protocol("bp4d-au", ["partial=true", advised.replace(": ", "=", 1)])
    assert [fold.name for fold in divided(protocol, table)] == ["fold2", "fold3"]


def test_partial_goes_on_with_those_on_the_lists():
    protocol = load_protocol("bp4d-au", ["partial=true"])
    table = label_table(subject=["F001", "M011", "F007", "Jane", "M007", "F003"], au_occurrence_01=[1, 0, 1, 0, 1, 0])
    (first, *_) = divided(protocol, table)
    assert people_of(table, first.test) == {"F007"}
    assert people_of(table, [*first.train, *first.validation]) == {"F001", "M007", "M011", "F003"}
    assert len(first.validation)
