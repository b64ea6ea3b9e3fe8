"""What makes a training give the same bytes again: torch's own choices, made once for all of it."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def steady(device: str, threads: int) -> Iterator[None]:
    """Let torch compute the same way each time within this block.

    On a CPU what cannot be the same each time is an error. On a GPU some gradients cannot (of interpolations and adaptive
    pooling), and are computed all the same.

    Args:
        device: `cpu` or `cuda`.
        threads: Of torch, on a CPU.
    """
    on_cpu = device == "cpu"
    if not on_cpu:
        os.environ.setdefault(_CUBLAS, ":4096:8")  # read when CUDA is first used
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    count, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(mode=True, warn_only=not on_cpu)
    torch.backends.cudnn.benchmark = False
    if on_cpu:
        torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic", category=UserWarning)
            # More loader workers than cores: that is what the training file asks for, and torch names a path of its own.
            warnings.filterwarnings("ignore", message=r"This DataLoader will create \d+ worker process", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=warned)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(count)
