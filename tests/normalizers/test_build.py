"""A name in the pipeline file becomes a normalizer that works."""

import subprocess
import sys

import numpy as np
import pytest
from fixtures.faces import aligned_face

from normpipe.config import Detect, Normalize, Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.build import NORMALIZERS, build_normalizer
from normpipe.normalizers.norface.weights import SHIPPED


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_name_is_a_normalizer(name):
    if name == "norface":
        pytest.importorskip("diffusers", reason="the package diffusers is not installed")
        if not SHIPPED.is_dir():
            pytest.skip("needs the weights of norface in the package")
    pipeline = Pipeline(size=128, normalize=Normalize(normalizer=name, background=(1, 2, 3)))
    normalizer = build_normalizer(pipeline)
    assert normalizer.fingerprint
    normalizer.prepare("cpu")
    image, again = normalizer.normalize([aligned_face(size=128), aligned_face(size=128)])
    assert image.shape == (128, 128, 3)
    assert image.dtype == np.uint8
    assert (image[0, 0] == (1, 2, 3)).all()
    np.testing.assert_array_equal(image, again)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"normalize\.normalizer: no normalizer 'avatar'; there is: mean_face, norface$"):
        build_normalizer(Pipeline(normalize=Normalize(normalizer="avatar")))


def test_mean_face_refuses_a_landmarker_it_is_not_fitted_to():
    build_normalizer(Pipeline(detect=Detect(detector="mediapipe")))
    with pytest.raises(UsageError) as error:
        build_normalizer(Pipeline(detect=Detect(landmarker="mediapipe")))
    line = str(error.value)
    assert line.startswith("detect.landmarker: mediapipe: the normalizer mean_face is fitted to")
    assert "\n" not in line


def test_a_normalizer_is_imported_only_when_it_is_named():
    code = "import normpipe.normalizers.build, sys; print([name for name in sys.modules if 'face.' in name or 'torch' in name])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
