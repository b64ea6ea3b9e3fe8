"""From a training file to a folder of weights: killed, resumed, repeated, refused; and each stage learns."""

import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.command import normpipe
from safetensors.numpy import load_file

from normpipe.errors import IncompatibleRunError, UsageError

from .small import LATENT, torch, trained, training, written

from normpipe.normalizers.norface.generation import FlowDecoder  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip
from normpipe.training.norface.examples import read_examples  # isort: skip
from normpipe.training.norface.reading import measured, spreads  # isort: skip
from normpipe.training.norface.rig_mesh import RigMesh  # isort: skip
from normpipe.training.norface.stages import RESULT_FILE  # isort: skip

PHOTOS = 12


def content(out):
    """What a training leaves, but for the examples and what is written while it goes on."""
    found = [
        path for path in out.rglob("*") if path.is_file() and path.suffix in {".jsonl", ".safetensors", ".png", ".parquet"}
    ]
    found += [path for path in (out / "model").rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def examples_of(out):
    return read_examples(sorted((out / "examples").glob("part-*.parquet")))


def curve(out, stage):
    return [json.loads(line) for line in (out / stage / "curve.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(run_folder, tmp_path_factory):
    """A training that nobody stopped, without a network, and what it said."""
    out, said = tmp_path_factory.mktemp("whole") / "out", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("training reached out over the network"))
        assert trained(training(run_folder), out, said) == out / "model"
    return out, said


@pytest.fixture
def begun(whole, tmp_path):
    """A folder that has the examples of that training already."""
    shutil.copytree(whole[0] / "examples", tmp_path / "out" / "examples")
    return tmp_path / "out"


def test_the_folder_is_a_network(whole, portraits):
    out, _ = whole
    network = NorfacePipeline.from_pretrained(out / "model")
    face = next(portraits.faces(0, 1)).face
    calm, same, strong = network([face], 0.0)[0], network([face], 0.0)[0], network([face], 1.0)[0]
    assert calm.shape == (256, 256, 3)
    assert (calm == same).all()
    assert strong.dtype == np.uint8
    stored = load_file(out / "model" / "encoder" / "diffusion_pytorch_model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
    assert next(network.encoder.parameters()).dtype == torch.float32
    averaged = load_file(out / "drawing" / RESULT_FILE)["decoder.enter.weight"]
    assert np.array_equal(network.decoder.enter.weight.numpy(), averaged.astype(np.float16).astype(np.float32))


def test_what_is_for_others_may_be_read_by_them_and_says_what_it_is(whole, run_folder):
    model = whole[0] / "model"
    assert {stat.S_IMODE(path.stat().st_mode) for path in model.rglob("*") if path.is_file()} == {0o644}
    card = (model / "README.md").read_text()
    assert f"0 synthetic heads and 0 warped portraits of the rig ICT-FaceKit, and {PHOTOS} photos." in card
    assert "| out | not stated by whoever trained |" in card
    assert str(run_folder.parent) not in card
    assert "| reading | 6 |" in card


def test_what_passes_is_what_photos_let_expect(whole):
    """At strength 0 the own part of photos is as the free one lets expect: the mean is theirs, the rest is shrunk."""
    out, _ = whole
    free, own = load_file(out / "reading" / "expressions.safetensors")["expressions"], measured(examples_of(out))
    merger = NorfacePipeline.from_pretrained(out / "model").merger
    with torch.inference_mode():
        calm = merger.passed(torch.from_numpy(free), torch.from_numpy(own), torch.tensor([0.0])).numpy()
    assert np.allclose(calm[:, :57], free)
    assert np.allclose(calm[:, 57:].mean(0), own.mean(0), atol=1e-2)
    assert calm[:, 57:].var(0).sum() < own.var(0).sum()


def test_the_layout_measures_in_spreads_of_the_examples(whole):
    out, _ = whole
    layout = NorfacePipeline.from_pretrained(out / "model").layout
    np.testing.assert_array_equal(layout.spread, spreads(examples_of(out)))
    assert not layout.rig_offsets.any(), "there is no rig"
    assert (layout.config["by_landmarks"], layout.config["by_rig"], layout.config["margin"]) == (0.7, 0, 0.1)


def test_samples_show_source_and_three_strengths(whole):
    sheets = sorted((whole[0] / "drawing" / "samples").iterdir())
    assert [sheet.name for sheet in sheets] == [f"step-{step:08d}.png" for step in (2, 4, 6)]
    assert cv2.imread(str(sheets[0])).shape == (8 * 64, 4 * 64, 3)


def test_two_trainings_with_one_seed_are_the_same_and_a_second_call_does_nothing(whole, begun, run_folder):
    out, said = whole
    again = []
    trained(training(run_folder), begun, again)
    assert content(begun) == content(out)
    assert again == [line for line in said if line != f"examples 0/{PHOTOS}"]
    stages = {path: path.stat().st_mtime_ns for path in begun.glob(f"*/{RESULT_FILE}")}
    again.clear()
    trained(training(run_folder), begun, again)
    assert again == [f"examples {PHOTOS}/{PHOTOS}", f"targets {3 * PHOTOS}/{3 * PHOTOS}"]
    assert {path: path.stat().st_mtime_ns for path in stages} == stages
    assert content(begun) == content(out)


@pytest.fixture(scope="module")
def whole_flow(whole, run_folder, tmp_path_factory):
    """A training with a decoder that generates, from the same examples."""
    out = tmp_path_factory.mktemp("flow") / "out"
    shutil.copytree(whole[0] / "examples", out / "examples")
    trained(training(run_folder, latent=LATENT), out)
    return out


def test_a_flow_becomes_a_network_too(whole, whole_flow, portraits):
    network = NorfacePipeline.from_pretrained(whole_flow / "model")
    assert isinstance(network.decoder, FlowDecoder)
    face = next(portraits.faces(0, 1)).face
    one, same = network([face], 0.5)[0], network([face], 0.5)[0]
    assert one.shape == (256, 256, 3)
    assert (one == same).all()
    latent, drawing = (load_file(whole_flow / stage / RESULT_FILE) for stage in ("latent", "drawing"))
    name = "decoder.autoencoder.decoder.conv_out.weight"
    assert np.array_equal(latent[name], drawing[name]), "drawing leaves the latents as they are"
    for key in ("middle", "spread"):
        written = drawing[f"decoder.{key}"].astype(np.float16).astype(np.float32)
        assert np.array_equal(getattr(network.decoder, key).numpy(), written)
        assert (written != 0).all()
    assert set(curve(whole_flow, "latent")[-1]) == {"step", "picture", "prior"}
    assert set(curve(whole_flow, "drawing")[-1]) == {"step", "end"}
    card = (whole_flow / "model" / "README.md").read_text()
    assert "| latent | 6 |" in card
    assert "euler_steps: 3" in card


def test_both_kinds_of_decoder_share_what_is_before_them(whole, whole_flow):
    """Who has the one need not read or draw targets again for the other."""
    shared = ("examples/", "reading/", "targets/")
    warp, flow = (
        {path: digest for path, digest in content(out).items() if path.startswith(shared)} for out in (whole[0], whole_flow)
    )
    assert warp == flow


def test_two_flows_with_one_seed_are_the_same(whole_flow, begun, run_folder):
    trained(training(run_folder, latent=LATENT), begun)
    assert content(begun) == content(whole_flow)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"latent": {**LATENT, "prior": 1}}, r"its stage latent was begun otherwise: latent.prior: 0.001 -> 1.0"),
        ({"drawing": {"by_detail": 1}}, r"its stage latent was begun otherwise: drawing.by_detail: 0.5 -> 1.0"),
        ({"drawing": {"steps": 9}}, r"its stage drawing was begun otherwise: drawing.steps: 6 -> 9"),
    ],
)
def test_latents_are_of_the_targets_and_not_of_how_drawing_is_learnt(whole_flow, run_folder, change, told):
    with pytest.raises(IncompatibleRunError, match=told):
        trained(training(run_folder, **{"latent": LATENT, **change}), whole_flow)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"latent": LATENT}, r"stage drawing was begun otherwise: latent.average: absent -> 0.998; latent.batch: absent -> 4"),
        ({"reading": {"steps": 7}}, r"^out: its stage reading was begun otherwise: reading.steps: 6 -> 7; change that back"),
        ({"drawing": {"flow": 1, "light": 1}}, r"stage drawing was begun otherwise: drawing.flow: 100.0 -> 1.0; drawing.light"),
        ({"seed": 3}, "stage reading was begun otherwise: seed: 0 -> 3"),
        ({"examples": {"seed": 3}}, "stage reading was begun otherwise: examples.seed: 0 -> 3"),
    ],
)
def test_a_changed_file_is_refused_with_the_keys_that_changed(whole, run_folder, change, told):
    before = content(whole[0])
    with pytest.raises(IncompatibleRunError, match=told) as refused:
        trained(training(run_folder, **change), whole[0])
    assert "\n" not in str(refused.value)
    assert content(whole[0]) == before


