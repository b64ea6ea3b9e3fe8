"""`normpipe classify train` as a shell sees it: where the scores are on stdout, all else on stderr, errors in one line."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from fixtures.command import normpipe

from normpipe.cli import cli


@pytest.fixture(scope="module")
def small():
    """A training of seconds; skips where its packages are missing."""
    from classify import small_training

    return small_training


@pytest.fixture(scope="module")
def file(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    one = small.training(small.write_people(folder / "run"), small.write_protocol(folder), epochs=1)
    return small.written(one, folder / "training.yaml")


@pytest.fixture(scope="module")
def out(file, small, tmp_path_factory):
    """A folder in which one fold is trained."""
    from normpipe.classify.config import load_classifier_training

    found = tmp_path_factory.mktemp("trained") / "out"
    small.trained(load_classifier_training(file), found, fold="fold1")
    return found


def test_help_has_examples_and_loads_nothing_heavy():
    shown = CliRunner().invoke(cli, ["classify", "train", "-h"]).output
    assert "torchrun --nproc-per-node 4 -m normpipe classify train" in shown
    assert "srun" in shown
    code = "import sys; from normpipe.cli import cli; cli(['classify', '-h'], standalone_mode=False); print([*sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in loaded
    assert "'numpy'" not in loaded


def test_the_scores_are_on_stdout_and_what_happens_is_on_stderr(file, out, capsys):
    code, said, told = normpipe(capsys, "classify", "train", file, "-o", out, "--fold", "fold1")
    assert (code, said, told) == (0, f"{out}/fold1/scores.json\n", "")


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--set", "epocs=3"], 2, "--set epocs: "),
        (["--set", "size=8"], 2, "--set size: Input should be greater than or equal to 16"),
        (["--set", "arm=left"], 2, "--set arm: "),
        (["--set", "data=[nothing]"], 2, "error: nothing: no such folder"),
        (["--set", "protocol=nothing"], 2, "error: nothing: there is no such protocol; name one of affectnet-7, "),
        (["--set", "protocol_keys={kfold.k: 1}"], 2, "kfold.k: Input should be greater than or equal to 2"),
        (["--fold", "fold9"], 2, "error: --fold fold9: the protocol small has fold1, fold2"),
        (["--set", "epochs=2"], 3, "error: out: was begun otherwise: epochs: 1 -> 2; change that back, or choose another OUT"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(file, out, capsys, options, code, told):
    found, said, line = normpipe(capsys, "classify", "train", file, "-o", out, *options)
    assert (found, said) == (code, "")
    assert line.count("\n") == 1
    assert told in line


@pytest.mark.parametrize("half", [["--ranks", "2"], ["--scheduler", "tcp://127.0.0.1:8786"]])
def test_ranks_on_a_cluster_need_a_number_and_a_scheduler(file, tmp_path, capsys, half):
    code, _, line = normpipe(capsys, "classify", "train", file, "-o", tmp_path / "out", *half)
    assert (code, line.count("\n")) == (2, 1)
    assert line.startswith("error: --scheduler and --ranks belong together")


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["data=[nothing]", "sise=3"])
def test_ranks_of_torchrun_say_once_what_is_wrong(file, tmp_path, wrong):
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*start, "-m", "normpipe", "classify", "train", file, "-o", tmp_path / "out", "--set", wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1, done.stderr


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path, capsys):
    code, _, line = normpipe(capsys, "classify", "train", tmp_path / "nothing.yaml", "-o", tmp_path / "out")
    assert (code, line.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()


def test_a_missing_device_is_told_in_one_line(file, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, _, line = normpipe(capsys, "classify", "train", file, "-o", tmp_path / "out", "--device", "cuda")
    assert (code, line) == (2, "error: torch sees no CUDA device; choose --device cpu\n")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_told_in_one_line(file, tmp_path):
    hide = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'accelerate' else find(name, *rest)\n"
        "from normpipe.cli import main; main()"
    )
    command = [sys.executable, "-c", hide, "classify", "train", file, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: training a classifier needs accelerate: pip install 'normpipe[classify]'\n"
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_in_one_line(file, tmp_path, monkeypatch, capsys):
    from normpipe.training import checkpoints

    def full(target, content):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(checkpoints, "write_bytes", full)
    code, _, told = normpipe(capsys, "classify", "train", file, "-o", tmp_path / "out")
    assert code == 1
    assert told.splitlines()[-1].endswith(".safetensors: No space left on device")


def test_an_interrupted_training_says_how_to_go_on(file, tmp_path):
    """Ctrl-C in a real process."""
    code = (
        "import signal, normpipe.classify.training as t; step = t._Fit._step\n"
        "def stop(*rest): signal.raise_signal(signal.SIGINT); return step(*rest)\n"
        "t._Fit._step = stop; from normpipe.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "classify", "train", file, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted; the same command resumes the training"
