"""The curve for TensorBoard, where a training file asks for it; its files hold the time and the machine's name."""

from collections.abc import Mapping
from pathlib import Path

from normpipe.errors import ModelUnavailableError

BOARD_FOLDER = "tensorboard"


class Board:
    """Writes what the curve gets.

    Args:
        folder: Where the files come.
        start: What was written of later steps is hidden.

    Raises:
        ModelUnavailableError: the package is missing.
    """

    def __init__(self, folder: Path, start: int) -> None:
        require_board()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, step: int, line: Mapping[str, float | None]) -> None:
        """Write the numbers of a line."""
        for name, value in line.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


def require_board() -> None:
    """Make sure that the package is there.

    Raises:
        ModelUnavailableError: it is not.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ModelUnavailableError("tensorboard: the package is missing: pip install 'normpipe[classify]'") from error
