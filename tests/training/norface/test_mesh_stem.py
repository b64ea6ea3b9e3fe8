"""The stem started from the face mesh computes what the mesh does."""

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from normpipe.faces.networks import FACE_MESH  # noqa: E402
from normpipe.faces.torch_networks import FaceNetwork  # noqa: E402
from normpipe.normalizers.norface.stem import FaceStem  # noqa: E402
from normpipe.training.norface.mesh_stem import copy_mesh_stem  # noqa: E402


def test_features_are_the_meshs_own():
    stem = FaceStem((16, 32, 64, 128))
    copy_mesh_stem(stem)
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = pictures.to(memory_format=torch.channels_last)  # the mesh's weights lie so: both take the same kernels
    mesh = FaceNetwork(FACE_MESH)
    values = {mesh._input: pictures * 0.5 + 0.5}
    with torch.no_grad():
        for step in list(mesh._steps)[:52]:
            values[step.output] = step([values[index] for index in step.inputs])
        fine, coarse = stem(pictures)
    assert torch.equal(fine, values[83])
    assert torch.equal(coarse, values[113])


def test_a_stem_of_other_widths_is_no_mesh():
    with pytest.raises(RuntimeError):
        copy_mesh_stem(FaceStem((8, 32, 64, 128)))