def test_a_file_that_names_no_run_leaves_nothing_behind(run_folder, tmp_path):
    with pytest.raises(UsageError, match="not a run's folder"):
        trained(training(run_folder, examples={"runs": [str(tmp_path)]}), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_decides_about_no_weight_may_change(whole, run_folder):
    trained(training(run_folder, card={"licence": "CC0-1.0", "data": ["drawn people, ours"]}), whole[0])
    card = (whole[0] / "model" / "README.md").read_text()
    assert "CC0-1.0" in card
    assert "| out | drawn people, ours |" in card
    trained(training(run_folder), whole[0])


def test_a_damaged_stage_is_told_of_in_one_line(whole, run_folder, tmp_path):
    out = shutil.copytree(whole[0], tmp_path / "out")
    (out / "reading" / RESULT_FILE).write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"^reading/averaged\.safetensors: damaged; delete it"):
        trained(training(run_folder), out)


def test_a_full_disk_is_told_of_in_one_line(begun, run_folder, tmp_path, monkeypatch, capsys):
    from normpipe.training import curve

    def full(target, content):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(curve, "write_bytes", full)
    file = written(training(run_folder), tmp_path / "training.yaml")
    code, _, told = normpipe(capsys, "normalizer", "train", file, "-o", begun)
    assert code == 1
    assert told.splitlines()[-1] == "error: curve.jsonl: No space left on device"


