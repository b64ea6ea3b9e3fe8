"""The three embedded networks: which files they are, what goes in and comes out, and the runtime they use by default.

A runtime is anything that turns a batch of inputs into a batch of raw outputs: `LiteRTNetwork` here on the CPU, one picture
after the other (batches bring nothing on one thread), or `torch_networks` on a GPU. The engine sees only the protocol.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from normpipe.batches import Floats
from normpipe.errors import ModelUnavailableError

EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / "embedded" / "mediapipe"


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network that ships with the package.

    Attributes:
        name: File name without its ending.
        sha256: Of the file.
        size: Of the file, bytes.
        side: Of the square input, pixels.
        low: Value that black takes in the input; white takes 1.
        outputs: Names of the output tensors, in the order in which a Network returns them.
    """

    name: str
    sha256: str
    size: int
    side: int
    low: float
    outputs: tuple[str, str]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return EMBEDDED_FOLDER / f"{self.name}.tflite"

    def read(self) -> bytes:
        """The verified bytes.

        Raises:
            ModelUnavailableError: the file is missing or is not the one that shipped.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ModelUnavailableError(f"embedded network {self.name}: cannot read it; reinstall normpipe") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ModelUnavailableError(f"embedded network {self.name}: damaged (sha256 differs); reinstall normpipe")
        return content


SHORT_RANGE = NetworkFile(
    name="face_detection_short_range",
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    size=229_714,
    side=128,
    low=-1.0,
    outputs=("regressors", "classificators"),
)
FULL_RANGE = NetworkFile(
    name="face_detection_full_range_sparse",
    sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    size=676_746,
    side=192,
    low=-1.0,
    outputs=("Identity", "Identity_1"),
)
FACE_MESH = NetworkFile(
    name="face_landmark",
    sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    size=1_242_398,
    side=192,
    low=0.0,
    outputs=("conv2d_21", "conv2d_31"),
)
EMBEDDED_NETWORKS = (SHORT_RANGE, FULL_RANGE, FACE_MESH)


class Network(Protocol):
    """A loaded network."""

    def __call__(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Run (n, side, side, 3) float32 inputs; each of the two outputs has shape (n, values) or (n, anchors, values)."""
        ...


class LiteRTNetwork:
    """A network on one CPU thread."""

    def __init__(self, file: NetworkFile) -> None:
        with quiet_native_code():
            from ai_edge_litert.interpreter import Interpreter

            self._interpreter = Interpreter(model_content=file.read(), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        indices = {detail["name"]: (detail["index"], detail["shape"]) for detail in self._interpreter.get_output_details()}
        self._outputs = [indices[name] for name in file.outputs]

    def __call__(self, inputs: Floats) -> tuple[Floats, Floats]:
        """See Network."""
        first, second = (np.empty((len(inputs), *_squeezed(shape)), np.float32) for _, shape in self._outputs)
        for row, picture in enumerate(inputs):
            self._interpreter.set_tensor(self._input, picture[None])
            self._interpreter.invoke()
            for output, (index, _) in zip((first, second), self._outputs, strict=True):
                output[row] = self._interpreter.get_tensor(index).reshape(output.shape[1:])
        return first, second


def _squeezed(shape: Floats) -> tuple[int, ...]:
    """Shape of one picture's output without the network's unit axes in front."""
    sizes = [int(size) for size in shape[1:]]
    while len(sizes) > 1 and sizes[0] == 1:
        sizes = sizes[1:]
    return tuple(sizes)


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """LiteRT's native code announces its CPU delegate on file descriptor 2, once per interpreter; nobody can act on that."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
