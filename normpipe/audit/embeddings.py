"""The attackers' eyes: face embeddings given as ONNX files, fed the way ArcFace networks are.

The file may be any: an input of one square RGB picture and an output of one vector are all that is asked. Whether pixels come
as 0 to 255 or as -1 to 1 is not written in an ONNX file; it follows the layout, as in the two families that exist.

Source: Deng et al., ArcFace, https://arxiv.org/abs/1801.07698 (the five points' places in the input: insightface's face_align).
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.assets.store import store_folder
from normpipe.batches import Floats, Image
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.shards.atomic import sha256_of

ALGORITHM_VERSION = 1

_STORED = "*/w600k_*.onnx"
"""ArcFace of insightface's model packs, in the model store."""

_PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
_PLACES_SIDE = 112
_LARGEST_SIDE = 1024
_RESERVED = ("HOG", "face shape")  # what figures call the features that every audit has


@dataclass(frozen=True, slots=True)
class EmbeddingFile:
    """An embedding to attack with.

    Attributes:
        name: Of the file without its ending: what figures, columns and plots call it.
        path: Where it lies.
        sha256: Of its content.
        size: Length of the vector.
    """

    name: str
    path: Path
    sha256: str
    size: int


class Embedding:
    """A loaded embedding network.

    Args:
        path: ONNX file: input (n, s, s, 3) RGB 0 to 255, or (n, 3, s, s) RGB -1 to 1; output (n, k).

    Raises:
        ModelUnavailableError: onnxruntime is not installed.
        UsageError: the file is not such a network.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as failures
        except ImportError as error:
            raise ModelUnavailableError("--identity needs onnxruntime: pip install 'normpipe[audit]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is said below, in one line
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (
            failures.Fail,
            failures.InvalidArgument,
            failures.InvalidGraph,
            failures.InvalidProtobuf,
            failures.NoSuchFile,
            failures.NotImplemented,
        ) as error:
            raise UsageError(f"--identity {path.name}: not a readable ONNX file") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        self._channels_first = len(shape) == 4 and shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3] if len(shape) == 4 and shape[3] == 3 else []
        square = len(sides) == 2 and sides[0] == sides[1] and isinstance(sides[0], int) and 0 < sides[0] <= _LARGEST_SIDE
        if not square or len(outputs[0].shape) != 2 or not isinstance(outputs[0].shape[1], int):
            raise UsageError(
                f"--identity {path.name}: not a face embedding; it must take one square RGB picture of at most {_LARGEST_SIDE} "
                "pixels a side, (n, side, side, 3) or (n, 3, side, side), and give one vector, (n, length)"
            )
        self._side: int = sides[0]
        self._input = inputs[0].name
        self.size = outputs[0].shape[1]
        try:
            vectors = np.stack([self._vector(picture) for picture in _trial_pictures(self._side)])
        except (failures.Fail, failures.InvalidArgument, failures.RuntimeException, ValueError) as error:
            raise UsageError(f"--identity {path.name}: it cannot be run on one picture") from error
        if not np.isfinite(vectors).all() or np.allclose(vectors[0], vectors[1], rtol=1e-4, atol=0):
            raise UsageError(f"--identity {path.name}: not a face embedding; two pictures get no vectors, or the same")

    def embed(self, image: Image, five_points: Floats) -> Floats:
        """(k,) unit vector of the face that has its (5, 2) points in image pixels; zero where the network gives zero."""
        vector = self._vector(self._cut(image, five_points))
        length = float(np.linalg.norm(vector))
        return np.asarray(vector / length if length > 0 else vector, np.float32)

    def _vector(self, cut: NDArray[np.uint8]) -> Floats:
        """(k,) as the network gives it for one picture of its size."""
        face = cut.astype(np.float32)
        if self._channels_first:
            face = ((face - 127.5) / 127.5).transpose(2, 0, 1)
        (vector,) = self._session.run(None, {self._input: np.ascontiguousarray(face[None])})[0]
        return np.asarray(vector, np.float32)

    def _cut(self, image: Image, five_points: Floats) -> NDArray[np.uint8]:
        places = _PLACES * (self._side / _PLACES_SIDE)
        matrix, _ = cv2.estimateAffinePartial2D(five_points.astype(np.float32) - 0.5, places, method=cv2.LMEDS)
        if matrix is None:  # points that coincide: no face there, but the picture is an attacker's all the same
            matrix = np.array([[self._side / image.shape[1], 0, 0], [0, self._side / image.shape[0], 0]])
        return np.asarray(cv2.warpAffine(image, matrix, (self._side, self._side)), np.uint8)


def _trial_pictures(side: int) -> list[NDArray[np.uint8]]:
    """Two pictures that no two vectors of use can be the same of."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return [np.repeat(np.broadcast_to(each, (side, side))[..., None], 3, axis=2) for each in (ramp, ramp[::-1, None])]


def embedding_files(given: tuple[Path, ...], store: Path | None = None) -> tuple[EmbeddingFile, ...]:
    """The files given and those of the model store, in the order of their names, each content once.

    Raises:
        UsageError: a file is not an embedding, or two different ones have one name.
        ModelUnavailableError: onnxruntime is not installed.
    """
    found: dict[str, EmbeddingFile] = {}
    stored = sorted(store_folder(store).glob(_STORED)) if find_spec("onnxruntime") is not None else []
    for path in (*given, *stored):
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise UsageError(f"--identity {path.name}: cannot be read ({error.strerror})") from error
        if path.stem in _RESERVED:
            raise UsageError(f"--identity {path.name}: {path.stem} is another feature's name; rename the file")
        if any(each.sha256 == digest for each in found.values()):
            continue
        if path.stem in found:
            raise UsageError(f"--identity {path.name}: two different files have this name; rename one")
        found[path.stem] = EmbeddingFile(path.stem, path.absolute(), digest, Embedding(path).size)
    return tuple(found[name] for name in sorted(found))
