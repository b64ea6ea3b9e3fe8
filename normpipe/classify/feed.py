"""What a classifier is fed with, and which rank of a training it is fed to."""

from dataclasses import dataclass

from normpipe.classify.arms import Arm
from normpipe.classify.augmentation import Augmentation
from normpipe.classify.order import WINDOW_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Which pictures, and in which batches.

    Attributes:
        arm: Which pictures of a pair, V of them.
        size: Pixels of a side, whatever the stored pictures have.
        batch: Rows of a batch, over all ranks.
        seed: Of order, augmentation and keys.
        augmentation: None for the pictures as they are.
        shuffled: Whether every epoch has an order of its own; else rows come as they stand.
        window: Rows that are shuffled among each other. The workers of a rank hold the encoded pictures of order.LANES times as
            many, and more by the row groups that reach beyond; smaller windows mix less and hold less.
    """

    arm: Arm
    size: int
    batch: int
    seed: int = 0
    augmentation: Augmentation | None = None
    shuffled: bool = False
    window: int = WINDOW_ROWS


@dataclass(frozen=True, slots=True)
class Share:
    """Which rank this is, from 0, and of how many."""

    rank: int = 0
    ranks: int = 1
