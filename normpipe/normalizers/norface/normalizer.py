"""The normalizer norface: the common face as the network draws it.

The network always sees batches of one size, filled up where faces are wanting: kernels are chosen by the shape of a batch, so a
face's rounding then depends on neither how many came with it nor on who they are.

torch is loaded by `prepare`: the process that plans a run only looks at the files.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from normpipe.batches import AlignedFace, Image
from normpipe.config import Pipeline
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.faces.build import build_landmarker
from normpipe.faces.looks import seen_twice
from normpipe.faces.protocols import Landmarker
from normpipe.normalizers.mean_face.expression import UNMEASURABLE, measurable
from normpipe.normalizers.mean_face.model import MODEL_FILE, model_sha256
from normpipe.normalizers.mean_face.normalizer import MeanFace, require_embedded_landmarks
from normpipe.normalizers.norface.weights import (
    FLOW_DECODER,
    is_pinned,
    part_class,
    part_config,
    shown_weights,
    weights_folder,
    weights_sha256,
)
from normpipe.records import Failure, Reason

if TYPE_CHECKING:
    from normpipe.normalizers.norface.common_face import CommonFace
    from normpipe.normalizers.norface.pipeline import NorfacePipeline

ALGORITHM_VERSION = 1

_LIBRARIES = ("torch", "diffusers", "safetensors")


class Norface:
    """Draws faces again with the network.

    Args:
        pipeline: Size, margin, device and the section `normalize`.

    Raises:
        ModelUnavailableError: torch, diffusers or the weights are missing.
        UsageError: the weights cannot be used, were made for another margin, draw no other face than their own, or may change
            under their name; or the pipeline takes its landmarks from another landmarker than the embedded one.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        require_embedded_landmarks(pipeline, "norface")
        options = pipeline.normalize
        missing = [library for library in _LIBRARIES if find_spec(library) is None]
        if missing:
            raise ModelUnavailableError(
                f"normalize.normalizer: norface needs {' and '.join(missing)}: pip install 'normpipe[norface]'"
            )
        self._name = shown_weights(options.weights)
        if not is_pinned(options.weights):
            raise UsageError(
                f"normalize.weights: {self._name} may mean other weights tomorrow; add the commit, hf://owner/name@<40 digits>"
            )
        self._folder = weights_folder(options.weights)
        margin = part_config(self._folder, "common_face", self._name).get("margin")
        if margin != pipeline.align.margin:
            raise UsageError(
                f"align.margin: {pipeline.align.margin}: the weights {self._name} are made for {margin}; give that one"
            )
        own_face = part_class(self._folder, "decoder", self._name) == FLOW_DECODER
        if own_face and options.decoder == "network" and options.identity is not None:
            raise UsageError(
                f"normalize.identity: the network of the weights {self._name} draws no other face than the one it has learnt; "
                "leave the photo out, or give normalize.decoder: mesh"
            )
        self._pipeline = pipeline
        self._network: NorfacePipeline | None = None
        self._landmarker: Landmarker | None = None
        self._renderer = MeanFace(pipeline)
        self._photo_face: CommonFace | None = None

    @property
    def fingerprint(self) -> str:
        """Name, version, options, weights, identity photo, and how the network is computed."""
        options = self._pipeline.normalize
        cuda = self._pipeline.execution.device == "cuda"
        parts = {
            "normalizer": "norface",
            "algorithm_version": ALGORITHM_VERSION,
            "weights_sha256": weights_sha256(self._folder),
            "landmarker": build_landmarker(self._pipeline.detect, "cpu").fingerprint,
            "model_sha256": model_sha256(MODEL_FILE),  # measures faces, and lays out the texture of a photo
            "identity_sha256": None if options.identity is None else _sha256(Path(options.identity)),
            "decoder": options.decoder,
            "detail": options.detail,
            "background": options.background,
            "size": self._pipeline.size,
            "margin": self._pipeline.align.margin,
            "batch": options.batch,
            "dtype": "bfloat16" if cuda else "float32",
            "compile": cuda,
        }
        return json.dumps(parts, sort_keys=True)

    def prepare(self, device: str) -> None:
        """Load the network onto a device, analyze the identity photo if there is one, and draw one batch of nothing.

        Raises:
            ModelUnavailableError: there is no CUDA device.
            UsageError: the weights do not fit this version, the photo shows no face, or a batch does not fit the memory.
        """
        import torch

        from normpipe.normalizers.norface.pipeline import NorfacePipeline

        if device == "cuda" and not torch.cuda.is_available():
            raise ModelUnavailableError("torch sees no CUDA device; choose --device cpu")
        torch.set_num_threads(1)  # see engine/threads.py; a process that has torch already may not have heard of it
        options = self._pipeline.normalize
        self._renderer.prepare(device)
        if options.identity is not None and options.decoder == "network":
            from normpipe.normalizers.norface.common_face import neutral_common_face

            self._photo_face = neutral_common_face(self._pipeline.size, self._pipeline.align.margin, Path(options.identity))
        self._landmarker = build_landmarker(self._pipeline.detect, device)
        self._network = NorfacePipeline.from_pretrained(options.weights or self._folder)
        try:
            self._network.to(device)
            self._network.speed_up(half=device == "cuda")
            self._draw([])
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"normalize.batch: {options.batch} faces of {self._pipeline.size} pixels do not fit the GPU's free memory; "
                "give fewer, or start fewer workers per GPU"
            ) from error

    def normalize(self, faces: Sequence[AlignedFace]) -> list[Image | Failure]:
        """One (size, size, 3) image per face, in order.

        A face that cannot be measured is a Failure.
        """
        usable = [index for index, face in enumerate(faces) if measurable(face)]
        rendered: list[Image | Failure] = [Failure(Reason.NOT_RENDERED, UNMEASURABLE)] * len(faces)
        step = self._pipeline.normalize.batch
        for start in range(0, len(usable), step):
            batch = usable[start : start + step]
            seen = [self._seen(faces[index]) for index in batch]
            for index, picture in zip(batch, self._draw(seen), strict=True):
                rendered[index] = picture
        return rendered

    def _seen(self, face: AlignedFace) -> AlignedFace:
        assert self._landmarker is not None, "prepare() comes first"
        twice = seen_twice(face, self._landmarker)
        return twice if measurable(twice) else face

    def _draw(self, faces: Sequence[AlignedFace]) -> list[Image]:
        """Pictures of at most a batch of faces."""
        assert self._network is not None, "prepare() comes first"
        size, options = self._pipeline.size, self._pipeline.normalize
        if options.decoder == "mesh":
            codes = self._network.codes(faces, options.detail, options.batch)
            drawn = zip(faces, map(self._network.layout.expression, codes), strict=True)
            return [self._renderer.draw(face, expression) for face, expression in drawn]
        return self._network(faces, options.detail, size, options.background, self._photo_face, options.batch)


def _sha256(photo: Path) -> str:
    return hashlib.sha256(photo.read_bytes()).hexdigest()
