"""The layout: what is measured of a face, and where the landmarks of its drawing are, a part that is fitted and not trained.

Before the network, landmarks and wrinkles become the own part of the code, in the spreads of the faces that the network learnt
from. Behind it, what passed of a code says where the landmarks of the drawing are: the decoder learnt to draw it so, and eyes
and mouth of the source are laid in there.
"""

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from normpipe.batches import AlignedFace, Floats
from normpipe.normalizers.mean_face.expression import Expression, compressed, read_face
from normpipe.normalizers.mean_face.model import load_model
from normpipe.records import LANDMARK_COUNT
from normpipe.stages.align import template_map

MEASURED_LIMIT = 5.0
"""Spreads; what is beyond is an error of measurement."""

_LARGEST_WEIGHT = 1.5  # of a shape of the rig; faces that do more are read wrongly
_MAP_SIDE = 1000  # pixels in which the map from face units is asked for


class FaceLayout(ModelMixin, ConfigMixin):
    """What the numbers of a code mean.

    The buffers are `spread`, (free + own,) float32, standard deviations of the numbers, and `rig_offsets`, (free, 468, 2)
    float32, what each of the rig's shapes does to the landmarks, eye distances.

    Args:
        free: Numbers of the code that are weights of the rig's shapes.
        own: Numbers of the code that are mean_face's coefficients, as many as it has.
        margin: Room around the common face, a share of the side.
        by_landmarks: How much is drawn of mean_face's shape.
        by_rig: How much is drawn of the rig's.
        by_detail: How much is drawn of the wrinkles.
    """

    spread: Tensor
    rig_offsets: Tensor

    @register_to_config
    def __init__(
        self,
        free: int = 57,
        own: int = 64,
        margin: float = 0.1,
        by_landmarks: float = 0.7,
        by_rig: float = 1.0,
        by_detail: float = 0.5,
    ) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(free + own))
        self.register_buffer("rig_offsets", torch.zeros(free, LANDMARK_COUNT, 2))
        self._free, self._own, self._margin = free, own, margin
        self._by_landmarks, self._by_rig, self._by_detail = float(by_landmarks), float(by_rig), float(by_detail)

    def measured(self, face: AlignedFace) -> Floats:
        """(own,) float32: the part of a face's code that is measured, in spreads, within +-5."""
        found = read_face(face, load_model())
        own = np.concatenate([found.shape, found.detail]) / self._spread()[self._free :]
        return np.clip(own, -MEASURED_LIMIT, MEASURED_LIMIT).astype(np.float32, copy=False)

    def expression(self, passed: Floats) -> Expression:
        """What to draw of the (free + own,) numbers that passed, as the renderer of mean_face takes it."""
        model = load_model()
        values = passed * self._spread()
        weights = np.clip(values[: self._free], 0, _LARGEST_WEIGHT)
        shape, detail = np.split(values[self._free :], [len(model.shape_out)])
        offsets: Floats = (shape @ model.shape_out).reshape(-1, 2).astype(np.float32, copy=False)
        by_landmarks = compressed(offsets, float(model.offset_limit[0]))
        by_rig: Floats = np.tensordot(weights, self.rig_offsets.float().numpy(force=True), axes=1).astype(np.float32)
        atlas = np.zeros(model.detail_mask.shape, np.float32)
        atlas[model.detail_mask] = np.float32(self._by_detail) * (detail @ model.detail_out)
        return Expression(np.float32(self._by_landmarks) * by_landmarks + np.float32(self._by_rig) * by_rig, atlas)

    def points(self, passed: Floats) -> Floats:
        """(468, 2) float32 landmarks of the drawing, in sides, from the (free + own,) numbers that passed."""
        return self._placed(self.expression(passed).offsets)

    def neutral(self) -> Floats:
        """(468, 2) float32 landmarks of the common face, in sides."""
        return self._placed(np.zeros((1, 2), np.float32))

    def _spread(self) -> Floats:
        spread: Floats = self.spread.float().numpy(force=True)
        return spread

    def _placed(self, offsets: Floats) -> Floats:
        scale, shift = template_map(_MAP_SIDE, self._margin)
        return (((load_model().neutral + offsets) * scale + shift) / _MAP_SIDE).astype(np.float32)


def measured_numbers() -> int:
    """How many numbers `FaceLayout.measured` gives."""
    model = load_model()
    return len(model.shape_out) + len(model.detail_out)
