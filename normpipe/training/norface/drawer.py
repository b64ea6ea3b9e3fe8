"""All that draws from a code, as both kinds of decoder are trained: the merger, the decoder, and the common face."""

import torch
from torch import Tensor, nn

from normpipe.config import Normalize
from normpipe.normalizers.norface.decoder import Drawing, WarpDecoder, draw
from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.normalizers.norface.pipeline import NorfacePipeline


class Drawer(nn.Module):
    """From codes to pictures.

    The buffers are `target`, the encoder's tokens of the common face, its `colour` (1, 3, s, s) and `alpha` (1, 1, s, s), and
    the `ground` (1, 3, 1, 1) behind drawings; none is part of the state.

    Args:
        network: Its parts.
    """

    decoder: WarpDecoder | FlowDecoder
    target: Tensor
    colour: Tensor
    alpha: Tensor
    ground: Tensor

    def __init__(self, network: NorfacePipeline) -> None:
        super().__init__()
        side = int(network.encoder.config["side"])
        self.merger = network.merger
        self.decoder = network.decoder
        colour, alpha = network.common_face.layers(side)
        with torch.no_grad():
            self.register_buffer("target", network.encoder(network.common_face.picture(side)), persistent=False)
        self.register_buffer("colour", colour, persistent=False)
        self.register_buffer("alpha", alpha, persistent=False)
        ground = torch.tensor(Normalize().background, dtype=torch.float32) / 127.5 - 1
        self.register_buffer("ground", ground.view(1, 3, 1, 1), persistent=False)

    def pictures(self, passed: Tensor) -> Tensor:
        """(b, 3, s, s) drawings with their wrinkles, -1 to 1, of what passed (b, 121)."""
        return self.over_ground(self.drawing(passed))

    def drawing(self, passed: Tensor) -> Drawing:
        """Of what passed (b, 121)."""
        drawing: Drawing = self.decoder(self.merger.merge(passed, self.target))
        return drawing

    def over_ground(self, drawing: Drawing) -> Tensor:
        """(b, 3, s, s) the common face as the drawing says, before the background, -1 to 1."""
        colour, alpha = draw(self.colour, self.alpha, drawing)
        return alpha * colour + (1 - alpha) * self.ground
