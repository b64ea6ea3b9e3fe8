"""Which rows of a large run the statistics are made of: several of each of as many people as there is room for.

A sample of single rows would leave most people with one, and a person with one picture says nothing of recognition and has no
own mean to move from.
"""

import numpy as np

from normpipe.audit.groups import Groups, Indices

FEW = 20
"""Rows of a person that are enough where there are more people than room."""


def sampled_people(people: Groups, limit: int, seed: int) -> Indices:
    """At most `limit` row numbers, sorted; all rows where there are no more.

    Args:
        people: People of the rows.
        limit: At least FEW.
        seed: Of the choice of people, and of rows of those who have more than the others need.
    """
    rows = len(people.index)
    if rows <= limit:
        return np.arange(rows)
    random = np.random.default_rng(seed)
    most = max(FEW, limit // len(people))
    shuffled = random.permutation(rows)
    by_person = shuffled[np.argsort(people.index[shuffled], kind="stable")]
    turn = np.arange(rows) - (np.cumsum(people.counts) - people.counts)[people.index[by_person]]
    order = random.permutation(len(people))
    fits = order[np.cumsum(np.minimum(people.counts[order], most)) <= limit]
    return np.sort(by_person[(turn < most) & np.isin(people.index[by_person], fits)])
