"""Keys: one number for each sample and epoch. Whatever is random about a sample in a training follows from its key.

A key comes from what the sample is called, not from where it lies: the same rows in other files, or in another order, are
augmented alike. networks/keyed.py says what is drawn from keys, and how.
"""

import hashlib

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.classify.networks.keyed import derived

_NAME = ("dataset", "sample_id", "face_index")
_BYTES = 8


def sample_numbers(table: pa.Table) -> NDArray[np.int64]:
    """(n,) the first 8 bytes of a BLAKE2b digest of each row's data set, sample and face, which tell it from all other rows."""
    rows = zip(*(table[name].to_pylist() for name in _NAME), strict=True)
    names = ("\x1f".join(map(str, row)) for row in rows)
    digests = (hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest() for name in names)
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)


def sample_keys(numbers: NDArray[np.int64], seed: int, epoch: int) -> Tensor:
    """(n,) int64 keys of `sample_numbers` in one epoch of a training with this seed."""
    return derived(derived(torch.from_numpy(numbers), seed), epoch)
