"""People who can be told apart: those of several pictures."""

import numpy as np
import pytest

from normpipe.errors import UsageError

from normpipe.training.norface.identity import several_of_each  # isort: skip


def test_people_of_one_picture_are_nobody_to_tell_apart():
    rows, person = several_of_each(np.array(["a", "b", "c", "a", "c", "c"]))
    assert rows.tolist() == [0, 2, 3, 4, 5]
    assert person.tolist() == [0, 1, 0, 1, 1]
    with pytest.raises(UsageError, match=r"^identity: fewer than two people have several examples"):
        several_of_each(np.array(["a", "a", "b"]))
