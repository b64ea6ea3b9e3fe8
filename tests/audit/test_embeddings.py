import numpy as np
import pytest
from fixtures.audited import write_embedding

from normpipe.audit.embeddings import Embedding, embedding_files
from normpipe.errors import UsageError

pytest.importorskip("onnx")

POINTS = np.array([[100, 110], [150, 110], [125, 140], [105, 165], [145, 165]], np.float32)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels_first", [False, True])
def test_vectors_are_units_and_follow_the_picture(tmp_path, channels_first):
    embedding = Embedding(write_embedding(tmp_path / "e.onnx", channels_first=channels_first))
    one, two = (embedding.embed(picture(seed), POINTS) for seed in (0, 1))
    assert one.shape == (embedding.size,) == (192,)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert np.abs(one - two).max() > 1e-3
    assert np.array_equal(one, embedding.embed(picture(0), POINTS))


def test_the_face_is_turned_upright_before(tmp_path):
    embedding = Embedding(write_embedding(tmp_path / "e.onnx"))
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128] = 200
    turned, points = np.ascontiguousarray(np.rot90(image)), POINTS[:, ::-1] * [1, -1] + [0, 256]
    assert embedding.embed(image, POINTS) @ embedding.embed(turned, points.astype(np.float32)) > 0.999


def test_other_sides_are_taken(tmp_path):
    assert Embedding(write_embedding(tmp_path / "e.onnx", side=224, channels_first=True)).size == 192 * 1


def test_points_that_coincide_still_give_a_vector(tmp_path):
    embedding = Embedding(write_embedding(tmp_path / "e.onnx"))
    assert np.isfinite(embedding.embed(picture(), np.zeros((5, 2), np.float32))).all()


def test_what_is_no_embedding_is_said_in_one_line(tmp_path):
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"no network at all")
    with pytest.raises(UsageError, match=r"^--identity noise.onnx: not a readable ONNX file$"):
        Embedding(noise)
    with pytest.raises(UsageError, match=r"--identity many.onnx: not a face embedding"):
        Embedding(write_embedding(tmp_path / "many.onnx", outputs=2))


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf")])
def test_an_embedding_that_sees_nothing_is_refused(tmp_path, factor):
    with pytest.raises(UsageError, match=r"--identity blind.onnx: not a face embedding; two pictures"):
        Embedding(write_embedding(tmp_path / "blind.onnx", factor=factor))


@pytest.mark.parametrize("channels_first", [False, True])
def test_an_input_that_is_no_square_is_refused(tmp_path, channels_first):
    with pytest.raises(UsageError, match="it must take one square RGB picture"):
        Embedding(write_embedding(tmp_path / "tall.onnx", height=224, channels_first=channels_first))


def test_the_names_of_other_features_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"HOG.onnx: HOG is another feature's name"):
        embedding_files((write_embedding(tmp_path / "HOG.onnx"),))


def test_files_come_by_name_and_each_content_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NORMPIPE_MODELS", str(tmp_path / "store"))
    b, a = write_embedding(tmp_path / "b.onnx"), write_embedding(tmp_path / "a.onnx", channels_first=True)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(b.read_bytes())
    assert [each.name for each in embedding_files((b, a, copy))] == ["a", "b"]
    (tmp_path / "other").mkdir()
    other = write_embedding(tmp_path / "other" / "a.onnx")
    with pytest.raises(UsageError, match="two different files have this name"):
        embedding_files((a, other))


def test_arcface_of_the_store_is_used_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("NORMPIPE_MODELS", str(tmp_path))
    (tmp_path / "buffalo_l").mkdir()
    write_embedding(tmp_path / "buffalo_l" / "w600k_r50.onnx", channels_first=True)
    assert [each.name for each in embedding_files(())] == ["w600k_r50"]
