"""Pairs of rows for verification: of one person and of different people, at the same emotion, never all of them.

Where there are few, all pairs are taken; else a fixed number is drawn, so that 100,000 rows cost what 1,000 cost. Weights make
people count equally: the pairs of one person weigh 1 together, a pair of two people weighs 1 / (rows of one * rows of the
other). Draws are in proportion to these weights.
"""

from dataclasses import dataclass

import numpy as np

from normpipe.audit.figures import NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Groups, Indices, Mask, Names

PAIRS = 150_000
"""Pairs of each kind, at most."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Whose rows they are; all columns (n,), `UNKNOWN` where null.

    Attributes:
        subjects: Rows of unknown people take no part in figures of identity.
        labels: Emotion, or any class that two images must share to be compared; None compares without regard to it.
        sequences: Clip of each row, None for stills. Frames of one clip are near-copies: they are not compared.
    """

    subjects: Names
    labels: Names | None = None
    sequences: Names | None = None

    def __len__(self) -> int:
        return len(self.subjects)

    def take(self, rows: Indices) -> "Rows":
        """The rows of the given numbers."""
        columns = (None if column is None else column[rows] for column in (self.labels, self.sequences))
        return Rows(self.subjects[rows], *columns)

    @property
    def known(self) -> Mask:
        """(n,) rows that can be compared: subject known, and label too where there are any."""
        mask = np.asarray(self.subjects != UNKNOWN)
        return mask if self.labels is None else np.asarray(mask & (self.labels != UNKNOWN))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows.

    Attributes:
        first: (m,) row numbers.
        second: (m,) row numbers.
        same: (m,) whether both are of one person.
        weights: (m,) float64.
        owners: (m, 2) person of either row, 0 to people - 1.
        people: People with rows that can be compared.
        drawn: Whether they are a sample of the pairs that there are.
    """

    first: Indices
    second: Indices
    same: Mask
    weights: Doubles
    owners: Indices
    people: int
    drawn: bool

    def both_ways(self) -> "Pairs":
        """Each pair and the same pair turned round, for scores that are not symmetric."""
        return Pairs(
            np.concatenate([self.first, self.second]),
            np.concatenate([self.second, self.first]),
            np.tile(self.same, 2),
            np.tile(self.weights, 2) / 2,
            np.concatenate([self.owners, self.owners[:, ::-1]]),
            self.people,
            self.drawn,
        )


def sample_pairs(
    rows: Rows, usable: Mask, *, within: Indices | None = None, seed: int = 0, limit: int = PAIRS
) -> Pairs | NotMeasurable:
    """Pairs of both kinds.

    Args:
        rows: n rows.
        usable: (n,) rows that have a vector; others take no part.
        within: (n,) both rows of a pair have this number in common, e.g. the fold that a probe has not seen.
        seed: Of the draws.
        limit: Pairs of each kind, at most.
    """
    use = np.flatnonzero(usable & rows.known)
    people = comparable_people(rows.subjects[use])
    if isinstance(people, NotMeasurable):
        return people
    blocks = np.zeros(len(use), np.intp) if rows.labels is None else Groups.of(rows.labels[use]).index
    if within is not None:
        blocks = _combined(blocks, within[use])
    alone = np.arange(len(use))
    copies = alone if rows.sequences is None else _clips(rows.sequences[use])
    random = np.random.default_rng(seed)
    pairs_of_person = np.bincount(people.index, _partners(_combined(blocks, people.index), copies), len(people)) / 2
    with np.errstate(divide="ignore"):
        even = np.sqrt(1 / pairs_of_person)[people.index]  # the weights of a person's pairs are then 1 together
    even[~np.isfinite(even)] = 0
    same = _pairs(_combined(blocks, people.index), copies, even, limit, random)
    different = _pairs(blocks, people.index, people.share, limit, random)
    if not len(same[0]):
        return NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, "no person has two images that may be compared")
    if not len(different[0]):
        return NotMeasurable(Why.ONE_SUBJECT, "no two people have images that may be compared")
    first, second = (np.concatenate([same[side], different[side]]) for side in (0, 1))
    kinds = np.repeat([True, False], [len(same[0]), len(different[0])])
    weights = np.concatenate([same[2], different[2]])
    owners = people.index[np.stack([first, second], axis=1)]
    if same[3]:  # a draw gives a person a random number of pairs; together they weigh 1 all the same
        owner = owners[kinds, 0]
        weights[kinds] /= np.bincount(owner, weights[kinds], len(people))[owner]
    return Pairs(use[first], use[second], kinds, weights, owners, len(people), same[3] or different[3])


def comparable_people(subjects: Names) -> Groups | NotMeasurable:
    """The people of rows with a face, if any of them can be told from another or recognized again."""
    people = Groups.of(subjects[subjects != UNKNOWN])
    if not len(people):
        return NotMeasurable(Why.NO_SUBJECTS, "no row with a face names its subject (and a label, where there are labels)")
    if len(people) < 2:
        return NotMeasurable(Why.ONE_SUBJECT, "all rows are of one person")
    if people.counts.max() < 2:
        return NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, f"{len(people)} people, one image of each")
    return people


def _combined(first: Indices, second: Indices) -> Indices:
    """(n,) numbers, equal where both are equal."""
    _, index = np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)
    return np.asarray(index, np.intp)


def _clips(sequences: Names) -> Indices:
    """(n,) number of the clip; a row without one is a clip of its own."""
    clips = Groups.of(sequences)
    stills = sequences == UNKNOWN
    index = clips.index.copy()
    index[stills] = len(clips) + np.arange(int(stills.sum()))
    return index


def _partners(blocks: Indices, parts: Indices) -> Doubles:
    """(n,) rows of the same block and of another part of it."""
    cells = _combined(blocks, parts)
    return np.asarray((np.bincount(blocks)[blocks] - np.bincount(cells)[cells]).astype(np.float64))


def _pairs(
    blocks: Indices, parts: Indices, weights: Doubles, limit: int, random: np.random.Generator
) -> tuple[Indices, Indices, Doubles, bool]:
    """Pairs of rows of one block and different parts, with their weight; all of them, or `limit` drawn by their weight."""
    total = _partners(blocks, parts).sum() / 2
    if not total:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), False
    if total <= limit:
        first, second = _all_pairs(blocks, parts)
        return first, second, weights[first] * weights[second], False
    order = np.lexsort((np.arange(len(blocks)), parts, blocks))
    mass = np.concatenate([[0.0], np.cumsum(weights[order])])
    block_low, block_high = _extents(blocks[order], mass)
    part_low, part_high = _extents(_combined(blocks, parts)[order], mass)
    others = (block_high - block_low) - (part_high - part_low)
    chances = np.cumsum(weights[order] * others)
    ones = np.minimum(np.searchsorted(chances, random.random(limit) * chances[-1], side="right"), len(order) - 1)
    # The second row is a point of the block's mass that skips the first row's own part.
    point = block_low[ones] + random.random(limit) * others[ones]
    point += np.where(point >= part_low[ones], part_high[ones] - part_low[ones], 0.0)
    twos = np.searchsorted(mass, point, side="right") - 1
    good = (twos < len(order)) & (twos >= 0)  # rounding at the very end of the mass
    ones, twos = ones[good], twos[good]
    first, second = order[ones], order[twos]
    good = (blocks[first] == blocks[second]) & (parts[first] != parts[second])
    first, second = first[good], second[good]
    return first, second, np.ones(len(first)), True


def _extents(sorted_groups: Indices, mass: Doubles) -> tuple[Doubles, Doubles]:
    """(n,) mass before the first and up to the last row of each row's run of equal numbers."""
    starts = np.flatnonzero(np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]]))
    ends = np.concatenate([starts[1:], [len(sorted_groups)]])
    run = np.repeat(np.arange(len(starts)), ends - starts)
    return mass[starts][run], mass[ends][run]


def _all_pairs(blocks: Indices, parts: Indices) -> tuple[Indices, Indices]:
    """Every pair, row by row of each block: memory is that of the pairs found, not of a matrix of rows."""
    firsts, seconds = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    order = np.argsort(blocks, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
        for place, row in enumerate(members[:-1]):
            later = members[place + 1 :]
            later = later[parts[later] != parts[row]]
            firsts.append(np.full(len(later), row, np.intp))
            seconds.append(later)
    return np.concatenate(firsts), np.concatenate(seconds)
