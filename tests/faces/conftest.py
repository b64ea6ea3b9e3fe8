import pytest

from normpipe.config import Detect, FacePolicy
from normpipe.faces.build import build_detector
from normpipe.faces.embedded import EmbeddedEngine
from tests.fixtures import photos


@pytest.fixture(scope="session")
def astronaut():
    return photos.astronaut()


@pytest.fixture(scope="session")
def group():
    return photos.group()


@pytest.fixture(scope="session")
def engine() -> EmbeddedEngine:
    return build_detector(Detect(), "cpu")


@pytest.fixture(scope="session")
def exhaustive_engine() -> EmbeddedEngine:
    return build_detector(Detect(policy=FacePolicy.ALL), "cpu")
