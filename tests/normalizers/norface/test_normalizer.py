"""A face's picture depends on the face and the options alone, and what cannot be done is said in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.faces import aligned_face
from fixtures.photos import astronaut
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from normpipe.config import Normalize, Pipeline
from normpipe.errors import ModelUnavailableError, NormpipeError, UsageError
from normpipe.normalizers.norface import normalizer as module
from normpipe.records import Failure, Reason

from .tiny import norface, prepared, tiny, torch

from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip

SIZE = 64
FACES = [aligned_face(seed, SIZE) for seed in range(6)]


@pytest.fixture(scope="module")
def renderer(saved):
    return prepared(saved)


@pytest.fixture(scope="module", params=[1, 3, 4, 16])
def alone(saved, request):
    """A normalizer of some batch size, and what it makes of each face alone."""
    normalizer = prepared(saved, batch=request.param)
    return normalizer, [normalizer.normalize([face])[0] for face in FACES]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, len(FACES) - 1), max_size=10))
def test_every_face_gets_its_own_picture_whatever_its_batch(alone, order):
    normalizer, pictures = alone
    rendered = normalizer.normalize([FACES[index] for index in order])
    assert len(rendered) == len(order)
    for index, picture in zip(order, rendered, strict=True):
        np.testing.assert_array_equal(picture, pictures[index])


def test_faces_differ_and_come_again(saved, renderer):
    first, second = renderer.normalize(FACES[:2])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(prepared(saved).normalize(FACES[:1])[0], first)


@pytest.mark.parametrize("size", [64, 200])
def test_a_picture_has_the_size_of_the_pipeline(saved, size):
    (picture,) = prepared(saved, size).normalize([aligned_face(0, size)])
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


def test_options_reach_the_network(saved, renderer, tmp_path):
    PillowImage.fromarray(astronaut()).save(tmp_path / "photo.png")
    plain = renderer.normalize(FACES[:1])[0]
    for options in ({"detail": 0.0}, {"background": (0, 255, 0)}, {"identity": str(tmp_path / "photo.png")}):
        assert not np.array_equal(prepared(saved, **options).normalize(FACES[:1])[0], plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_landmarks_that_are_no_numbers_are_a_failure(renderer, value):
    points = FACES[1].landmarks.copy()
    points[17, 1] = value
    rendered = renderer.normalize([FACES[0], replace(FACES[1], landmarks=points), FACES[2]])
    assert isinstance(rendered[1], Failure)
    assert rendered[1].reason is Reason.NOT_RENDERED
    for picture, expected in zip(rendered[::2], renderer.normalize(FACES[:3:2]), strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_the_fingerprint_names_every_option_that_changes_the_picture(saved, tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"1")
    (tmp_path / "two.jpg").write_bytes(b"2")
    tiny(trained=False).save_pretrained(tmp_path / "other")
    fingerprints = [
        norface(saved).fingerprint,
        norface(tmp_path / "other").fingerprint,
        norface(saved, size=128).fingerprint,
        norface(saved, batch=5).fingerprint,
        norface(saved, detail=0.0).fingerprint,
        norface(saved, background=(0, 0, 0)).fingerprint,
        norface(saved, device="cuda").fingerprint,
        *(norface(saved, identity=str(tmp_path / name)).fingerprint for name in ("one.jpg", "two.jpg")),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    parts = json.loads(fingerprints[0])
    assert (parts["normalizer"], parts["dtype"], parts["compile"]) == ("norface", "float32", False)
    parts = json.loads(fingerprints[6])
    assert (parts["dtype"], parts["compile"]) == ("bfloat16", True)
    assert str(saved) not in fingerprints[0]


def refused(make, pattern, kind=UsageError):
    with pytest.raises(kind, match=pattern) as error:
        make()
    assert "\n" not in str(error.value)


def test_another_margin_is_refused(saved):
    refused(lambda: norface(saved, margin=0.2), r"^align\.margin: 0\.2: the weights tiny are made for 0\.1; give that one$")


def test_own_neutral_is_refused(saved):
    refused(lambda: norface(saved, own_neutral=True), r"^normalize\.own_neutral: the normalizer norface does not take it; ")


def test_weights_that_may_change_under_their_name_are_refused():
    refused(
        lambda: norface("hf://owner/tiny@main"), r"^normalize\.weights: hf://owner/tiny@main may mean other weights tomorrow"
    )


@pytest.mark.parametrize("missing", [["torch"], ["diffusers"], ["torch", "diffusers", "safetensors"]], ids=",".join)
def test_missing_packages_are_named(saved, monkeypatch, missing):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in missing else name)
    line = rf"^normalize\.normalizer: norface needs {' and '.join(missing)}: pip install 'normpipe\[norface\]'$"
    refused(lambda: norface(saved), line, ModelUnavailableError)


def test_weights_that_fit_no_longer_are_refused_when_they_are_loaded(copied):
    normalizer = norface(copied)
    tiny(dim=8).merger.save_pretrained(copied / "merger")
    refused(lambda: normalizer.prepare("cpu"), r"^weights copy: encoder, merger and decoder are of different networks")


def test_an_identity_photo_without_a_face_is_refused(saved, tmp_path):
    PillowImage.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    refused(lambda: prepared(saved, identity=str(tmp_path / "wall.png")), r"^--identity wall\.png: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_is_refused(saved):
    refused(lambda: norface(saved).prepare("cuda"), r"^torch sees no CUDA device; choose --device cpu$", ModelUnavailableError)


def test_a_batch_that_does_not_fit_the_memory_is_refused(saved, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 MiB")

    monkeypatch.setattr(NorfacePipeline, "_drawing", full)
    refused(
        lambda: prepared(saved, batch=7),
        r"^normalize\.batch: 7 faces of 64 pixels do not fit the GPU's free memory; give fewer",
    )


@pytest.mark.parametrize("batch", [0, 1025, True, 1.5])
def test_a_batch_is_a_number_within_limits(batch):
    with pytest.raises(ValueError, match="batch"):
        Pipeline(normalize=Normalize(batch=batch))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_picture_again_whatever_the_neighbours(saved):
    normalizer = norface(saved, device="cuda")
    normalizer.prepare("cuda")
    together = normalizer.normalize(FACES)
    for face, picture in zip(FACES[::-1], together[::-1], strict=True):
        np.testing.assert_array_equal(normalizer.normalize([face])[0], picture)


def test_every_refusal_is_an_error_with_an_exit_code():
    assert issubclass(ModelUnavailableError, NormpipeError)
    assert ModelUnavailableError.exit_code == 2
