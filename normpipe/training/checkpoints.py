"""Points that a training goes on from: weights, their averages and the optimizer's moments, in one file per point.

Whatever else a step depends on follows from its number, so nothing else is stored.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from normpipe.errors import UsageError
from normpipe.shards.atomic import remove_leftovers, write_bytes

CHECKPOINTS_FOLDER = "checkpoints"

_KEPT = 2


class Checkpoints:
    """Files of a training's whole state, of which the last two are kept.

    Args:
        folder: Theirs; it is made when it is needed.
        module: What is trained.
        averaged: Its averages.
        optimizer: Of the module's weights.
    """

    def __init__(self, folder: Path, module: nn.Module, averaged: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
        self._folder = folder
        self._module = module
        self._averaged = averaged
        self._optimizer = optimizer

    def load(self) -> int:
        """Take up the last one; its step, 0 if there is none.

        Raises:
            UsageError: it is damaged.
        """
        found = self._files()
        if not found:
            return 0
        state = loaded(found[-1])
        self._module.load_state_dict(_within(state, "module."))
        self._averaged.load_state_dict(_within(state, "averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _within(state, "optimizer.").items():
            number, _, kind = name.partition(".")
            moments.setdefault(int(number), {})[kind] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return int(found[-1].stem)

    def save(self, step: int) -> None:
        """Write one and forget those before the last but one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._folder)
        moments = self._optimizer.state_dict()["state"]
        state = {
            **{f"module.{name}": value for name, value in self._module.state_dict().items()},
            **{f"averaged.{name}": value for name, value in self._averaged.state_dict().items()},
            **{f"optimizer.{number}.{kind}": value for number, own in moments.items() for kind, value in own.items()},
        }
        write_tensors(self._folder / f"{step:08d}.safetensors", state)
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def steps(self) -> list[int]:
        """Of those that are there, rising."""
        return [int(file.stem) for file in self._files()]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.safetensors"))


def write_tensors(target: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors to a safetensors file, whole or not at all."""
    write_bytes(target, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))


def loaded(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that `write_tensors` wrote.

    Raises:
        UsageError: it is damaged.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        place = f"{file.parent.name}/{file.name}"
        raise UsageError(f"{place}: damaged; delete it: the training goes on from what there is before it") from error


def _within(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
