"""The normalizer mean_face: the common face with the source's expression, wrinkles, eyes and mouth."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.mean_face.detail import ATLAS_SIDE
from normpipe.normalizers.mean_face.expression import UNMEASURABLE, Expression, expression_of, measurable
from normpipe.normalizers.mean_face.identity import CommonIdentity, common_identity, identity_from_photo
from normpipe.normalizers.mean_face.interior import draw_interior, draw_shut_mouth
from normpipe.normalizers.mean_face.model import MODEL_FILE, MeanFaceModel, load_model, model_sha256
from normpipe.raster import rasterize_flat
from normpipe.records import Failure, Reason
from normpipe.stages.align import template_map

ALGORITHM_VERSION = 1

_FEATHER = 1.2  # pixels at size 256
_DETAIL_LIMIT = 1.0  # of log luminance, either way

cv2.setNumThreads(1)


class MeanFace:
    """Renders faces on the average face, or on the face of one photo.

    Args:
        pipeline: Size, margin and the section `normalize`.
        model_file: Fitted arrays, those that ship with the package unless told otherwise.

    Raises:
        UsageError: the pipeline takes its landmarks from another landmarker than the one the arrays are fitted to.
    """

    def __init__(self, pipeline: Pipeline, model_file: Path = MODEL_FILE) -> None:
        require_embedded_landmarks(pipeline, "mean_face")
        self._pipeline = pipeline
        self._model_file = model_file
        self._background = np.full((pipeline.size, pipeline.size, 3), pipeline.normalize.background, np.uint8)
        self._model: MeanFaceModel | None = None
        self._identity: CommonIdentity | None = None

    @property
    def fingerprint(self) -> str:
        """Name, version, options, arrays and identity photo."""
        options = self._pipeline.normalize
        parts = {
            "normalizer": "mean_face",
            "algorithm_version": ALGORITHM_VERSION,
            "model_sha256": model_sha256(self._model_file),
            "identity_sha256": _photo_sha256(options.identity),
            "detail": options.detail,
            "background": options.background,
            "size": self._pipeline.size,
            "margin": self._pipeline.align.margin,
        }
        return json.dumps(parts, sort_keys=True)

    def prepare(self, device: str) -> None:  # noqa: ARG002 - the protocol's signature; numpy and OpenCV run on the CPU
        """Load the arrays, and analyze the identity photo if there is one.

        Raises:
            UsageError: the identity photo cannot be read or shows no face.
        """
        self._model = load_model(self._model_file)
        identity = self._pipeline.normalize.identity
        if identity is None:
            self._identity = common_identity(self._model)
        else:
            self._identity = identity_from_photo(Path(identity), self._pipeline, self._model)

    def normalize(self, faces: Sequence[AlignedFace]) -> list[Image | Failure]:
        """One (size, size, 3) image per face, in order."""
        return [self.render(face) for face in faces]

    def render(self, face: AlignedFace) -> Image | Failure:
        """One face, a Failure if it cannot be measured. Faces never share arithmetic: an image does not depend on its batch."""
        assert self._model is not None, "prepare() comes first"
        if not measurable(face):
            return Failure(Reason.NOT_RENDERED, UNMEASURABLE)
        expression = expression_of(face, self._model)
        return self.draw(face, replace(expression, detail=expression.detail * np.float32(self._pipeline.normalize.detail)))

    def draw(self, face: AlignedFace, expression: Expression) -> Image:
        """The common face with an expression, its wrinkles as strong as they are, and with the source's eyes and mouth."""
        assert self._model is not None, "prepare() comes first"
        points = self._points(expression.offsets)
        canvas, mask = self._deform(points, expression.detail)
        drawn = draw_interior(canvas, points, face, canvas.copy(), self._model)
        return self._over_background(canvas, self._alpha(mask | drawn))

    def neutral(self) -> Image:
        """The common face without expression, with its own eyes."""
        return self._over_background(*self.neutral_layers())

    def neutral_layers(self, texture: Image | None = None) -> tuple[Image, Floats]:
        """The common face without expression, not yet before a background.

        Args:
            texture: (a, a, 3) uint8 RGB in the atlas, drawn in place of the common identity's own.

        Returns:
            (size, size, 3) uint8 RGB, of which what lies outside the face is without meaning; and (size, size) float32, 1 on
            the face, 0 beside it, between them at its rim.
        """
        assert self._model is not None, "prepare() comes first"
        points = self._points(np.zeros((468, 2), np.float32))
        canvas, mask = self._deform(points, None, texture)
        return canvas, self._alpha(mask | draw_shut_mouth(canvas, points, self._model))

    def _points(self, offsets: Floats) -> Floats:
        """Landmarks of the deformed common face in output pixels."""
        assert self._identity is not None
        scale, shift = template_map(self._pipeline.size, self._pipeline.align.margin)
        points: Floats = ((self._identity.shape + offsets) * scale + shift).astype(np.float32)
        return points

    def _deform(
        self, points: Floats, detail: Floats | None, texture: Image | None = None
    ) -> tuple[Image, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        """The common texture, or another, on deformed landmarks, and where it lies."""
        assert self._model is not None
        assert self._identity is not None
        texture = self._identity.texture if texture is None else texture
        size, model = self._pipeline.size, self._model
        attributes = np.zeros((len(points), 3), np.float32)
        attributes[:, :2] = model.atlas_points
        triangles = np.concatenate([model.eye_triangles, model.skin_triangles])
        atlas, mask = rasterize_flat(points, triangles, attributes, (size, size))
        side = texture.shape[0]
        canvas = cv2.remap(
            texture,
            atlas[..., 0] * side - 0.5,
            atlas[..., 1] * side - 0.5,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if detail is not None:
            light = np.exp(np.clip(detail, -_DETAIL_LIMIT, _DETAIL_LIMIT))
            light = cv2.remap(light, atlas[..., 0] * ATLAS_SIDE - 0.5, atlas[..., 1] * ATLAS_SIDE - 0.5, cv2.INTER_LINEAR)
            canvas = cv2.multiply(canvas, cv2.merge([light, light, light]), dtype=cv2.CV_8U)
        return canvas.astype(np.uint8, copy=False), mask

    def _alpha(self, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
        """The face's mask, its rim feathered inwards."""
        solid = cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
        return cv2.GaussianBlur(solid, (0, 0), _FEATHER * self._pipeline.size / 256).astype(np.float32, copy=False)

    def _over_background(self, canvas: Image, alpha: Floats) -> Image:
        return cv2.blendLinear(canvas, self._background, alpha, 1 - alpha).astype(np.uint8, copy=False)


def require_embedded_landmarks(pipeline: Pipeline, normalizer: str) -> None:
    """Refuse other landmarks than those the arrays are fitted to.

    Landmarkers differ by more than many expressions do: the difference would be drawn as one.

    Raises:
        UsageError: the pipeline takes its landmarks from another landmarker.
    """
    if pipeline.detect.landmarker != "embedded":
        raise UsageError(
            f"detect.landmarker: {pipeline.detect.landmarker}: the normalizer {normalizer} is fitted to the landmarks of "
            "`embedded`; give that one"
        )


def _photo_sha256(path: str | None) -> str | None:
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
