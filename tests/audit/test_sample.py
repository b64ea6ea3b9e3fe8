import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from normpipe.audit.groups import Groups
from normpipe.audit.sample import FEW, sampled_people


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(FEW, 300), st.integers(0, 5))
def test_people_come_with_all_that_there_is_room_for(counts, limit, seed):
    people = Groups.of(np.repeat([f"p{number:03d}" for number in range(len(counts))], counts))
    rows = sampled_people(people, limit, seed)
    assert len(rows) <= limit
    assert np.array_equal(rows, np.unique(rows))
    if sum(counts) <= limit:
        assert len(rows) == sum(counts)
        return
    most = max(FEW, limit // len(counts))
    for person, found in zip(*np.unique(people.index[rows], return_counts=True), strict=True):
        assert found == min(counts[person], most)
    assert len(rows) > 0
    assert np.array_equal(rows, sampled_people(people, limit, seed))


def test_many_people_with_five_rows_each_keep_them():
    people = Groups.of(np.repeat(np.arange(20_000).astype(str), 5))
    rows = sampled_people(people, 20_000, 0)
    assert len(rows) == 20_000
    assert len(np.unique(people.index[rows])) == 4000
    assert not np.array_equal(rows, sampled_people(people, 20_000, 1))
