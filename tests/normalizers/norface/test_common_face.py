"""The target: mean_face's own picture, without a background, kept as it is by files and conversions."""

import numpy as np
import pytest
from fixtures.photos import astronaut
from PIL import Image as PillowImage

from normpipe.config import Align, Normalize, Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.mean_face import MeanFace

from .tiny import torch

from normpipe.normalizers.norface.common_face import CommonFace, neutral_common_face  # isort: skip


def neutral(side, margin=0.1):
    renderer = MeanFace(Pipeline(size=side, align=Align(margin=margin), normalize=Normalize(background=(61, 61, 61))))
    renderer.prepare("cpu")
    return renderer.neutral().astype(int)


def levels(picture):
    return ((picture[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(int)


@pytest.mark.parametrize(("side", "margin"), [(64, 0.1), (256, 0.0)])
def test_before_grey_it_is_the_face_that_mean_face_draws(side, margin):
    difference = np.abs(levels(neutral_common_face(side, margin).picture(side)) - neutral(side, margin))
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 8  # the rim, whose colour is the face's alone here


def test_beside_the_face_there_is_nothing_but_its_colours_go_on():
    face = neutral_common_face(128)
    colour, alpha = face.layers(128)
    assert (alpha[..., 0, 0] == 0).all()
    assert (alpha[..., 64, 64] == 1).all()
    inside, outside = (colour[0].permute(1, 2, 0)[mask[0, 0]] for mask in (alpha >= 0.5, alpha < 0.5))
    assert {tuple(pixel) for pixel in outside.tolist()} <= {tuple(pixel) for pixel in inside.tolist()}


def test_half_precision_and_a_file_change_nothing(tmp_path):
    face = neutral_common_face(64)
    face.half().save_pretrained(tmp_path / "face")
    again = CommonFace.from_pretrained(tmp_path / "face", local_files_only=True)
    for buffer in ("colour", "alpha"):
        assert getattr(again, buffer).dtype == torch.uint8
        assert torch.equal(getattr(again, buffer), getattr(face, buffer))
    assert again.config["margin"] == 0.1
    torch.testing.assert_close(again.picture(32), face.picture(32), rtol=0, atol=0)


@pytest.mark.parametrize("side", [32, 64, 200])
def test_it_is_seen_at_any_size(side):
    picture = neutral_common_face(64).picture(side)
    assert picture.shape == (1, 3, side, side)
    assert picture.min() >= -1
    assert picture.max() <= 1


def test_a_photo_gives_its_texture_on_the_same_shape(tmp_path):
    PillowImage.fromarray(astronaut()).save(tmp_path / "photo.png")
    own, other = neutral_common_face(128), neutral_common_face(128, photo=tmp_path / "photo.png")
    assert torch.equal(own.alpha, other.alpha)
    assert (own.picture(128) - other.picture(128)).abs().mean() > 0.01


def test_a_photo_without_a_face_is_refused(tmp_path):
    PillowImage.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    with pytest.raises(UsageError, match=r"^--identity wall\.png: .*give a photo of one clear face$"):
        neutral_common_face(64, photo=tmp_path / "wall.png")
