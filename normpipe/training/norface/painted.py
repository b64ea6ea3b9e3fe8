"""What a generating decoder learns to draw: the teacher's pictures with their wrinkles, and without a background.

The targets' pictures have neither: wrinkles are laid on, and the background is taken away, when a picture is asked for.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.batches import Floats
from normpipe.config import Normalize
from normpipe.normalizers.norface.common_face import resize
from normpipe.training.norface.targets import TargetSet
from normpipe.training.norface.teacher import Layers, Teacher


@dataclass(frozen=True, slots=True)
class PaintedSet:
    """The targets as a generating decoder shall draw them.

    Attributes:
        targets: Their pictures before the background, and what passed of their codes.
        teacher: Says where landmarks and wrinkles are.
        layers: The common face.
    """

    targets: TargetSet
    teacher: Teacher
    layers: Layers

    def __len__(self) -> int:
        return len(self.targets)

    def pictures(self, chosen: NDArray[np.intp]) -> Tensor:
        """(b, 4, side, side) float32 pictures by number: red, green, blue and alpha, each -1 to 1.

        Beside the face there are the colours with which the common face goes on beyond its rim.
        """
        return torch.from_numpy(np.stack([self._picture(int(index)) for index in chosen])).permute(0, 3, 1, 2).contiguous()

    def _picture(self, index: int) -> Floats:
        """(side, side, 4)."""
        before, passed = self.targets.picture(index), self.targets.passed[index]
        side = before.shape[0]
        alpha = self.layers.alpha_of(self.teacher.layout.points(passed), side, self.teacher.model)[..., None]
        light = cv2.resize(self.teacher.lesson(passed, side // 2).light[0], (side, side), interpolation=cv2.INTER_LINEAR)
        beyond, ground = resize(self.layers.colour, side), np.array(Normalize().background, np.float32)
        colour = (before + (1 - alpha) * (beyond - ground)) * np.exp(light)[..., None]
        return np.concatenate([colour.clip(0, 255), 255 * alpha], axis=2, dtype=np.float32) / np.float32(127.5) - np.float32(1)
