"""The rig, loaded once, and its hand-drawn skin."""

import pytest

from normpipe.synthetic.heads import HeadRig
from normpipe.synthetic.paint import draw_atlas


@pytest.fixture(scope="session")
def rig(shared):
    path = shared / "data" / "ict-facekit" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/ict-facekit/ict_facekit.npz")
    return HeadRig.load(path)


@pytest.fixture(scope="session")
def atlas(rig):
    return draw_atlas(rig)
