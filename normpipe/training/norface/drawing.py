"""The stage that learns to draw: from what passes of a code, by the teacher's flow, light and picture.

Encoder and reading stay as they are: codes come from a table, so that a step costs the drawing half of the network alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.batches import Floats, Image
from normpipe.normalizers.norface.pipeline import NorfacePipeline
from normpipe.training.norface import config, losses
from normpipe.training.norface.discriminator import Discriminator
from normpipe.training.norface.drawer import Drawer
from normpipe.training.norface.examples import ExampleSet
from normpipe.training.norface.identity import IdentityNet
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.seen_mesh import SeenMesh
from normpipe.training.norface.targets import STRENGTHS, TargetSet
from normpipe.training.norface.teacher import Teacher

CODE_NOISE = 0.1
"""Standard deviations, added to codes: readings of unknown faces lie between those of known ones."""

_SHOWN = 8


class DrawingLosses(Drawer):
    """What is trained: the part of the merger behind the code, and a decoder that warps.

    Args:
        network: Its parts; the encoder's tokens of the common face are taken here.
        weights: Of the losses.
        neutral: (468, 2) landmarks of the common face, in sides.
        identity: Tells people apart; None unless that loss has a weight.
    """

    def __init__(
        self, network: NorfacePipeline, weights: config.Drawing, neutral: Floats, identity: IdentityNet | None
    ) -> None:
        super().__init__(network)
        self.judge = Discriminator() if weights.fooling else None
        self.mesh = SeenMesh(neutral) if weights.mesh or weights.aperture else None
        self.encoder = network.encoder if weights.perceived else None
        self.identity = identity if weights.identity else None
        self._weights = weights

    def forward(
        self, passed: Tensor, picture: Tensor, flow: Tensor, light: Tensor, mask: Tensor, points: Tensor
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch.

        Args:
            passed: (b, 121) what passed of codes.
            picture: (b, 3, s, s) the teacher's, -1 to 1, without wrinkles.
            flow: (b, 2, g, g) see Lesson.
            light: (b, 1, g, g).
            mask: (b, 1, g, g).
            points: (b, 468, 2) landmarks, in sides.
        """
        drawing, grid, weights = self.drawing(passed), flow.shape[-1], self._weights
        drawn = self.over_ground(replace(drawing, light=torch.zeros_like(drawing.light)))
        found = {
            "flow": weights.flow * losses.covered_error(functional.adaptive_avg_pool2d(drawing.flow, grid), flow, mask),
            "light": weights.light * losses.covered_error(functional.adaptive_avg_pool2d(drawing.light, grid), light, mask),
            "picture": weights.picture * (drawn - picture).abs().mean(),
        }
        if self.mesh is not None:
            seen = self.mesh(drawn)
            found["mesh"] = weights.mesh * losses.mesh_error(seen, points)
            found["aperture"] = weights.aperture * losses.aperture_error(seen, points)
        if self.encoder is not None:
            found["perceived"] = weights.perceived * losses.perceived_error(self.encoder(drawn), self.encoder(picture))
        if self.identity is not None:
            common = self.alpha * self.colour + (1 - self.alpha) * self.ground
            distance = losses.identity_distance(self.identity(self.over_ground(drawing)), self.identity(common))
            found["identity"] = weights.identity * distance
        if self.judge is not None:
            fooling, telling = self.judge.losses(drawn, picture)
            found["fooling"], found["telling"] = weights.fooling * fooling, telling
        return found


class DrawingTrainee:
    """See Trainee."""

    def __init__(self, drawing_losses: DrawingLosses, targets: TargetSet, teacher: Teacher) -> None:
        self._losses = drawing_losses
        self._targets = targets
        self._teacher = teacher
        self._grid = drawing_losses.colour.shape[-1] // 2
        self.size = len(targets)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """See Trainee."""
        merger, judge = self._losses.merger, self._losses.judge
        parts: list[nn.Module] = [merger.carry, merger.blocks, merger.norm, self._losses.decoder]
        parts += [] if judge is None else [judge]
        return [([merger.places, *(weight for part in parts for weight in part.parameters())], 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """What passes, a little disturbed, and the teacher's answers to the undisturbed."""
        passed = self._targets.passed[chosen]
        lessons = [self._teacher.lesson(each, self._grid) for each in passed]
        points = np.stack([self._teacher.layout.points(each) for each in passed])
        pictures = np.stack([self._targets.picture(int(index)) for index in chosen])
        codes = torch.from_numpy(passed)
        return (
            codes + CODE_NOISE * torch.randn(codes.shape, generator=generator),
            torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1,
            *(torch.from_numpy(np.stack([getattr(each, name) for each in lessons])) for name in ("flow", "light", "mask")),
            torch.from_numpy(points),
        )


def sample_sheet(module: Drawer, examples: ExampleSet, targets: TargetSet) -> Image:
    """Eight of the faces that are trained on, in rows: source, and as drawn by now at strength 0, 0.5 and 1; uint8 RGB."""
    per, count = len(STRENGTHS), len(targets.rows)
    shown = np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).astype(np.intp))
    numbers = (per * shown[:, None] + np.arange(per)).ravel()
    with torch.inference_mode():
        drawn = module.pictures(torch.from_numpy(targets.passed[numbers]).to(module.target.device))
    drawings = ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    rows = [
        np.hstack([examples.picture(int(targets.rows[index])), *drawings[per * place : per * (place + 1)]])
        for place, index in enumerate(shown)
    ]
    return np.vstack(rows)
