"""What a process trains on: a device, or its share of several."""

from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs  # type: ignore[import-untyped]  # ships no types

from normpipe.errors import ModelUnavailableError


def new_accelerator(precision: str, device: str, patience: timedelta) -> Accelerator:
    """The device, or the share of several, that this process trains on.

    Args:
        precision: `float32` or `bfloat16`, in which the layers compute; weights are float32.
        device: `cpu` or `cuda`.
        patience: How long ranks wait for each other.

    Raises:
        ModelUnavailableError: there is no CUDA device.
    """
    require_device(device)
    return Accelerator(
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        cpu=device == "cpu",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
    )


def require_device(device: str) -> None:
    """Make sure that the device, `cpu` or `cuda`, is there.

    Raises:
        ModelUnavailableError: there is no CUDA device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailableError("torch sees no CUDA device; choose --device cpu")
