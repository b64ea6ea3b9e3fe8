import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.release.parallel import Halt, HaltedError, ahead, in_parallel


@given(st.lists(st.none() | st.integers()))
def test_items_made_ahead_are_the_same_in_the_same_order(items):
    assert list(ahead(iter(items))) == items


def test_the_error_of_an_item_made_ahead_comes_in_its_turn():
    def items():
        yield 1
        raise OSError("no second one")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(OSError, match="no second one"):
        next(made)


@given(st.lists(st.integers()), st.integers(1, 4))
def test_results_stand_in_the_order_of_the_items(items, jobs):
    assert in_parallel(lambda item: -item, items, jobs, Halt()) == [-item for item in items]


def test_the_first_error_ends_the_others():
    halt = Halt()

    def work(item):
        halt.check()
        raise OSError(f"item {item}")

    with pytest.raises(OSError, match="item 0"):
        in_parallel(work, range(100), 1, halt)
    with pytest.raises(HaltedError):
        halt.check()
