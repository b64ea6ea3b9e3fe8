"""The normalizer with the arrays that ship with the package."""

import pytest

from normpipe.config import Normalize, Pipeline
from normpipe.normalizers.mean_face import MeanFace
from normpipe.normalizers.mean_face.model import MeanFaceModel, load_model


@pytest.fixture(scope="session")
def model() -> MeanFaceModel:
    return load_model()


@pytest.fixture(scope="session")
def renderer() -> MeanFace:
    return prepared()


def prepared(size: int = 256, **options: object) -> MeanFace:
    """A prepared normalizer with the given options of the section `normalize`."""
    normalizer = MeanFace(Pipeline(size=size, normalize=Normalize(**options)))
    normalizer.prepare("cpu")
    return normalizer
