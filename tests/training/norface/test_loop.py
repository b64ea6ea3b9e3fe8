"""The loop: a stage that was stopped and one that was not are the same, and ranks share what one would see."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")

from normpipe.errors import ModelUnavailableError, UsageError  # noqa: E402
from normpipe.training.accelerator import new_accelerator  # noqa: E402
from normpipe.training.checkpoints import CHECKPOINTS_FOLDER  # noqa: E402
from normpipe.training.curve import CURVE_FILE  # noqa: E402
from normpipe.training.norface import loop  # noqa: E402
from normpipe.training.norface.config import Stage  # noqa: E402
from normpipe.training.norface.loop import Directions, train  # noqa: E402

STAGE = Stage(steps=13, batch=6, log_every=2, checkpoint_every=4, average=0.5)


class Line(torch.nn.Module):
    """Fits a line; `still` is a weight that nobody trains."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.fit = torch.nn.Linear(3, 1)
            self.still = torch.nn.Linear(1, 1)
        self.factor = 1.0

    def forward(self, given, sought):
        error = (self.fit(given) - sought) ** 2
        return {"near": self.factor * error.mean(), "small": 0.01 * self.fit.weight.square().sum()}


class LineTrainee:
    def __init__(self, stop_at=None):
        self.size = 20
        self.line = Line()
        self.chosen = []
        self._given = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
        self._left = stop_at

    def module(self):
        return self.line

    def paces(self):
        return [([self.line.fit.weight], 1.0), ([self.line.fit.bias], 0.5)]

    def batch(self, chosen, generator):
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        self.chosen.append(chosen.tolist())
        given = self._given[chosen] + 0.01 * torch.randn(len(chosen), 3, generator=generator)
        return given, given.sum(1, keepdim=True)


@pytest.fixture
def directions(tmp_path):
    return lambda name="one", look=None: Directions("line", tmp_path / name, 0, lambda _: None, look)


@pytest.fixture
def here():
    return new_accelerator("float32", "cpu", timedelta(minutes=1))


@pytest.fixture(autouse=True)
def _in_order(monkeypatch):
    """One batch is made ahead, so that a test knows in which step it stops."""
    monkeypatch.setattr(loop, "_AHEAD", 1)


def lines(directions):
    return [json.loads(line) for line in (directions.folder / CURVE_FILE).read_text().splitlines()]


@pytest.mark.parametrize("stopped", [2, 5, 8, 9])
def test_a_stage_that_was_stopped_goes_on_along_the_same_curve(directions, here, stopped):
    whole, parts = directions("whole"), directions("parts")
    expected = train(LineTrainee(), STAGE, whole, here).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(LineTrainee(stopped), STAGE, parts, here)
    with (parts.folder / CURVE_FILE).open("a") as file:
        file.write('{"step": 7, "ne')  # as a process leaves it that dies while it writes
    again = LineTrainee()
    found = train(again, STAGE, parts, here).state_dict()
    assert len(again.chosen) == 13 - stopped // 4 * 4, "what a checkpoint has is not done again"
    assert {name: value.tolist() for name, value in found.items()} == {k: v.tolist() for k, v in expected.items()}
    assert (parts.folder / CURVE_FILE).read_bytes() == (whole.folder / CURVE_FILE).read_bytes()
    last = sorted((parts.folder / CHECKPOINTS_FOLDER).iterdir())[-1]
    assert last.read_bytes() == (whole.folder / CHECKPOINTS_FOLDER / last.name).read_bytes()


def test_every_epoch_shows_every_example_once(directions, here):
    trainee = LineTrainee()
    train(trainee, STAGE, directions(), here)
    seen = np.concatenate(trainee.chosen)
    assert sorted(seen[:20]) == sorted(seen[20:40]) == list(range(20))
    assert seen[:20].tolist() != seen[20:40].tolist()


def test_the_curve_falls_and_ends_with_the_last_step(directions, here):
    one = directions()
    stage = STAGE.model_copy(update={"steps": 61, "learning_rate": 0.1})
    train(LineTrainee(), stage, one, here)
    curve = lines(one)
    assert [line["step"] for line in curve] == [*range(2, 61, 2), 61]
    assert curve[-1]["near"] < 0.1 * curve[0]["near"]


def test_what_no_pace_names_stays(directions, here):
    trainee = LineTrainee()
    before = trainee.line.still.weight.clone()
    train(trainee, STAGE, directions(), here)
    assert torch.equal(trainee.line.still.weight, before)


def test_averaged_weights_lag_behind(directions, here):
    trainee = LineTrainee()
    averaged = train(trainee, STAGE.model_copy(update={"average": 0.999}), directions(), here)
    start = Line().fit.weight
    assert (averaged.fit.weight - start).abs().sum() < (trainee.line.fit.weight - start).abs().sum()


def test_whoever_looks_sees_each_checkpoint_once(directions, here):
    seen = []
    train(LineTrainee(), STAGE, directions(look=lambda step, module: seen.append((step, type(module)))), here)
    assert seen == [(4, Line), (8, Line), (12, Line), (13, Line)]


def test_losses_that_are_no_numbers_end_it_in_one_line(directions, here):
    trainee = LineTrainee()
    trainee.line.factor = float("nan")
    with pytest.raises(UsageError, match=r"^line: the losses are no numbers at step 2: lower its learning_rate$"):
        train(trainee, STAGE, directions(), here)
    assert not list(directions().folder.glob(f"{CHECKPOINTS_FOLDER}/*"))


def test_a_damaged_checkpoint_is_told_of_in_one_line(directions, here):
    one = directions()
    train(LineTrainee(), STAGE, one, here)
    last = one.folder / CHECKPOINTS_FOLDER / "00000013.safetensors"
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"^checkpoints/00000013\.safetensors: damaged; delete it"):
        train(LineTrainee(), STAGE, one, here)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_told_of_in_one_line():
    with pytest.raises(ModelUnavailableError, match=r"^torch sees no CUDA device; choose --device cpu$"):
        new_accelerator("float32", "cuda", timedelta(minutes=1))


RANKS = """
import sys
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, {tests!r})
from training.norface.test_loop import STAGE, LineTrainee
from normpipe.training.norface import loop
from normpipe.training.accelerator import new_accelerator
from normpipe.training.norface.loop import Directions, train
loop._AHEAD = 1
here = new_accelerator("float32", "cpu", timedelta(minutes=1))
out = Path({out!r})
trainee = LineTrainee()
averaged = train(trainee, STAGE, Directions("line", out, 0, lambda _: None), here)
(out / f"rank-{{here.process_index}}.txt").write_text(repr((trainee.chosen, averaged.fit.weight.tolist())))
"""


@pytest.mark.slow
def test_two_ranks_share_the_batches_of_one(directions, here, tmp_path):
    alone = LineTrainee()
    train(alone, STAGE, directions("alone"), here)
    script = tmp_path / "ranks.py"
    tests = str(Path(__file__).parents[2])
    script.write_text(RANKS.format(tests=tests, out=str(tmp_path / "ranks")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone", script]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=200)
    (first, weights), (second, others) = (eval((tmp_path / "ranks" / f"rank-{rank}.txt").read_text()) for rank in (0, 1))
    assert [[*one, *other] for one, other in zip(first, second, strict=True)] == alone.chosen
    assert weights == others
    assert len(lines(directions("ranks"))) == 7
