"""Crops in, pictures out; what was saved is what is loaded, and nothing else is."""

import json
import subprocess
import sys

import numpy as np
import pytest

from normpipe.errors import UsageError
from normpipe.normalizers.norface.weights import CONFIG_FILE, WEIGHTS_FILE

from .tiny import crops, tiny, torch

from normpipe.normalizers.norface.common_face import neutral_common_face  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip
from safetensors.torch import load_file, save_file  # isort: skip

BACKGROUND = (61, 61, 61)


def equal(first, second):
    return len(first) == len(second) and all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_what_is_saved_and_loaded_draws_the_same(saved):
    loaded = NorfacePipeline.from_pretrained(saved)
    pictures = tiny()(crops(3), 0.5, 64)
    assert equal(loaded(crops(3), 0.5, 64), pictures)
    assert not equal(pictures[:1], pictures[1:2])


def test_saving_again_writes_the_same_bytes(saved, tmp_path):
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.speed_up(half=False)
    pipeline(crops(1), 0.5, 64)
    pipeline.save_pretrained(tmp_path / "again")
    files = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file())
    assert all((saved / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_the_first_drawing_is_the_common_face():
    pipeline = tiny(trained=False)
    for picture in pipeline(crops(2), 1.0, 64, BACKGROUND):
        face = ((pipeline.common_face.picture(64)[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
        assert np.abs(picture - face).max() <= 4  # as much as the cover that is hardly there at first


@pytest.mark.parametrize("size", [64, 100, 256])
def test_a_picture_has_the_size_that_is_asked_for(saved, size):
    (picture,) = NorfacePipeline.from_pretrained(saved)(crops(1), 0.5, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.flags["C_CONTIGUOUS"]


def test_crops_of_any_size_are_taken():
    pipeline = tiny()
    big = np.repeat(np.repeat(crops(1, 32)[0], 3, axis=0), 3, axis=1)  # shrinking by areas undoes this exactly
    assert equal(pipeline(crops(1, 32), 0.5, 64), pipeline([big], 0.5, 64))
    assert pipeline(crops(1, 20), 0.5, 64)[0].shape == (64, 64, 3)
    assert pipeline([], 0.5, 64) == []


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
        tiny()([*crops(1), crop])


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (1, 120, 254)])
def test_the_background_is_exactly_what_is_asked_for(background):
    (picture,) = tiny(trained=False)(crops(1), 0.5, 64, background)
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == background).all()
    (face, _) = tiny(trained=False)(crops(2), 0.5, 64, BACKGROUND)
    assert (picture[32, 32] == face[32, 32]).all()


def test_another_common_face_changes_the_picture_and_not_the_drawing():
    pipeline = tiny(trained=False)
    inverted = neutral_common_face(64)
    inverted.colour.copy_(255 - inverted.colour)
    (picture,) = pipeline(crops(1), 0.0, 64, BACKGROUND, inverted)
    expected = ((inverted.picture(64)[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
    assert np.abs(picture - expected).max() <= 4


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
        "import socket, sys, numpy as np\n"
        "def refuse(*_): sys.exit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from normpipe.normalizers.norface.pipeline import NorfacePipeline\n"
        "NorfacePipeline.from_pretrained(sys.argv[1])([np.zeros((32, 32, 3), np.uint8)], 0.5, 64)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(saved)], check=True)


@pytest.mark.slow
def test_compiled_and_in_half_precision_it_draws_nearly_the_same():
    """The way of a GPU, on the CPU: the compiler needs one that it can call."""
    pipeline = tiny(trained=False)
    exact = pipeline(crops(4), 0.5, 64)
    pipeline.speed_up(half=True)
    fast = pipeline(crops(4), 0.5, 64)
    assert equal(fast, pipeline(crops(4), 0.5, 64))
    assert max(np.abs(one.astype(int) - other).max() for one, other in zip(exact, fast, strict=True)) <= 2


@pytest.mark.gpu
def test_a_gpu_draws_nearly_the_same(saved):
    exact = NorfacePipeline.from_pretrained(saved)(crops(4), 0.5, 64)
    pipeline = NorfacePipeline.from_pretrained(saved)
    pipeline.to("cuda")
    assert np.abs(np.stack(exact).astype(int) - pipeline(crops(4), 0.5, 64)).mean() < 0.1
    pipeline.speed_up(half=True)
    fast = pipeline(crops(4), 0.5, 64)
    assert equal(fast, pipeline(crops(4), 0.5, 64))
    assert np.abs(np.stack(exact).astype(int) - fast).mean() < 3
