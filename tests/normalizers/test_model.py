"""The file of arrays: what is saved is read, and equal arrays are equal bytes."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
from fixtures.portraits import mirror_index

from normpipe.normalizers.mean_face.detail import ATLAS_SIDE
from normpipe.normalizers.mean_face.model import MODEL_FILE, MeanFaceModel, load_model, model_sha256, save_model


def arrays(model: MeanFaceModel) -> dict[str, np.ndarray]:
    return {field.name: getattr(model, field.name) for field in fields(model)}


def test_the_arrays_that_ship_have_the_shapes_they_promise(model):
    rank, detail_rank, pixels = model.shape_in.shape[1], model.detail_out.shape[0], int(model.detail_mask.sum())
    side = model.texture.shape[0]
    shapes = {
        "neutral": (468, 2),
        "atlas_points": (468, 2),
        "texture": (side, side, 3),
        "skin_triangles": (852, 3),
        "eye_triangles": (28, 3),
        "mouth_triangles": (18, 3),
        "pose_effect": (6, 936),
        "shape_offset": (936,),
        "shape_in": (936, rank),
        "shape_out": (rank, 936),
        "offset_limit": (1,),
        "detail_mask": (ATLAS_SIDE, ATLAS_SIDE),
        "detail_offset": (pixels,),
        "detail_from_shape": (936, detail_rank),
        "detail_from_detail": (pixels, detail_rank),
        "detail_out": (detail_rank, pixels),
    }
    assert {name: arrays(model)[name].shape for name in shapes} == shapes
    for name, array in arrays(model).items():
        assert array.dtype in (np.float32, np.int32, np.uint8, bool), name
        assert np.isfinite(array).all(), name
        assert array.flags["C_CONTIGUOUS"], name
    assert set(shapes) == set(arrays(model))
    assert 0.02 < model.offset_limit[0] < 0.5, "about what a strong expression moves landmarks, eye distances"


def test_the_atlas_lies_in_the_unit_square(model):
    assert model.atlas_points.min() >= 0
    assert model.atlas_points.max() <= 1


def test_both_sides_of_the_face_are_treated_alike(model):
    mirror = mirror_index()
    np.testing.assert_allclose(model.neutral[mirror] * [-1, 1], model.neutral, atol=1e-3)
    np.testing.assert_allclose(model.atlas_points[mirror] * [-1, 1] + [1, 0], model.atlas_points, atol=1e-3)
    np.testing.assert_array_equal(model.detail_mask, model.detail_mask[:, ::-1])
    order = np.arange(936).reshape(468, 2)[mirror].ravel()
    signs = np.tile([-1, 1], 468)
    operator = model.shape_in @ model.shape_out
    reflected = operator[order][:, order] * np.outer(signs, signs)
    assert np.abs(operator - reflected).max() < 0.01 * np.abs(operator).max()


def test_what_is_saved_is_read(model, tmp_path):
    save_model(model, tmp_path / "model.npz")
    again = arrays(load_model(tmp_path / "model.npz"))
    for name, array in arrays(model).items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype


def test_shapes_keep_a_thousandth_of_a_face_unit(model, tmp_path):
    shifted = replace(model, neutral=model.neutral + np.float32(0.1234567))
    save_model(shifted, tmp_path / "model.npz")
    np.testing.assert_allclose(load_model(tmp_path / "model.npz").neutral, shifted.neutral, atol=1e-3)


def test_equal_arrays_give_equal_bytes(model, tmp_path):
    for name in ("first", "second"):
        save_model(model, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    save_model(replace(model, texture=255 - model.texture), tmp_path / "other")
    assert model_sha256(tmp_path / "other") != model_sha256(tmp_path / "first")


def test_the_digest_is_that_of_the_file():
    assert model_sha256() == hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()


def test_a_file_that_lacks_an_array_is_not_a_model(tmp_path):
    np.savez(tmp_path / "other.npz", neutral=np.zeros((468, 2)))
    with pytest.raises(KeyError):
        load_model(tmp_path / "other.npz")