LONG = {
    "reading": {"steps": 120, "checkpoint_every": 5, "log_every": 5},
    "drawing": {"steps": 120, "checkpoint_every": 5, "log_every": 5},
}


def killed_after(stage, file, out):
    """Start the command, and kill it when that stage has a second checkpoint."""
    command = [sys.executable, "-m", "normpipe", "normalizer", "train", file, "-o", out]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not (out / stage / "checkpoints" / "00000010.safetensors").exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / stage / RESULT_FILE).exists(), "it was in the middle"


@pytest.mark.slow
def test_a_training_that_was_killed_twice_is_one_that_was_not(begun, run_folder, tmp_path):
    one = training(run_folder, **LONG)
    whole = tmp_path / "whole"
    shutil.copytree(begun / "examples", whole / "examples")
    trained(one, whole)
    file = written(one, tmp_path / "training.yaml")
    killed_after("reading", file, begun)
    killed_after("drawing", file, begun)
    said = []
    trained(one, begun, said)
    assert not [line for line in said if line.startswith("reading ")], "what is done is not done again"
    assert content(begun) == content(whole)
    assert len(curve(begun, "drawing")) == 24


@pytest.mark.slow
def test_a_flow_that_was_killed_twice_is_one_that_was_not(begun, run_folder, tmp_path):
    long = {"steps": 120, "checkpoint_every": 5, "log_every": 5}
    one = training(run_folder, latent={**LATENT, **long}, drawing=long)
    whole = tmp_path / "whole"
    shutil.copytree(begun / "examples", whole / "examples")
    trained(one, whole)
    file = written(one, tmp_path / "training.yaml")
    killed_after("latent", file, begun)
    killed_after("drawing", file, begun)
    said = []
    trained(one, begun, said)
    assert not [line for line in said if line.startswith("latent ")], "what is done is not done again"
    assert content(begun) == content(whole)
    first, *_, last = curve(begun, "latent")
    assert last["picture"] < first["picture"]


