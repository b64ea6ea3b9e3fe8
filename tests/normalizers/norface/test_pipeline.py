"""Faces in, pictures out; what was saved is what is loaded, and nothing else is."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fixtures.faces import aligned_face
from fixtures.portraits import SURPRISE, Expression, aligned, landmarks, portrait

from normpipe.batches import OwnNeutral
from normpipe.errors import UsageError
from normpipe.faces.geometry import mean_shape
from normpipe.normalizers.mean_face.interior import draw_interior
from normpipe.normalizers.norface.weights import CONFIG_FILE, WEIGHTS_FILE

from .tiny import FREE, faces, layout, tiny, torch

from normpipe.normalizers.norface.common_face import neutral_common_face  # isort: skip
from normpipe.normalizers.norface.layout import FaceLayout, measured_numbers  # isort: skip
from normpipe.normalizers.norface.merging import ExpressionMerger  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip
from safetensors.torch import load_file, save_file  # isort: skip

BACKGROUND = (61, 61, 61)
OPEN = Expression(jaw=0.35, lids=0.1)


def equal(first, second):
    return len(first) == len(second) and all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def still():
    """A network that draws next to nothing but the common face, with its landmarks where they are without expression."""
    return tiny(trained=False, by_landmarks=0.0, by_rig=0.0)


def levels(common_face, size):
    """The common face before grey, as a picture."""
    return ((common_face.picture(size)[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)


def laid_in(points, face, common, model):
    """The picture of a common face with the eyes and the mouth of a source, and where they are."""
    picture = common.copy()
    mask = draw_interior(picture, points * np.float32(len(common)), face, common, model)
    return picture, mask


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int))


def test_what_is_saved_and_loaded_draws_the_same(saved):
    loaded = NorfacePipeline.from_pretrained(saved)
    pictures = tiny()(faces(3), 0.5, 64)
    assert equal(loaded(faces(3), 0.5, 64), pictures)
    assert not equal(pictures[:1], pictures[1:2])


def test_saving_again_writes_the_same_bytes(saved, tmp_path):
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.speed_up(half=False)
    pipeline(faces(1), 0.5, 64)
    pipeline.save_pretrained(tmp_path / "again")
    files = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file())
    assert all((saved / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_the_first_drawing_is_the_common_face_with_somebodys_eyes_and_mouth(model):
    pipeline = still()
    common = levels(pipeline.common_face, 64)
    for picture, face in zip(pipeline(faces(2), 1.0, 64, BACKGROUND), faces(2), strict=True):
        expected, interior = laid_in(pipeline.layout.neutral(), face, common, model)
        assert 0.01 < interior.mean() < 0.1
        assert difference(picture, expected)[~interior].max() <= 4  # as much as the cover that is hardly there at first
        assert difference(picture, expected)[interior].mean() <= 4


def test_eyes_and_mouth_are_the_sources_own(model):
    """Who differs in the mouth alone differs there, and is else drawn nearly alike."""
    pipeline = still()
    plain = portrait(model, landmarks(OPEN))
    _, interior = laid_in(pipeline.layout.neutral(), plain, levels(pipeline.common_face, 256), model)
    seen = []
    for level in (240, 20):
        image = plain.image.copy()
        mouth = plain.landmarks[[78, 82, 312, 308, 317, 87], :2]
        cv2.fillConvexPoly(image, cv2.convexHull(mouth.round().astype(np.int32)), (level, level, level))
        seen += pipeline([replace(plain, image=image)], 1.0, 256)
    changed = difference(*seen).max(axis=2)
    assert changed[~interior].max() <= 4
    x, y = (pipeline.layout.neutral()[[13, 14]].mean(axis=0) * 256).astype(int)
    assert interior[y, x]
    assert seen[0][y, x].mean() > seen[1][y, x].mean() + 80


def test_eyes_and_mouth_lie_where_the_layout_says_what_passed_has_them(model):
    pipeline = tiny(trained=False, by_landmarks=1.0)
    torch.nn.init.zeros_(pipeline.merger.read.weight)
    torch.nn.init.zeros_(pipeline.merger.read.bias)  # nothing is read, so that what passes is what is measured
    face, openings = portrait(model, landmarks(OPEN)), []
    expected = pipeline.merger.expected.bias.numpy()
    for strength, own in ((0.0, expected), (1.0, pipeline.layout.measured(face))):
        points = pipeline.layout.points(np.concatenate([np.zeros(FREE, np.float32), own]))
        wanted, interior = laid_in(points, face, levels(pipeline.common_face, 256), model)
        (picture,) = pipeline([face], strength, 256)
        assert difference(picture, wanted)[~interior].max() <= 4
        assert difference(picture, wanted)[interior].mean() <= 4
        openings.append(points[14, 1] - points[13, 1])
    assert openings[1] > 2 * openings[0]


@pytest.mark.parametrize("change", ["landmarks", "neutral"])
def test_what_is_measured_reaches_the_drawing(model, change):
    """The same crop with other landmarks is another face, and so it is when the subject's own neutral face is known."""
    pipeline, face = tiny(by_landmarks=0.0, by_rig=0.0), faces(1)[0]
    surprised = mean_shape().points.copy()
    surprised[:, :2] += SURPRISE.offsets()
    changes = {"landmarks": landmarks(SURPRISE, size=64), "neutral": OwnNeutral(surprised, 1.0)}
    _, interior = laid_in(pipeline.layout.neutral(), face, levels(pipeline.common_face, 64), model)
    one, two = (pipeline([each], 1.0, 64)[0] for each in (face, replace(face, **{change: changes[change]})))
    assert difference(one, two)[~interior].max() > 4
    assert equal(pipeline([face], 1.0, 64), [one])


