"""The ranks that share a training: what each is, and the sums over all of them.

No wrapper averages gradients behind the scenes: the losses are functions of whole batches, so gradients are added up as the
losses' sums are, and a rank without a row of a batch has nothing to add.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, distributed, nn

from normpipe.classify.feed import Share
from normpipe.errors import RankLostError
from normpipe.training.accelerator import require_device

_PATIENCE = timedelta(hours=2)


class Ranks:
    """This process among those of a training.

    Started by torchrun, `accelerate launch` or on a Dask cluster, each rank makes one; else there is one rank.

    Args:
        precision: `float32` or `bfloat16`.
        device: `cpu` or `cuda`.

    Attributes:
        share: Which rank this is, and of how many.
        main: Whether it is the first one, which alone writes.
        device: Where it computes.

    Raises:
        ModelUnavailableError: there is no CUDA device.
        RankLostError: the other ranks cannot be reached.
    """

    def __init__(self, precision: str, device: str) -> None:
        require_device(device)
        with _together():
            self._state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
        self.share = Share(self._state.process_index, self._state.num_processes)
        self.main = bool(self._state.is_main_process)
        self.device: torch.device = self._state.device
        self._half = precision == "bfloat16"

    def autocast(self) -> torch.autocast:
        """In which networks compute; their weights are float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def summed(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named tensors, alike on every rank, added up over all of them; without a gradient."""
        if self.share.ranks == 1:
            return {name: part.detach() for name, part in parts.items()}
        flat = torch.cat([part.detach().double().flatten() for part in parts.values()])
        with _together():
            distributed.all_reduce(flat)
        split = torch.split(flat, [part.numel() for part in parts.values()])
        return {name: own.view(part.shape).to(part.dtype) for (name, part), own in zip(parts.items(), split, strict=True)}

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Give each weight the sum of its gradients on all ranks."""
        if self.share.ranks == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _together():
            distributed.all_reduce(flat)
        for gradient, whole in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(whole.view_as(gradient))

    def agree(self, number: int) -> bool:
        """Whether all ranks give the same number."""
        own = torch.tensor([number], dtype=torch.float64, device=self.device)
        return bool(self.summed({"number": own})["number"].item() == number * self.share.ranks)

    def wait(self) -> None:
        """Until all ranks are here."""
        with _together():
            self._state.wait_for_everyone()


@contextmanager
def _together() -> Iterator[None]:
    """What takes all ranks: torch's libraries tell of one that is gone in many ways, all of them RuntimeErrors."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            "another rank of the training has ended or cannot be reached: see what it says; the same command goes on"
        ) from error
