"""Photos: examples of real faces, of which is known what mean_face makes of several looks at each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normpipe.config import Detect
from normpipe.faces.build import build_landmarker
from normpipe.faces.looks import steadied
from normpipe.faces.protocols import Landmarker
from normpipe.normalizers.mean_face.expression import read_face
from normpipe.normalizers.mean_face.model import MeanFaceModel, load_model
from normpipe.training.norface.examples import EXPRESSION_SHAPES, Example, Kind, shrunk
from normpipe.training.norface.runs import FinishedRun

_LOOKS = 6  # what a generator is for; heads and warps have those before
_SHOWN_DIGITS = 8


@dataclass(frozen=True, slots=True)
class PhotoMaker:
    """Makes photos of the faces of runs.

    Attributes:
        landmarker: Looks at them.
        model: Of mean_face.
        seed: Of all looks.
        side: Of the pictures.
    """

    landmarker: Landmarker
    model: MeanFaceModel
    seed: int
    side: int

    @classmethod
    def prepared(cls, seed: int, side: int) -> "PhotoMaker":
        """Load the landmarker."""
        return cls(build_landmarker(Detect(), "cpu"), load_model(), seed, side)

    def examples(self, run: FinishedRun, start: int, stop: int) -> Iterator[Example]:
        """Faces [start, stop) of a run, one example each.

        Raises:
            UsageError: a part of the run is damaged.
        """
        for number, found in enumerate(run.faces(start, stop), start):
            face = steadied(found.face, self.landmarker, np.random.default_rng([self.seed, _LOOKS, number]))
            reading = read_face(face, self.model)
            yield Example(
                example_id=f"{Kind.PHOTO.value}-{run.digest[:_SHOWN_DIGITS]}-{found.name}",
                person=found.person,
                kind=Kind.PHOTO,
                image=shrunk(face.image, self.side),
                expression=np.full(EXPRESSION_SHAPES, np.nan, np.float32),
                shape=reading.shape,
                detail=reading.detail,
                landmarks=face.landmarks / np.float32(run.size),
            )
