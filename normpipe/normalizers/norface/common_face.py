"""The target: the picture of the common face, a part of the pipeline that is made and not trained.

It travels with the weights, since drawings fit the face they were learnt on. It is kept without a background, so that a drawing
can be put before any.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from normpipe.batches import Floats, Image
from normpipe.config import Align, Pipeline
from normpipe.normalizers.mean_face import MeanFace
from normpipe.normalizers.mean_face.identity import identity_from_photo
from normpipe.normalizers.mean_face.model import load_model

_GROUND = 61
"""Grey behind the common face when the encoder looks at it, whatever is put behind the drawings."""


class CommonFace(ModelMixin, ConfigMixin):
    """A picture of the common face, as the buffers `colour` (1, 3, side, side) and `alpha` (1, 1, side, side), both uint8.

    Alpha is 255 on the face and 0 beside it. Being integers, the buffers stay as they are under any conversion of float types.

    Args:
        side: Pixels.
        margin: Room around the face, as in the pipeline's `align.margin`: the crops that the network learnt from had the same.
    """

    colour: Tensor
    alpha: Tensor

    @register_to_config
    def __init__(self, side: int = 256, margin: float = 0.1) -> None:  # noqa: ARG002 - kept in the configuration
        super().__init__()
        self.register_buffer("colour", torch.zeros(1, 3, side, side, dtype=torch.uint8))
        self.register_buffer("alpha", torch.zeros(1, 1, side, side, dtype=torch.uint8))

    def layers(self, side: int) -> tuple[Tensor, Tensor]:
        """Colour (1, 3, side, side), -1 to 1, and alpha (1, 1, side, side), 0 to 1, float32, on this part's device."""
        picture = torch.cat([self.colour, self.alpha], dim=1)[0].permute(1, 2, 0).cpu().numpy()
        resized = torch.from_numpy(resize(picture, side)).to(self.colour.device).permute(2, 0, 1)[None].float()
        return resized[:, :3] / 127.5 - 1, resized[:, 3:] / 255

    def picture(self, side: int) -> Tensor:
        """(1, 3, side, side), -1 to 1: what the encoder sees, the face before a grey ground."""
        colour, alpha = self.layers(side)
        return alpha * colour + (1 - alpha) * (_GROUND / 127.5 - 1)


def neutral_common_face(side: int = 256, margin: float = 0.1, photo: Path | None = None) -> CommonFace:
    """The common face of mean_face without expression.

    Args:
        side: Pixels, 64 to 1024.
        margin: Room around the face, a share of the side.
        photo: Of one clear face, whose texture the common face's shape gets.

    Raises:
        UsageError: the photo cannot be read or shows no face.
    """
    pipeline = Pipeline(size=side, align=Align(margin=margin))
    renderer = MeanFace(pipeline)
    renderer.prepare("cpu")
    texture = None if photo is None else identity_from_photo(photo, pipeline, load_model()).texture
    canvas, alpha = renderer.neutral_layers(texture)
    face: CommonFace = CommonFace(side, margin)
    face.colour.copy_(torch.from_numpy(_beyond_its_rim(canvas, alpha)).permute(2, 0, 1)[None])
    face.alpha.copy_(torch.from_numpy(np.rint(alpha * 255).astype(np.uint8))[None, None])
    return face


def resize(picture: Image, side: int) -> Image:
    """A square uint8 picture of any number of channels at another size: areas averaged to shrink, bilinear to enlarge."""
    if picture.shape[0] == side:
        return picture
    way = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_LINEAR
    return cv2.resize(picture, (side, side), interpolation=way).astype(np.uint8, copy=False)


def _beyond_its_rim(canvas: Image, alpha: Floats) -> Image:
    """Every pixel outside the face in the colour of the nearest one inside: a rim that moves or is resized then keeps it."""
    outside = (alpha < 0.5).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    inside = outside == 0
    colours[nearest[inside]] = canvas[inside]
    filled: Image = colours[nearest]
    return filled
