"""The decoder that generates: tokens to a picture of its own, laid over the target, where WarpDecoder moves the target itself.

A U-Net, told by the tokens what to draw, carries a latent from noise to a picture in a few straight steps; an autoencoder makes
of it how the picture differs from the common face, whose texture so arrives sharp wherever nothing moves. The noise is always
the same and stands with the weights, so that a drawing is a function of the tokens and of nothing else.

Sources: flow matching (Lipman et al., https://arxiv.org/abs/2210.02747) along straight lines (Liu et al.,
https://arxiv.org/abs/2209.03003) in latents (Rombach et al., https://arxiv.org/abs/2112.10752), by a network that says where a
line ends and not how fast it goes there (Li and He, https://arxiv.org/abs/2511.13720).
"""

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from normpipe.normalizers.norface.decoder import Drawing

_CHANNELS = 4
"""Of a picture: red, green and blue, and alpha, each from -1 to 1."""

_PATCH = 4
"""Pixels along a patch: the autoencoder takes patches as channels, since full resolution would cost it most of its time."""

_TIME_UNIT = 1000
"""Moments between noise and picture as the U-Net counts them; the frequencies of its embedding are made for so many."""

_BEYOND = -1.0
"""Sides, a flow that leads from any pixel beyond the target's corner: where the drawing has no face, the target shows none."""


class FlowDecoder(ModelMixin, ConfigMixin):
    """Tokens to a Drawing that hides the target.

    The buffers are `common`, (1, 4, side, side) float32, the common face as a picture, from which others are told by how they
    differ; `noise`, (1, channels, g, g), from which every drawing starts; `middle`, of the same shape, and `spread`,
    (1, channels, 1, 1): the latents that are drawn are the autoencoder's, less the one, over the other.

    Args:
        dim: Length of a token.
        side: Pixels of its pictures.
        picture_widths: Channels of the autoencoder's stages, from the latent's to those of patches of 4 x 4 pixels, multiples
            of `groups`; every stage but the last doubles the resolution.
        channels: Of a latent.
        widths: Channels of the U-Net's levels, multiples of `groups`; every level but the last halves the resolution.
        groups: Of the normalization.
        steps: From the noise to the picture.
    """

    common: Tensor
    noise: Tensor
    middle: Tensor
    spread: Tensor

    @register_to_config
    def __init__(
        self,
        dim: int = 192,
        side: int = 128,
        picture_widths: Sequence[int] = (64, 32),
        channels: int = 8,
        widths: Sequence[int] = (32, 64),
        groups: int = 8,
        steps: int = 4,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError("steps must be at least 1")
        stages, levels = len(picture_widths), len(widths)
        self.autoencoder = AutoencoderKL(
            in_channels=_CHANNELS * _PATCH**2,
            out_channels=_CHANNELS * _PATCH**2,
            down_block_types=("DownEncoderBlock2D",) * stages,
            up_block_types=("UpDecoderBlock2D",) * stages,
            block_out_channels=tuple(reversed(picture_widths)),
            latent_channels=channels,
            norm_num_groups=groups,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        )
        self.enter = nn.Conv2d(dim, widths[0], 1)
        self.unet = UNet2DModel(
            in_channels=channels + widths[0],
            out_channels=channels,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            block_out_channels=tuple(widths),
            layers_per_block=1,
            norm_num_groups=groups,
            add_attention=False,
        )
        for last in (self.autoencoder.decoder.conv_out, self.unet.conv_out):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)  # the first drawing is the common face
        grid = side // (_PATCH * 2 ** (stages - 1))
        self.register_buffer("common", torch.zeros(1, _CHANNELS, side, side))
        self.register_buffer("noise", torch.randn(1, channels, grid, grid))
        self.register_buffer("middle", torch.zeros(1, channels, grid, grid))
        self.register_buffer("spread", torch.ones(1, channels, 1, 1))
        self._left = list(range(steps, 0, -1))

    def forward(self, tokens: Tensor) -> Drawing:
        """A Drawing on a grid of `side` from (b, k, dim) tokens."""
        wanted = self.wanted(tokens)
        latents = self.noise.expand(len(tokens), -1, -1, -1)
        for left in self._left:  # Euler's rule on a straight line: of the way that is left, one of the steps that are left
            time = torch.full((1,), 1 - left / len(self._left), device=latents.device)
            latents = latents + (self.end(latents, time, wanted) - latents) / left
        pictures = self.pictures(latents * self.spread + self.middle)
        colour, alpha = pictures.split((_CHANNELS - 1, 1), dim=1)
        nothing = torch.zeros_like(alpha)
        return Drawing((nothing + _BEYOND).expand(-1, 2, -1, -1), nothing, (alpha * 0.5 + 0.5).clamp(0, 1), colour.clamp(-1, 1))

    def wanted(self, tokens: Tensor) -> Tensor:
        """(b, widths[0], g, g), the map that tells the U-Net what to draw, from (b, k, dim) tokens."""
        grid = math.isqrt(tokens.shape[1])
        maps = self.enter(tokens.transpose(1, 2).unflatten(2, (grid, grid)))
        return functional.interpolate(maps, self.noise.shape[-2:], mode="bilinear", align_corners=False)

    def end(self, latents: Tensor, time: Tensor, wanted: Tensor) -> Tensor:
        """(b, channels, g, g) float32 ends of the ways on which latents of that shape are at a time, (b or 1,), 0 to 1."""
        told = torch.cat([latents, wanted.to(latents.dtype)], dim=1)
        (found,) = self.unet(told, time * _TIME_UNIT, return_dict=False)
        end: Tensor = found.float()
        return end

    def latents(self, pictures: Tensor) -> Tensor:
        """(b, channels, g, g) what is to be drawn for (b, 4, side, side) pictures to come out, colours and alpha -1 to 1."""
        return (self.posterior(pictures).mode().float() - self.middle) / self.spread

    def posterior(self, pictures: Tensor) -> DiagonalGaussianDistribution:
        """Of the autoencoder's latents, for such pictures."""
        (posterior,) = self.autoencoder.encode(functional.pixel_unshuffle(pictures - self.common, _PATCH), return_dict=False)
        assert isinstance(posterior, DiagonalGaussianDistribution)
        return posterior

    def pictures(self, latents: Tensor) -> Tensor:
        """Such pictures, float32, of the autoencoder's latents."""
        (patches,) = self.autoencoder.decode(latents, return_dict=False)
        return self.common + functional.pixel_shuffle(patches.float(), _PATCH)
