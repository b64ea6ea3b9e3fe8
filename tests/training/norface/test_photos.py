"""Photos: what mean_face makes of several looks at each, and no word of the rig."""

from itertools import chain

import numpy as np
import pytest

from normpipe.normalizers.mean_face.expression import read_face
from normpipe.normalizers.mean_face.model import load_model
from normpipe.training.norface.examples import Kind, shrunk
from normpipe.training.norface.photos import PhotoMaker


@pytest.fixture(scope="module")
def maker():
    return PhotoMaker.prepared(0, 128)


@pytest.fixture(scope="module")
def photos(maker, portraits):
    return list(maker.examples(portraits, 0, 6))


def test_a_photo_is_an_example_whose_expression_is_only_read(photos, portraits):
    for photo, source in zip(photos, portraits.faces(0, 6), strict=True):
        assert photo.kind is Kind.PHOTO
        assert photo.example_id == f"photo-{portraits.digest[:8]}-{source.name}"
        assert photo.person == source.person
        assert np.isnan(photo.expression).all()
        np.testing.assert_array_equal(photo.image, shrunk(source.face.image, 128))
        assert np.abs(photo.landmarks * 256 - source.face.landmarks)[:, :2].mean() < 3


def test_several_looks_read_much_the_same_as_the_one_of_the_run(photos, portraits):
    model = load_model()
    single = np.stack([read_face(source.face, model).shape for source in portraits.faces(0, 6)])
    steady = np.stack([photo.shape for photo in photos])
    assert np.corrcoef(single.ravel(), steady.ravel())[0, 1] > 0.8
    assert (single != steady).any()


def test_photos_may_be_made_in_any_pieces(maker, portraits, photos):
    pieces = chain(maker.examples(portraits, 0, 2), maker.examples(portraits, 2, 6))
    for one, other in zip(pieces, photos, strict=True):
        assert one.example_id == other.example_id
        np.testing.assert_array_equal(one.shape, other.shape)
        np.testing.assert_array_equal(one.detail, other.detail)
