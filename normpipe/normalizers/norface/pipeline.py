"""The network's parts put together: aligned faces in, pictures of the common face with their expressions out.

A diffusers pipeline, so that it is saved, shared and loaded as such. Loading is stricter than the library's own: a file that is
missing, damaged or of another architecture is an error, where the library would fill in random weights with a warning; nothing
but JSON and safetensors is read, and no class is taken from a file.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.errors import ModelUnavailableError, UsageError

try:
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from safetensors.torch import load_file
except ImportError as error:
    raise ModelUnavailableError("norface needs torch and diffusers: pip install 'normpipe[norface]'") from error

from torch import Tensor, nn

from normpipe.normalizers.mean_face.interior import draw_interior
from normpipe.normalizers.mean_face.model import load_model
from normpipe.normalizers.norface.common_face import CommonFace, resize
from normpipe.normalizers.norface.decoder import Drawing, WarpDecoder, draw
from normpipe.normalizers.norface.encoder import FaceEncoder
from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.normalizers.norface.layout import FaceLayout, measured_numbers
from normpipe.normalizers.norface.merging import ExpressionMerger
from normpipe.normalizers.norface.weights import (
    FLOW_DECODER,
    WEIGHTS_FILE,
    part_class,
    part_config,
    shown_weights,
    weights_folder,
)

_FAINT = 1 / 32
"""Alpha up to here is none: a network that covers with next to nothing leaves the background exactly as it is asked for."""

_ANOTHER_NETWORK = "weights and options are of different networks; save them together"

_Reader = Callable[[Tensor, Tensor, Tensor], Tensor]
_Painter = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
_Part = TypeVar("_Part", FaceEncoder, ExpressionMerger, WarpDecoder, FlowDecoder, CommonFace, FaceLayout)


class NorfacePipeline(DiffusionPipeline):
    """Faces drawn again on the common face.

    The target's tokens are kept from the first call on: when weights have changed since, make a new one of the same parts.

    Args:
        encoder: Looks at both faces.
        merger: The source's expression into the target's tokens.
        decoder: Tokens to a drawing.
        common_face: The target.
        layout: What is measured, and where drawings have their landmarks.
    """

    encoder: FaceEncoder
    merger: ExpressionMerger
    decoder: WarpDecoder | FlowDecoder
    common_face: CommonFace
    layout: FaceLayout

    def __init__(
        self,
        encoder: FaceEncoder,
        merger: ExpressionMerger,
        decoder: WarpDecoder | FlowDecoder,
        common_face: CommonFace,
        layout: FaceLayout,
    ) -> None:
        super().__init__()
        self.register_modules(encoder=encoder, merger=merger, decoder=decoder, common_face=common_face, layout=layout)
        self._reader: _Reader = self._read
        self._painter: _Painter = self._paint
        self._half = False
        self._tokens: Tensor | None = None
        self._layers: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str]) -> Self:  # type: ignore[override]  # no **kwargs
        """Load a pipeline that `save_pretrained` wrote, in float32 on the CPU.

        Args:
            pretrained_model_name_or_path: A folder, or `hf://owner/name` or `hf://owner/name@revision` for the hub, the only
                case in which the network is touched.

        Raises:
            ModelUnavailableError: there is no such folder or repository.
            UsageError: a file is missing, damaged, a pickle, or does not fit this version's classes or the other parts.
        """
        where = os.fspath(pretrained_model_name_or_path)
        folder, name = weights_folder(where), shown_weights(where)
        encoder = _load(FaceEncoder, folder, "encoder", name)
        merger = _load(ExpressionMerger, folder, "merger", name)
        decoder: WarpDecoder | FlowDecoder
        if part_class(folder, "decoder", name) == FLOW_DECODER:
            decoder = _load(FlowDecoder, folder, "decoder", name)
        else:
            decoder = _load(WarpDecoder, folder, "decoder", name)
        common_face = _load(CommonFace, folder, "common_face", name)
        layout = _load(FaceLayout, folder, "layout", name)
        dims = {part.config["dim"] for part in (encoder, merger, decoder)}
        if len(dims) > 1:
            raise UsageError(f"weights {name}: encoder, merger and decoder are of different networks; save them together")
        if not bool((layout.spread > 0).all()):
            raise UsageError(f"weights {name}: layout: a spread is not above 0; get it again")
        if any(merger.config[key] != layout.config[key] for key in ("free", "own")):
            raise UsageError(f"weights {name}: merger and layout are of different networks; save them together")
        if (layout.config["own"], layout.config["margin"]) != (measured_numbers(), common_face.config["margin"]):
            raise UsageError(f"weights {name}: layout does not fit this version's mean_face or the common face; get it again")
        return cls(encoder, merger, decoder, common_face, layout)

    def __call__(
        self,
        faces: Sequence[AlignedFace],
        strength: float = 0.5,
        size: int = 256,
        background: tuple[int, int, int] = (61, 61, 61),
        common_face: CommonFace | None = None,
        batch: int | None = None,
    ) -> list[Image]:
        """Draw faces again, all of them in one batch.

        Args:
            faces: With crops of any side, cut out as the stage align does with the common face's margin.
            strength: Share of what may be somebody's own that is drawn, 0 to 1, see ExpressionMerger.
            size: Side of the pictures, pixels.
            background: RGB, 0 to 255.
            common_face: Another picture of the same shape to draw on; a FlowDecoder draws none but the one it has learnt.
            batch: How many faces the network is given, the missing ones as blanks; as many as there are if None.

        Returns:
            One (size, size, 3) uint8 RGB picture per face, in order.

        Raises:
            UsageError: a crop is not square, not RGB or not uint8, or there is a common face for a FlowDecoder.
        """
        if common_face is not None and isinstance(self.decoder, FlowDecoder):
            raise UsageError("the network generates the common face that it has learnt: give no other one")
        count = len(faces)
        if not (batch or count):
            return []
        with torch.inference_mode(), _repeatable():
            passed = self._passed(faces, strength, (batch or count) - count)
            colour, alpha = draw(*self._target(size, common_face), self._drawing(passed))
            alpha = (alpha - _FAINT).clamp(0) / (1 - _FAINT)
            ground = torch.tensor(background, device=colour.device).view(1, 3, 1, 1) / 127.5 - 1
            drawn = ((alpha * colour + (1 - alpha) * ground + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            pictures = drawn[:count].permute(0, 2, 3, 1).contiguous().cpu().numpy()
            codes = passed[:count].float().cpu().numpy()
        for picture, code, face in zip(pictures, codes, faces, strict=True):
            points = self.layout.points(code) * np.float32(size)
            draw_interior(picture, points, _at_side(face, size), picture.copy(), load_model())
        return list(pictures)

    def codes(self, faces: Sequence[AlignedFace], strength: float = 0.5, batch: int | None = None) -> Floats:
        """(n, free + own) float32 what passes of the codes of n faces, for `layout`; arguments and errors as for a drawing."""
        count = len(faces)
        if not (batch or count):
            return np.zeros((0, len(self.layout.spread)), np.float32)
        with torch.inference_mode(), _repeatable():
            passed: Floats = self._passed(faces, strength, (batch or count) - count)[:count].float().cpu().numpy()
            return passed

    def speed_up(self, half: bool) -> None:
        """Arrange the weights for speed, from the next call on; the pictures change by rounding.

        Args:
            half: For CUDA: compute the weighted layers in bfloat16 and compile them.
        """
        parts = nn.ModuleList([self.encoder, self.merger, self.decoder])
        parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs do not know it
        self._tokens = None
        self._half = half
        if half:
            # By default the compiler times several kernels on the device and takes the fastest, which need not sum alike.
            options: dict[str, str | int | bool | Callable[..., object]] = {"deterministic": True}
            self._reader = torch.compile(self._read, dynamic=False, options=options)
            self._painter = torch.compile(self._paint, dynamic=False, options=options)

    def _inputs(self, crops: Sequence[Image], blanks: int) -> Tensor:
        """(b, 3, side, side), -1 to 1, at the encoder's side."""
        side = int(self.encoder.config["side"])
        for number, crop in enumerate(crops):
            if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[0] != crop.shape[1] or crop.shape[2] != 3:
                raise UsageError(f"crop {number}: {crop.dtype} of shape {crop.shape}; give (n, n, 3) uint8 RGB")
        pictures = np.stack([resize(crop, side) for crop in crops] + [np.zeros((side, side, 3), np.uint8)] * blanks)
        # Channels last in memory, as the convolutions want them: the view of a permutation is just that.
        return torch.from_numpy(pictures).to(self.encoder.device).permute(0, 3, 1, 2).float() / 127.5 - 1

    def _measured(self, faces: Sequence[AlignedFace], blanks: int) -> Tensor:
        """(b, own) of their codes."""
        nothing: Floats = np.zeros(int(self.layout.config["own"]), np.float32)
        own = np.stack([self.layout.measured(face) for face in faces] + [nothing] * blanks)
        return torch.from_numpy(own).to(self.encoder.device)

    def _passed(self, faces: Sequence[AlignedFace], strength: float, blanks: int) -> Tensor:
        """(b, free + own) what passes of the codes of faces and blanks."""
        inputs, own = self._inputs([face.image for face in faces], blanks), self._measured(faces, blanks)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self._half):
            return self._reader(inputs, own, torch.tensor([strength], device=inputs.device))

    def _drawing(self, passed: Tensor) -> Drawing:
        """What to draw of that."""
        with torch.autocast(passed.device.type, torch.bfloat16, enabled=self._half):
            if self._tokens is None or self._tokens.device != passed.device:
                self._tokens = self.encoder(self.common_face.picture(int(self.encoder.config["side"])))
            return Drawing(*self._painter(passed, self._tokens))

    def _read(self, inputs: Tensor, own: Tensor, strength: Tensor) -> Tensor:
        """The half of the network before the bottleneck, from tensors to tensors, so that it can be compiled."""
        return self.merger.passed(self.merger.expression(self.encoder(inputs)), own, strength)

    def _paint(self, passed: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The half behind it."""
        drawing = self.decoder(self.merger.merge(passed, target))
        return drawing.flow, drawing.light, drawing.cover, drawing.colour

    def _target(self, size: int, common_face: CommonFace | None) -> tuple[Tensor, Tensor]:
        """Colour and alpha to draw on."""
        device = self.encoder.device
        if common_face is not None:
            colour, alpha = common_face.layers(size)
            return colour.to(device), alpha.to(device)
        if (size, device) not in self._layers:
            self._layers[size, device] = self.common_face.layers(size)
        return self._layers[size, device]


def _repeatable() -> AbstractContextManager[None]:
    """The same kernels every time, in full precision."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _at_side(face: AlignedFace, side: int) -> AlignedFace:
    """The face in a crop of so many pixels."""
    factor = np.float32(side / face.image.shape[0])
    landmarks, corners = face.landmarks * factor, face.frame_corners * factor
    return replace(face, image=resize(face.image, side), landmarks=landmarks, frame_corners=corners)


def _load(kind: type[_Part], folder: Path, name: str, shown: str) -> _Part:
    """One part, every weight of it from its file."""
    options = part_config(folder, name, shown)
    known = set(inspect.signature(kind.__init__).parameters) - {"self"}
    for key in sorted(known ^ set(options)):
        trouble = "is missing" if key in known else f"is no option of {kind.__name__}"
        raise UsageError(f"weights {shown}: {name}: {key} {trouble}; get the weights made for this version of normpipe")
    try:
        part = kind.from_config(options)
        assert isinstance(part, kind)
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"weights {shown}: {name}: no {kind.__name__} can be made with these options; get it again") from error
    state = load_file(folder / name / WEIGHTS_FILE)
    expected = part.state_dict()
    for key in sorted(set(state) ^ set(expected)):
        trouble = "is missing" if key in expected else "is unknown"
        raise UsageError(f"weights {shown}: {name}: the tensor {key} {trouble}: {_ANOTHER_NETWORK}")
    for key, tensor in state.items():
        wanted = expected[key]
        if tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point():
            shapes = f"{tuple(tensor.shape)} of {tensor.dtype}, not {tuple(wanted.shape)} of {wanted.dtype}"
            raise UsageError(f"weights {shown}: {name}: the tensor {key} is {shapes}: {_ANOTHER_NETWORK}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"weights {shown}: {name}: the tensor {key} holds what is no number; get it again")
    part.load_state_dict(state)
    part.eval().requires_grad_(requires_grad=False)
    return part
