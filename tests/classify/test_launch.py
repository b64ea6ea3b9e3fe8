"""Ranks on the workers of a real Dask cluster: as one process learns, and however they are disturbed, to the same bytes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from .small_training import trained, training, write_people, write_protocol, written

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LOST = "error: rank 1 of the training is lost ({}); the same command goes on"
STOPPED = "interrupted; the same command resumes the training"


@dataclass(frozen=True)
class Case:
    """A training file, the data beside it, and a cluster of two workers that work in another folder.

    Attributes:
        folder: Where commands are given; `long.yaml` and `run/` are there.
        scheduler: As --scheduler takes it.
        workers: The program that keeps both workers.
    """

    folder: Path
    scheduler: str
    workers: psutil.Process

    def start(self, out, *options):
        where = ["--scheduler", self.scheduler, "--ranks", "2"]
        command = [sys.executable, "-m", "normpipe", "classify", "train", "long.yaml", "-o", out, "--fold", "fold1", *where]
        return subprocess.Popen(
            [*command, *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ranks(self):
        """The processes of the ranks, in their order."""
        found = [
            one for one in self.workers.children(recursive=True) if "normpipe.classify.rank_process" in " ".join(one.cmdline())
        ]
        return sorted(found, key=lambda one: int(one.environ()["RANK"]))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    from distributed import Client

    folder, elsewhere = tmp_path_factory.mktemp("case"), tmp_path_factory.mktemp("elsewhere")
    write_people(folder / "run")
    write_protocol(folder)
    one = training(Path("run"), Path("protocol.yaml"), epochs=100, batch=23, checkpoint_every=1)
    written(one, folder / "long.yaml")
    file = elsewhere / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    programs = [
        psutil.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *common, *options],
            cwd=elsewhere,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)},
        )
        for name, options in (
            ("scheduler", ["--host", "127.0.0.1", "--port", "0"]),
            ("worker", ["--nthreads", "1", "--nworkers", "2"]),
        )
    ]
    try:
        until(file.is_file)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(2, timeout=200)
        yield Case(folder, f"file:{file}", programs[1])
    finally:
        for program in programs:
            program.terminate()
            program.wait()


@pytest.fixture(scope="module")
def whole(case):
    """A training that nobody disturbs, and what it said."""
    process = case.start("whole")
    said, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    return case.folder / "whole", said, told


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def content(out):
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def curve(out):
    return [json.loads(line) for line in (out / "fold1" / "curve.jsonl").read_text().splitlines()]


def is_gone(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_two_ranks_take_the_steps_of_one_process(case, whole, tmp_path):
    out, said, told = whole
    assert said == "whole/fold1/scores.json\n"
    one = training(case.folder / "run", case.folder / "protocol.yaml", epochs=100, batch=23, checkpoint_every=1)
    alone = []
    trained(one, tmp_path / "alone", alone, fold="fold1")
    assert len(told.splitlines()) == len(alone), "every line once, and no other"
    for shared, own in zip(curve(out), curve(tmp_path / "alone"), strict=True):
        assert shared == pytest.approx(own, rel=1e-2, abs=1e-3)
    assert not case.ranks()


@pytest.mark.parametrize(
    "disturbed",
    [
        *(pytest.param(name, marks=pytest.mark.long) for name in ("caller interrupted", "caller killed", "rank killed")),
        "worker killed",
    ],
)
def test_a_training_that_is_disturbed_ends_whole_and_goes_on_to_the_same_bytes(case, whole, disturbed):
    name = disturbed.replace(" ", "-")
    process = case.start(name, "--set", "workers=1")
    until(
        lambda: list((case.folder / name / "fold1" / "checkpoints").glob("0000001*.safetensors")) or process.poll() is not None
    )
    ranks = case.ranks()
    assert len(ranks) == 2, process.stderr.read()
    worker = ranks[1].parent()
    family = [*ranks, *(child for rank in ranks for child in rank.children(recursive=True))]
    assert len(family) >= 4, "each rank has a loader worker"
    victim, number, code, word = {
        "caller interrupted": (process, signal.SIGTERM, 143, STOPPED),
        "caller killed": (process, signal.SIGKILL, -signal.SIGKILL, None),
        "rank killed": (ranks[1], signal.SIGKILL, 1, LOST.format("killed by SIGKILL")),
        "worker killed": (worker, signal.SIGKILL, 1, LOST.format("its worker is gone")),
    }[disturbed]
    victim.send_signal(number)
    _, told = process.communicate(timeout=300)
    assert process.returncode == code, told
    assert [line for line in told.splitlines() if not line.startswith("fold1")] == ([] if word is None else [word])
    until(lambda: all(is_gone(one) for one in family), seconds=60)
    assert not (case.folder / name / "fold1" / "scores.json").exists(), "it was in the middle"
    until(lambda: len(nannied(case)) == 2)
    again = case.start(name)
    _, told = again.communicate(timeout=600)
    assert again.returncode == 0, told
    assert content(case.folder / name) == content(whole[0])


def nannied(case):
    """Workers that are there; one that was killed is replaced."""
    from distributed import Client

    with Client(scheduler_file=case.scheduler.removeprefix("file:")) as client:
        return client.scheduler_info(n_workers=-1)["workers"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--set", "data=[nothing]"], 2, "error: nothing: no such folder"),
        (["--set", "epochs=9"], 3, "error: whole: was begun otherwise: epochs: 100 -> 9; "),
    ],
)
def test_what_no_rank_can_do_is_told_once(case, whole, options, code, told):
    process = case.start("whole", *options)
    said, line = process.communicate(timeout=300)
    assert (process.returncode, said) == (code, "")
    assert line.startswith(told)
    assert line.count("\n") == 1