@pytest.mark.slow
def test_every_option_at_once(begun, run_folder):
    """Masked, adversary, identity, and all the losses of the drawing."""
    optional = dict.fromkeys(("mesh", "aperture", "perceived", "identity", "fooling"), 0.1)
    stage = {"steps": 4, "batch": 4, "log_every": 2, "checkpoint_every": 2}
    one = training(
        run_folder,
        masked={**stage, "hidden": 0.5},
        identity=stage,
        reading={**stage, "adversary": 0.1},
        drawing={**stage, **optional},
    )
    trained(one, begun)
    assert set(curve(begun, "masked")[-1]) == {"step", "hidden"}
    assert "adversary" in curve(begun, "reading")[-1]
    assert set(curve(begun, "identity")[-1]) == {"step", "identity"}
    assert set(curve(begun, "drawing")[-1]) == {"step", "flow", "light", "picture", "telling", *optional}
    parts = {"encoder", "merger", "decoder", "common_face", "layout"}
    assert {path.name for path in (begun / "model").iterdir()} >= {*parts, "README.md"}
    NorfacePipeline.from_pretrained(begun / "model")


@pytest.mark.slow
def test_heads_and_warps_teach_the_rig(run_folder, rig, rig_file, tmp_path):
    one = training(
        run_folder,
        examples={"rig": str(rig_file), "heads": 6, "warps": 5},
        drawing={"by_rig": 1.5, "examples": 9},
    )
    out = tmp_path / "out"
    trained(one, out)
    assert curve(out, "reading")[0]["expression"] > 0
    assert len(list((out / "targets").glob("*.parquet"))) == 1
    layout = NorfacePipeline.from_pretrained(out / "model").layout
    np.testing.assert_array_equal(layout.rig_offsets, RigMesh.of(rig).offsets)
    assert layout.config["by_rig"] == 1.5
    assert (layout.spread[:57] != 1).any(), "heads and warps tell of the rig's weights"


def test_the_command_says_what_it_does_on_stderr_and_where_the_model_is_on_stdout(whole, run_folder, tmp_path, capsys):
    file = written(training(run_folder), tmp_path / "training.yaml")
    code, said, told = normpipe(capsys, "normalizer", "train", file, "-o", whole[0])
    assert (code, said) == (0, f"{whole[0]}/model\n")
    assert told.splitlines()[0] == f"examples {PHOTOS}/{PHOTOS}"


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--set", "reading.stepz=3"], 2, "--set reading.stepz: "),
        (["--set", "drawing.by_rig=1"], 2, "drawing.by_rig: what the rig does is drawn with the rig: give examples.rig, or"),
        (["--set", "examples.side=72"], 2, "examples.side must be a multiple of 16"),
        (["--set", "drawing.identity=1"], 2, "give the section identity"),
        (["--set", "reading.steps=9"], 3, "reading.steps: 6 -> 9"),
        (["--set", "examples.runs=[nothing]"], 2, "nothing: not a run's folder"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(whole, run_folder, tmp_path, capsys, options, code, told):
    file = written(training(run_folder), tmp_path / "training.yaml")
    found, _, line = normpipe(capsys, "normalizer", "train", file, "-o", whole[0], *options)
    assert found == code
    assert line.count("\n") == 1
    assert told in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_missing_device_is_told_in_one_line(whole, run_folder, tmp_path, capsys):
    file = written(training(run_folder), tmp_path / "training.yaml")
    code, _, line = normpipe(capsys, "normalizer", "train", file, "-o", whole[0], "--device", "cuda")
    assert (code, line) == (2, "error: torch sees no CUDA device; choose --device cpu\n")


def test_a_missing_package_is_told_in_one_line(whole, run_folder, tmp_path):
    file = written(training(run_folder), tmp_path / "training.yaml")
    hide = "import sys; sys.modules['accelerate'] = None; from normpipe.cli import main; main()"
    command = [sys.executable, "-c", hide, "normalizer", "train", file, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: training needs torch, diffusers and accelerate: pip install 'normpipe[train]'\n"
    assert not (tmp_path / "out").exists()


def test_two_trainings_do_not_write_at_once(whole, run_folder):
    from normpipe.engine.lock import locked

    with locked(whole[0]), pytest.raises(IncompatibleRunError, match="another run is writing there"):
        trained(training(run_folder), whole[0])


def test_the_file_in_which_paths_differ_is_the_same_training(whole, run_folder, tmp_path):
    moved = shutil.copytree(run_folder, tmp_path / "elsewhere")
    out = shutil.copytree(whole[0], tmp_path / "out")
    said = []
    trained(training(Path(moved)), out, said)
    assert said == [f"examples {PHOTOS}/{PHOTOS}", f"targets {3 * PHOTOS}/{3 * PHOTOS}"]