@pytest.mark.parametrize("size", [64, 100, 256])
def test_a_picture_has_the_size_that_is_asked_for(saved, size):
    (picture,) = NorfacePipeline.from_pretrained(saved)(faces(1), 0.5, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("side", [32, 64, 200])
def test_crops_of_any_size_are_taken(model, side):
    """A face is drawn much alike, eyes and mouth in their place, from a crop that is smaller or larger than the picture."""
    pipeline = still()
    face = portrait(model, landmarks(OPEN))
    factor = np.float32(side / 256)
    image = cv2.resize(face.image, (side, side), interpolation=cv2.INTER_AREA)
    (whole,), (picture,) = (pipeline([one], 1.0, 128) for one in (face, aligned(image, face.landmarks * factor)))
    assert picture.shape == (128, 128, 3)
    _, interior = laid_in(pipeline.layout.neutral(), aligned_face(size=128), levels(pipeline.common_face, 128), model)
    assert difference(picture, whole)[~interior].max() <= 4
    assert difference(picture, whole)[interior].mean() < 16


def test_of_no_faces_there_are_no_pictures():
    assert tiny()([], 0.5, 64) == []
    assert tiny()([], 0.5, 64, batch=3) == []


def test_blanks_that_fill_up_a_batch_change_no_picture():
    pipeline = tiny()
    full = pipeline(faces(5), 0.5, 64)
    for count in (1, 2, 5):
        assert equal(pipeline(faces(count), 0.5, 64, batch=5), full[:count])
    assert not equal(full[:1], full[1:2])


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((32, 31, 3), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
    ],
    ids=["oblong", "grey", "rgba", "float"],
)
def test_other_crops_are_refused_in_one_line(crop):
    with pytest.raises(UsageError, match=r"^crop 1: .*; give \(n, n, 3\) uint8 RGB$"):
        tiny()([*faces(1), replace(*faces(1), image=crop)])


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (1, 120, 254)])
def test_the_background_is_exactly_what_is_asked_for(background):
    (picture,) = tiny(trained=False)(faces(1), 0.5, 64, background)
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == background).all()
    (face, _) = tiny(trained=False)(faces(2), 0.5, 64, BACKGROUND)
    assert (picture[32, 32] == face[32, 32]).all()


def test_another_common_face_changes_the_picture_and_not_the_drawing(model):
    pipeline = still()
    inverted = neutral_common_face(64)
    inverted.colour.copy_(255 - inverted.colour)
    (picture,) = pipeline(faces(1), 0.0, 64, BACKGROUND, inverted)
    expected, interior = laid_in(pipeline.layout.neutral(), *faces(1), levels(inverted, 64), model)
    assert difference(picture, expected)[~interior].max() <= 4
    assert difference(picture, expected)[interior].mean() <= 4


UNFIT = r"^weights copy: layout does not fit this version's mean_face or the common face; get it again$"


def refused(folder, pattern):
    """The refusal of a folder, one line without its place."""
    with pytest.raises(UsageError, match=pattern) as error:
        NorfacePipeline.from_pretrained(folder)
    assert "\n" not in str(error.value)
    assert str(folder.parent) not in str(error.value)


def rewrite(path, **changes):
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def test_an_option_of_another_version_is_refused(copied):
    rewrite(copied / "merger" / CONFIG_FILE, temperature=3)
    refused(
        copied, r"^weights copy: merger: temperature is no option of ExpressionMerger; get the weights made for this version"
    )


def test_a_missing_option_is_refused(copied):
    rewrite(copied / "encoder" / CONFIG_FILE, heads=None)
    refused(copied, r"^weights copy: encoder: heads is missing; get the weights made for this version")


@pytest.mark.parametrize("changes", [{"heads": 0}, {"widths": [5, 3]}, {"dim": 10**15}, {"depth": 1.5}], ids=str)
def test_options_that_make_no_network_are_refused(copied, changes):
    rewrite(copied / "encoder" / CONFIG_FILE, **changes)
    refused(copied, r"^weights copy: encoder: ")


def test_tensors_of_another_architecture_are_refused(copied):
    rewrite(copied / "decoder" / CONFIG_FILE, widths=[16, 16, 8])
    refused(copied, r"^weights copy: decoder: the tensor [\w.]+ (is|has) .*: weights and options are of different networks")


