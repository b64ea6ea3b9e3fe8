"""Keys belong to samples and epochs, not to places."""

import pyarrow as pa

from normpipe.classify.keys import sample_keys, sample_numbers


def names(*rows):
    return pa.table(dict(zip(("dataset", "sample_id", "face_index"), map(list, zip(*rows, strict=True)), strict=True)))


def test_samples_are_told_apart_by_data_set_id_and_face():
    table = names(("a", "1", 0), ("b", "1", 0), ("a", "2", 0), ("a", "1", 1), ("a", "1", None), (None, "1", 0), ("a1", "", 0))
    assert len(set(sample_numbers(table).tolist())) == 7


def test_a_key_does_not_depend_on_where_the_sample_stands():
    rows = [("a", "1", 0), ("a", "2", 0), ("a", "3", 0)]
    keys = sample_keys(sample_numbers(names(*rows)), 7, 2)
    turned = sample_keys(sample_numbers(names(*reversed(rows))), 7, 2)
    assert keys.tolist() == turned.tolist()[::-1]


def test_every_seed_and_epoch_gives_other_keys():
    numbers = sample_numbers(names(("a", "1", 0), ("a", "2", 0)))
    keys = [key for seed in range(4) for epoch in range(4) for key in sample_keys(numbers, seed, epoch).tolist()]
    assert len(set(keys)) == 32


def test_keys_stay_what_they_are_from_version_to_version():
    """A training that goes on under another version must not draw anew."""
    assert sample_keys(sample_numbers(names(("disfa", "SN001/0042", 0))), 5, 3).tolist() == [1686492331788086596]
