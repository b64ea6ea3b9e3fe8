"""The SCRFD adapter on a stand-in network with SCRFD's nine outputs, and on a real pack where there is one."""

import numpy as np
import pytest

from normpipe.assets.store import store_folder
from normpipe.config import Detect
from normpipe.errors import ModelUnavailableError
from normpipe.faces.build import build_detector
from tests.fixtures import photos

onnx = pytest.importorskip("onnx", reason="builds a stand-in network with onnx")
pytest.importorskip("insightface", reason="the insightface extra is not installed")

SIDE, STRIDES, ANCHORS = 64, (8, 16, 32), 2
# In input pixels: what the only anchor answers, and its cell.
STRIDE, ROW, COLUMN = 16, 2, 1
BOX = np.array([8, 20, 40, 52], np.float32)
POINTS = np.array([[16, 28], [32, 28], [24, 36], [18, 44], [30, 44]], np.float32)


def _write_stand_in(path):
    """A network that sees one face at a known place in any bright picture."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["steep"]),
        helper.make_node("Sigmoid", ["steep"], ["bright"]),
    ]
    constants = [numpy_helper.from_array(np.array(10, np.float32), "ten")]
    outputs = []
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in STRIDES:
            values = np.zeros((SIDE // stride * (SIDE // stride) * ANCHORS, width), np.float32)
            if stride == STRIDE:
                centre = np.array([COLUMN, ROW]) * stride
                index = (ROW * (SIDE // stride) + COLUMN) * ANCHORS
                answer = {
                    "score": [0.9],
                    "box": np.concatenate([centre - BOX[:2], BOX[2:] - centre]) / stride,
                    "points": (POINTS - centre).reshape(-1) / stride,
                }
                values[index] = answer[kind]
            name = f"{kind}_{stride}"
            constants.append(numpy_helper.from_array(values, f"{name}_constant"))
            scale = "bright" if kind == "score" else "one"
            nodes.append(helper.make_node("Mul", [f"{name}_constant", scale], [name]))
            outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, values.shape))
    constants.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    picture = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "stand-in", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


@pytest.fixture
def store(tmp_path):
    _write_stand_in(tmp_path / "buffalo_l" / "det_10g.onnx")
    return tmp_path


def test_known_face_at_its_place(store):
    detector = build_detector(Detect(detector="insightface"), "cpu", store)
    # Twice the input's side, so answers are doubled.
    (found,) = detector.detect(np.full((128, 128, 3), 250, np.uint8))
    np.testing.assert_allclose(found.box, 2 * BOX, atol=1e-3)
    np.testing.assert_allclose(found.eyes, 2 * POINTS[:2], atol=1e-3)
    assert found.score == pytest.approx(0.9, abs=1e-3)


def test_no_face_and_the_score_threshold(store):
    options = Detect(detector="insightface")
    assert build_detector(options, "cpu", store).detect(np.zeros((128, 128, 3), np.uint8)) == []
    strict = options.model_copy(update={"min_score": 0.95})
    assert build_detector(strict, "cpu", store).detect(np.full((128, 128, 3), 250, np.uint8)) == []


def test_fingerprint_names_the_weights(store, tmp_path):
    detector = build_detector(Detect(detector="insightface"), "cpu", store)
    assert detector.fingerprint.startswith("insightface/1/0.5/")
    assert detector.fingerprint == build_detector(Detect(detector="insightface"), "cpu", store).fingerprint


def test_an_absent_pack_is_refused_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection may be made"))
    with pytest.raises(ModelUnavailableError, match="no detector in folder buffalo_l"):
        build_detector(Detect(detector="insightface"), "cpu", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a network"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "buffalo_l").mkdir()
    (tmp_path / "buffalo_l" / "det_10g.onnx").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=r"det_10g.onnx is not a readable ONNX file") as caught:
        build_detector(Detect(detector="insightface"), "cpu", tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_real_pack_finds_the_group():
    if not list((store_folder() / "buffalo_l").glob("det_*.onnx")):
        pytest.skip("needs the pack buffalo_l in the model store")
    assert len(build_detector(Detect(detector="insightface"), "cpu").detect(photos.group())) == 6