def test_parts_of_different_networks_are_refused(copied, tmp_path):
    tiny(dim=8).merger.save_pretrained(copied / "merger")
    refused(copied, r"^weights copy: encoder, merger and decoder are of different networks; save them together$")


@pytest.mark.parametrize("numbers", [(FREE + 1, measured_numbers()), (FREE, measured_numbers() - 1)], ids=["free", "own"])
def test_a_merger_and_a_layout_that_count_otherwise_are_refused(copied, numbers):
    free, own = numbers
    ExpressionMerger(dim=16, depth=1, heads=2, answers=4, answer_dim=4, free=free, own=own).save_pretrained(copied / "merger")
    refused(copied, r"^weights copy: merger and layout are of different networks; save them together$")
    FaceLayout(free, own).save_pretrained(copied / "layout")
    if own == measured_numbers():
        assert NorfacePipeline.from_pretrained(copied).layout.config["free"] == free
    else:
        refused(copied, UNFIT)


@pytest.mark.parametrize("spread", [0.0, -1.0])
def test_a_spread_that_nothing_can_be_measured_in_is_refused(copied, spread):
    file = copied / "layout" / WEIGHTS_FILE
    state = load_file(file)
    state["spread"][3] = spread
    save_file(state, file)
    refused(copied, r"^weights copy: layout: a spread is not above 0; get it again$")


def test_a_layout_for_another_margin_than_the_common_faces_is_refused(copied):
    layout(margin=0.2).save_pretrained(copied / "layout")
    refused(copied, UNFIT)


@pytest.mark.parametrize("changes", [{"by_rig": [1, 2, 3]}, {"by_landmarks": [1]}, {"free": 10**15}, {"own": 0.5}], ids=str)
def test_options_that_make_no_layout_are_refused(copied, changes):
    rewrite(copied / "layout" / CONFIG_FILE, **changes)
    refused(copied, r"^weights copy: layout: ")


def test_a_layout_of_another_shape_is_refused(copied):
    file = copied / "layout" / WEIGHTS_FILE
    save_file({**load_file(file), "spread": torch.ones(3)}, file)
    refused(copied, r"^weights copy: layout: the tensor spread is \(3,\) of torch.float32, not \(69,\) of torch.float32: ")


def test_a_lost_and_a_foreign_tensor_are_refused(copied):
    file = copied / "merger" / WEIGHTS_FILE
    state = load_file(file)
    save_file({key: value for key, value in state.items() if key != "questions"}, file)
    refused(copied, r"^weights copy: merger: the tensor questions is missing: ")
    save_file({**state, "more": torch.zeros(1)}, file)
    refused(copied, r"^weights copy: merger: the tensor more is unknown: ")


def test_weights_that_are_no_numbers_are_refused(copied):
    file = copied / "decoder" / WEIGHTS_FILE
    state = load_file(file)
    state["leave.bias"][0] = float("nan")
    save_file(state, file)
    refused(copied, r"^weights copy: decoder: the tensor leave.bias holds what is no number; get it again$")


def test_half_precision_files_are_read_as_float32(copied):
    file = copied / "encoder" / WEIGHTS_FILE
    save_file({key: value.half() for key, value in load_file(file).items()}, file)
    pipeline = NorfacePipeline.from_pretrained(copied)
    assert {parameter.dtype for parameter in pipeline.encoder.parameters()} == {torch.float32}


def test_a_folder_is_loaded_and_used_without_a_connection(saved):
    code = (
        "import pickle, socket, sys\n"
        "def refuse(*_): sys.exit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from normpipe.normalizers.norface.pipeline import NorfacePipeline\n"
        "NorfacePipeline.from_pretrained(sys.argv[1])(pickle.load(sys.stdin.buffer), 0.5, 64)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(saved)], input=pickle.dumps(faces(1)), check=True)


@pytest.mark.slow
def test_compiled_and_in_half_precision_it_draws_nearly_the_same():
    """The way of a GPU, on the CPU: the compiler needs one that it can call."""
    pipeline = tiny(trained=False)
    exact = pipeline(faces(4), 0.5, 64)
    pipeline.speed_up(half=True)
    fast = pipeline(faces(4), 0.5, 64)
    assert equal(fast, pipeline(faces(4), 0.5, 64))
    changed = difference(np.stack(exact), np.stack(fast)).max(axis=-1)
    assert (changed > 2).mean() < 1e-3, "but for pixels at the rims of eyes and mouths, which move by rounding"


@pytest.mark.gpu
def test_a_gpu_draws_nearly_the_same(saved):
    exact = NorfacePipeline.from_pretrained(saved)(faces(4), 0.5, 64)
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.to("cuda")
    assert np.abs(np.stack(exact).astype(int) - pipeline(faces(4), 0.5, 64)).mean() < 0.1
    pipeline.speed_up(half=True)
    fast = pipeline(faces(4), 0.5, 64)
    assert equal(fast, pipeline(faces(4), 0.5, 64))
    assert np.abs(np.stack(exact).astype(int) - fast).mean() < 3
