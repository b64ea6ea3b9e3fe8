"""The torch port computes what LiteRT computes."""

import numpy as np
import pytest

from normpipe.faces.embedded import EmbeddedEngine
from normpipe.faces.networks import EMBEDDED_NETWORKS, FACE_MESH, LiteRTNetwork

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from normpipe.faces.torch_networks import FaceNetwork, TorchNetwork  # noqa: E402


def _compare(file, device: str) -> None:
    inputs = np.random.default_rng(0).uniform(file.low, 1, (4, file.side, file.side, 3)).astype(np.float32)
    for expected, found in zip(LiteRTNetwork(file)(inputs), TorchNetwork(file, device)(inputs), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("file", EMBEDDED_NETWORKS, ids=lambda file: file.name)
def test_same_outputs_on_the_cpu(file):
    _compare(file, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("file", EMBEDDED_NETWORKS, ids=lambda file: file.name)
def test_same_outputs_on_cuda(file):
    _compare(file, "cuda")


def test_same_faces_end_to_end(astronaut, engine):
    ported = EmbeddedEngine(lambda file: TorchNetwork(file, "cpu"))
    expected, found = engine.detect(astronaut), ported.detect(astronaut)
    assert len(expected) == len(found) == 1
    np.testing.assert_allclose(found[0].box, expected[0].box, atol=0.01)
    np.testing.assert_allclose(
        ported.landmarks(astronaut, found)[0].points, engine.landmarks(astronaut, expected)[0].points, atol=0.02
    )


def test_the_mesh_is_differentiable():
    pictures = torch.full((1, 3, FACE_MESH.side, FACE_MESH.side), 0.5, requires_grad=True)
    points, _ = FaceNetwork(FACE_MESH)(pictures)
    points.sum().backward()
    assert torch.isfinite(pictures.grad).all()
    assert pictures.grad.abs().sum() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_is_refused_in_one_line():
    from normpipe.errors import ModelUnavailableError

    with pytest.raises(ModelUnavailableError, match="no CUDA device"):
        TorchNetwork(FACE_MESH, "cuda")
