"""Arms: which pictures of a pair a classifier sees. What normalizing is worth is a difference between arms.

`both` has twice the pictures of `original`, so whatever more input is worth by itself would count as the normalizer's merit;
`twice` has as many and nothing new, and is what `both` is held against.
"""

from enum import StrEnum

ORIGINAL, NORMALIZED = "original", "normalized"
"""Columns of PAIRS_SCHEMA that hold pictures."""


class Arm(StrEnum):
    """What a classifier is given of each pair."""

    ORIGINAL = "original"
    NORMALIZED = "normalized"
    BOTH = "both"
    TWICE = "twice"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the V pictures, in the order of the views."""
        return _COLUMNS[self]

    @property
    def views(self) -> int:
        """V, the pictures of a sample: 1 or 2."""
        return len(self.columns)


_COLUMNS = {
    Arm.ORIGINAL: (ORIGINAL,),
    Arm.NORMALIZED: (NORMALIZED,),
    Arm.BOTH: (ORIGINAL, NORMALIZED),
    Arm.TWICE: (ORIGINAL, ORIGINAL),
}
