"""A face's picture depends on the face and the options alone, and what cannot be done is said in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.faces import aligned_face
from fixtures.photos import astronaut
from fixtures.portraits import SMILE, SURPRISE, landmarks, portrait, turned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from normpipe.batches import OwnNeutral
from normpipe.config import Detect, Normalize, Pipeline
from normpipe.errors import ModelUnavailableError, NormpipeError, UsageError
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import mean_shape
from normpipe.faces.looks import seen_twice
from normpipe.normalizers.mean_face import MeanFace
from normpipe.normalizers.mean_face.model import load_model, model_sha256
from normpipe.normalizers.norface import normalizer as module
from normpipe.records import Failure, Reason

from .tiny import FREE, norface, prepared, tiny, torch

from normpipe.normalizers.norface.layout import FaceLayout  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip

SIZE = 64
SMILING = portrait(load_model(), turned(landmarks(SMILE, size=SIZE), yaw=8.0), SIZE)
FACES = [*(aligned_face(seed, SIZE) for seed in range(5)), SMILING]


@pytest.fixture(scope="module")
def renderer(saved):
    return prepared(saved)


@pytest.fixture(scope="module", params=[(1, "network"), (3, "mesh"), (4, "network"), (16, "mesh"), (16, "network")])
def alone(saved, request):
    """A normalizer of some batch size and decoder, and what it makes of each face alone."""
    batch, decoder = request.param
    normalizer = prepared(saved, batch=batch, decoder=decoder)
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


def test_where_all_that_is_measured_passes_and_nothing_else_is_drawn_the_mesh_draws_what_mean_face_draws(copied):
    FaceLayout(FREE, by_landmarks=1.0, by_rig=0.0, by_detail=1.0).save_pretrained(copied / "layout")
    (drawn,) = prepared(copied, detail=1.0).normalize([SMILING])
    common = MeanFace(Pipeline(size=SIZE, normalize=Normalize(detail=1.0)))
    common.prepare("cpu")
    expected = common.render(seen_twice(SMILING, build_landmarker(Detect(), "cpu")))
    assert np.abs(drawn.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [64, 200])
def test_a_picture_has_the_size_of_the_pipeline(saved, size):
    (picture,) = prepared(saved, size).normalize([aligned_face(0, size)])
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


def test_options_reach_the_network(saved, renderer, tmp_path):
    PillowImage.fromarray(astronaut()).save(tmp_path / "photo.png")
    plain = renderer.normalize(FACES[:1])[0]
    for options in (
        {"detail": 0.0},
        {"decoder": "network"},
        {"background": (0, 255, 0)},
        {"identity": str(tmp_path / "photo.png")},
    ):
        assert not np.array_equal(prepared(saved, **options).normalize(FACES[:1])[0], plain)


def test_a_face_is_looked_at_twice(saved):
    landmarker = build_landmarker(Detect(), "cpu")
    network = NorfacePipeline.from_pretrained(saved)
    network.speed_up(half=False)
    once, twice = (network([face], 0.5, SIZE, batch=4)[0] for face in (SMILING, seen_twice(SMILING, landmarker)))
    (picture,) = prepared(saved, decoder="network").normalize([SMILING])
    np.testing.assert_array_equal(picture, twice)
    assert not np.array_equal(picture, once)


def test_a_subjects_own_neutral_face_is_drawn_from_as_far_as_it_is_known(saved):
    """The smile of somebody who looks surprised at rest is another one than that of somebody who is not known."""
    surprised = mean_shape().points.copy()
    surprised[:, :2] += SURPRISE.offsets()
    known, unknown = (replace(SMILING, neutral=OwnNeutral(surprised, weight)) for weight in (1.0, 0.0))
    plain, own, nobodys = prepared(saved, own_neutral=True, detail=1.0).normalize([SMILING, known, unknown])
    assert not np.array_equal(own, plain)
    np.testing.assert_array_equal(nobodys, plain)


def not_finite(value):
    points = FACES[1].landmarks.copy()
    points[17, 1] = value
    return points


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "points",
    [
        *(not_finite(value) for value in (np.nan, np.inf, -np.inf)),
        np.zeros((468, 3)),
        FACES[1].landmarks * 0.02,
        FACES[1].landmarks + np.array([0, 11 * SIZE, 0]),
        FACES[1].landmarks * 1e30,
    ],
    ids=["nan", "inf", "-inf", "zeros", "tiny", "far below", "huge"],
)
def test_landmarks_that_cannot_be_measured_are_a_failure(renderer, points):
    rendered = renderer.normalize([FACES[0], replace(FACES[1], landmarks=points.astype(np.float32)), FACES[2]])
    assert rendered[1] == Failure(Reason.NOT_RENDERED, "landmarks are not finite, far outside the crop or without extent")
    for picture, expected in zip(rendered[::2], renderer.normalize(FACES[:3:2]), strict=True):
        np.testing.assert_array_equal(picture, expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "points",
    [
        np.linspace([0, 0, 0], [SIZE, SIZE, 0], 468),
        np.random.default_rng(0).normal(SIZE / 2, 2 * SIZE, (468, 3)),
        FACES[1].landmarks * [1, 1, 0],
        FACES[1].landmarks + np.array([3 * SIZE, 0, 0]),
        -FACES[1].landmarks,
    ],
    ids=["a line", "a cloud", "flat", "beside the crop", "inside out"],
)
def test_absurd_landmarks_of_a_crops_size_are_drawn_without_a_warning(renderer, points):
    (picture,) = renderer.normalize([replace(SMILING, landmarks=points.astype(np.float32))])
    assert picture.shape == (SIZE, SIZE, 3)


def test_the_fingerprint_names_what_measures(saved):
    parts = json.loads(norface(saved).fingerprint)
    assert parts["landmarker"] == build_landmarker(Detect(), "cpu").fingerprint
    assert parts["model_sha256"] == model_sha256()


def test_the_fingerprint_names_every_option_that_changes_the_picture(saved, tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"1")
    (tmp_path / "two.jpg").write_bytes(b"2")
    tiny(trained=False).save_pretrained(tmp_path / "other")
    fingerprints = [
        norface(saved).fingerprint,
        norface(tmp_path / "other").fingerprint,
        norface(saved, size=128).fingerprint,
        norface(saved, batch=5).fingerprint,
        norface(saved, decoder="network").fingerprint,
        norface(saved, detail=0.0).fingerprint,
        norface(saved, background=(0, 0, 0)).fingerprint,
        norface(saved, device="cuda").fingerprint,
        *(norface(saved, identity=str(tmp_path / name)).fingerprint for name in ("one.jpg", "two.jpg")),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    parts = json.loads(fingerprints[0])
    assert (parts["normalizer"], parts["dtype"], parts["compile"]) == ("norface", "float32", False)
    parts = json.loads(fingerprints[7])
    assert (parts["dtype"], parts["compile"]) == ("bfloat16", True)
    assert str(saved) not in fingerprints[0]


def refused(make, pattern, kind=UsageError):
    with pytest.raises(kind, match=pattern) as error:
        make()
    assert "\n" not in str(error.value)


def test_another_margin_is_refused(saved):
    refused(lambda: norface(saved, margin=0.2), r"^align\.margin: 0\.2: the weights tiny are made for 0\.1; give that one$")


def test_a_landmarker_it_is_not_fitted_to_is_refused(saved):
    told = r"^detect\.landmarker: mediapipe: the normalizer norface is fitted to the landmarks of `embedded`; give that one$"
    refused(lambda: norface(saved, landmarker="mediapipe"), told)


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

    monkeypatch.setattr(NorfacePipeline, "_passed", full)
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
