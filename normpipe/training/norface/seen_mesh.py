"""The optional look at drawings: where the embedded face mesh, which stays as it is, sees their landmarks."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from normpipe.batches import Floats
from normpipe.faces.networks import FACE_MESH
from normpipe.faces.torch_networks import FaceNetwork
from normpipe.records import LANDMARK_COUNT

_ROOM = 1.5  # of the network's region around a face, the value that it was trained with


class SeenMesh(nn.Module):
    """(b, 3, s, s) drawings, -1 to 1, to their (b, 468, 2) landmarks, in sides; differentiable.

    Args:
        neutral: (468, 2) landmarks of the common face, in sides: drawings are looked at where it is.
    """

    def __init__(self, neutral: Floats) -> None:
        super().__init__()
        low, high = neutral.min(axis=0), neutral.max(axis=0)
        self._middle = tuple(float(value) for value in (low + high) / 2)
        self._extent = _ROOM * float(np.max(high - low))
        self.network = FaceNetwork(FACE_MESH)

    def forward(self, drawings: Tensor) -> Tensor:
        """Landmarks."""
        across, down = (2 * value - 1 for value in self._middle)
        region = drawings.new_tensor([[[self._extent, 0.0, across], [0.0, self._extent, down]]]).expand(len(drawings), -1, -1)
        grid = functional.affine_grid(region, [len(drawings), 3, FACE_MESH.side, FACE_MESH.side], align_corners=False)
        seen = functional.grid_sample(drawings, grid, padding_mode="border", align_corners=False)
        with torch.autocast(drawings.device.type, enabled=False):
            points, _ = self.network(seen.float() * 0.5 + 0.5)
        found: Tensor = points.reshape(-1, LANDMARK_COUNT, 3)[..., :2] / FACE_MESH.side - 0.5
        return found * self._extent + drawings.new_tensor(self._middle)
