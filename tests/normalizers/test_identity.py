"""Whose face is drawn: colours and shape of a photo, its expression taken off."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.portraits import aligned, landmarks

from normpipe.config import Align, Detect, FacePolicy, Pipeline
from normpipe.errors import UsageError
from normpipe.faces.geometry import mean_shape
from normpipe.normalizers.mean_face.identity import common_identity, identity_from_photo, texture_of
from normpipe.stages.align import template_map

from .conftest import prepared


@pytest.fixture(scope="module")
def photo() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("needs the package scikit-image for its sample photo")
    return Path(found.origin).parent / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def identity(photo, model):
    return identity_from_photo(photo, Pipeline(), model)


def expression_in(shape, model):
    return np.linalg.norm((shape - model.neutral).reshape(1, -1) @ model.shape_in @ model.shape_out)


def test_the_common_identity_is_the_average(model):
    common = common_identity(model)
    assert common.shape is model.neutral
    assert common.texture is model.texture


def test_a_photo_gives_its_own_shape_and_colours(identity, model):
    assert identity.shape.shape == (468, 2)
    assert identity.texture.shape == model.texture.shape
    assert identity.texture.dtype == np.uint8
    own = np.abs(identity.shape - model.neutral)
    assert 0.02 < own.max() < 0.5, "another person, still a face"
    assert np.abs(identity.texture.astype(int) - model.texture).mean() > 5


def test_most_of_the_photos_smile_is_off_its_shape(photo, identity, model):
    from normpipe.batches import Frame, FrameRef
    from normpipe.faces.build import build_detector
    from normpipe.normalizers.mean_face.expression import measured_shape
    from normpipe.stages.detect import detect

    engine = build_detector(Detect(), "cpu")
    image = np.ascontiguousarray(cv2.imread(str(photo))[..., ::-1])
    face = detect([Frame(FrameRef("a", "a"), image, None)], engine, engine, Detect())[0].face
    shape, terms = measured_shape(face.landmarks[None])
    smiling = model.neutral + (shape - terms @ model.pose_effect - model.shape_offset).reshape(468, 2)
    assert expression_in(identity.shape, model) < 0.5 * expression_in(smiling, model)


def test_the_picture_wears_the_photos_face(photo, identity):
    own, common = prepared(identity=str(photo)), prepared()
    face = aligned(noise(0), landmarks())
    assert np.abs(own.render(face).astype(int) - common.render(face)).mean() > 3
    assert np.abs(own.neutral().astype(int) - common.neutral()).mean() > 3
    np.testing.assert_array_equal(own.render(face), prepared(identity=str(photo)).render(face))


def test_a_relative_path_will_do(photo, monkeypatch, tmp_path, model):
    (tmp_path / "me.png").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        identity_from_photo(Path("me.png"), Pipeline(), model).texture, identity_from_photo(photo, Pipeline(), model).texture
    )


def test_the_largest_face_counts_whatever_the_policy_of_the_dataset(photo, identity, model, tmp_path):
    image = cv2.imread(str(photo))
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[..., ::-1]  # bluish
    both = np.zeros((512, 768, 3), np.uint8)
    both[:, :512], both[:256, 512:] = image, small
    cv2.imwrite(str(tmp_path / "two.png"), both)
    pipeline = Pipeline(detect=Detect(policy=FacePolicy.ALL))
    found = identity_from_photo(tmp_path / "two.png", pipeline, model)
    third = identity.texture.shape[0] // 3
    skin = np.s_[third : 2 * third, third : 2 * third]
    assert np.abs(found.texture[skin].astype(int) - identity.texture[skin]).mean() < 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "vanished"),
        (b"", "empty_file"),
        (b"no picture at all", "unsupported"),
        (cv2.imencode(".png", np.full((90, 90, 3), 90, np.uint8))[1].tobytes(), "no_face"),
    ],
    ids=["missing", "empty", "no picture", "no face"],
)
def test_a_photo_that_will_not_do_is_one_line_without_its_folder(tmp_path, model, content, message):
    path = tmp_path / "me.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        identity_from_photo(path, Pipeline(), model)
    line = str(error.value)
    assert line.startswith(f"--identity me.png: {message}")
    assert line.endswith("give a photo of one clear face")
    assert "\n" not in line
    assert str(tmp_path) not in line


def test_the_texture_of_the_common_face_is_the_common_texture(model):
    """Drawn with its own texture and read back, the skin comes out as it went in."""
    renderer = prepared(size=512)
    scale, shift = template_map(512, Align().margin)
    points = np.column_stack([model.neutral * scale + shift, mean_shape().points[:, 2] * scale]).astype(np.float32)
    read = texture_of(aligned(renderer.neutral(), points), model)
    middle = np.s_[read.shape[0] // 4 : read.shape[0] // 2, read.shape[0] // 4 : 3 * read.shape[0] // 4]
    difference = np.abs(read[middle].astype(int) - model.texture[middle])
    assert difference.mean() < 3


def test_colours_are_read_at_the_landmarks(model):
    """A crop that is red on its left and blue on its right gives such an atlas, whatever lies outside the face."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, :128, 0] = image[:, 128:, 2] = 200
    texture = texture_of(aligned(image, landmarks()), model)
    side = texture.shape[0]
    assert (texture[side // 3, side // 3] == (200, 0, 0)).all()
    assert (texture[side // 3, 2 * side // 3] == (0, 0, 200)).all()
