"""Batches by loader workers and ranks: each sample once in an epoch, the same pixels however many there are."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import psutil
import pytest
import torch

from normpipe.classify.arms import Arm
from normpipe.classify.augmentation import Augmentation
from normpipe.classify.feed import Feed, Share
from normpipe.classify.labels import LabelSpace, Task
from normpipe.classify.loader import Loader
from normpipe.classify.shards import open_shards
from normpipe.classify.steady import steady
from normpipe.errors import NormpipeError, UsageError
from tests.classify.pair_shards import SIDE, pair, pairs, write_file

ROWS = 200
SPACE = LabelSpace(Task.AU, ("AU12", "AU06"))
FEED = Feed(arm=Arm.BOTH, size=SIDE, batch=16, seed=3, augmentation=Augmentation(), shuffled=True, window=64)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    write_file(folder / "a.parquet", pairs(0, 120, weight=2.0))
    write_file(folder / "b.parquet", pairs(120, ROWS))
    return folder


def loader(folder, feed=FEED, rows=None, **how):
    shards = open_shards([str(folder)], feed.arm)
    return Loader(shards, shards.targets(SPACE), np.arange(len(shards)) if rows is None else rows, feed, **how)


def epoch_of(folder, epoch, first=0, **how):
    """Rows, keys, values and pictures of an epoch, batch by batch."""
    with loader(folder, **how) as batches:
        return [
            (batch.rows.tolist(), batch.keys.tolist(), batch.values.tolist(), batch.pictures.clone())
            for batch in batches.batches(epoch, first)
        ]


def assert_equal(found, wanted):
    assert [batch[:3] for batch in found] == [batch[:3] for batch in wanted]
    assert all(torch.equal(one[3], other[3]) for one, other in zip(found, wanted, strict=True))


def test_a_batch_has_all_that_a_training_needs(release):
    shards = open_shards([str(release)], Arm.BOTH)
    batches = list(loader(release).batches())
    assert len(batches) == len(loader(release)) == 13
    assert [len(batch) for batch in batches] == [16] * 12 + [8]
    first = batches[0]
    assert (first.pictures.shape, first.pictures.dtype) == ((16, 2, 3, SIDE, SIDE), torch.uint8)
    assert (first.values.dtype, first.known.dtype, first.weights.dtype) == (torch.float32, torch.bool, torch.float32)
    assert (first.keys.dtype, first.rows.dtype) == (torch.int64, torch.int64)
    numbers = [int(shards.table["sample_id"][row].as_py()[1:]) for row in first.rows.tolist()]
    assert first.values[:, 0].tolist() == [number % 2 for number in numbers]
    assert first.weights.tolist() == [2 if number < 120 else 1 for number in numbers]
    assert first.known.tolist() == [[True, False]] * 16
    assert first.to(torch.device("meta")).pictures.device.type == "meta"


def test_rows_are_numbers_of_the_table_also_of_a_part(release):
    wanted = np.array([199, 7, 3, 130])
    batches = list(loader(release, rows=wanted).batches())
    assert sorted(np.concatenate([batch.rows for batch in batches])) == sorted(wanted)
    for batch in batches:
        assert batch.values[:, 0].tolist() == [row % 2 for row in batch.rows.tolist()]


def test_no_rows_have_no_batches(release):
    assert list(loader(release, rows=np.empty(0, np.intp)).batches()) == []


@pytest.mark.parametrize("first", [0, 1, 5, 12, 13])
def test_a_training_goes_on_at_any_step(release, first):
    assert_equal(epoch_of(release, 2, first), epoch_of(release, 2)[first:])


def test_the_generator_of_the_training_is_left_alone(release):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader(release).batches())
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_have_equally_many_batches(release):
    feed = Feed(arm=Arm.ORIGINAL, size=SIDE, batch=66)
    for rank, lengths in enumerate([[22, 22, 22, 1], [22, 22, 22, 1], [22, 22, 22, 0]]):
        assert [len(batch) for batch in loader(release, feed, share=Share(rank, 3)).batches()] == lengths


def test_a_picture_that_is_none_ends_the_training_in_one_line(tmp_path):
    rows = [*pairs(0, 40), pair(40, normalized={"bytes": b"junk", "path": None})]
    folder = write_file(tmp_path / "release" / "a.parquet", rows).parent
    with pytest.raises(UsageError, match=r"^s0040: its normalized cannot be decoded \(release/a\.parquet\); make or fetch"):
        list(loader(folder).batches())


def test_shared_memory_that_there_is_not_is_told(release):
    feed = Feed(arm=Arm.BOTH, size=1 << 16, batch=1 << 16)
    with pytest.raises(NormpipeError, match=r"^loader workers need \d+ MB of shared memory, which this machine does not give"):
        loader(release, feed, workers=2)


def test_more_workers_than_cores_are_nothing_to_warn_of_in_a_training(release, recwarn):
    with steady("cpu", 1), loader(release, workers=4 * (os.cpu_count() or 1)):
        pass
    assert not [str(warning.message) for warning in recwarn]


def test_batches_that_are_kept_stay_as_they_are(release):
    """Slots: memory is used again only after a batch is let go; where all are held, others are made."""
    from normpipe.classify.slots import Slots

    slots = Slots(2, (4, 1))
    first, second = slots.take(), slots.take()
    held = slots.lend(first, 3)
    assert slots.take() is None
    assert held.shape == (3, 1)
    assert held.data_ptr() == slots.memory[first].data_ptr()
    slots.take_back()
    assert slots.take() == second
    assert slots.take() is None
    del held
    assert slots.take() == first


@pytest.mark.slow
def test_workers_change_nothing_over_epochs_that_are_broken_off(release):
    """Nor do batches that are all kept, more than there are slots."""
    wanted = {epoch: epoch_of(release, epoch) for epoch in range(3)}
    with loader(release, workers=3) as batches:
        for epoch, first, stop in ((0, 0, 13), (1, 0, 2), (1, 4, 13), (2, 0, 0), (2, 0, 13)):
            kept = []
            for batch in batches.batches(epoch, first):
                if len(kept) == stop - first:
                    break
                kept.append(batch)
            found = [(batch.rows.tolist(), batch.keys.tolist(), batch.values.tolist(), batch.pictures) for batch in kept]
            assert_equal(found, wanted[epoch][first:stop])
    del batches
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_every_sample_comes_once_over_two_ranks_of_four_workers(release):
    whole = epoch_of(release, 1)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(epoch_of, release, 1, share=Share(rank, 2), workers=4) for rank in range(2)]
        parts = [future.result() for future in futures]
    rows = [row for part in parts for batch in part for row in batch[0]]
    assert sorted(rows) == list(range(ROWS))
    for rank, part in enumerate(parts):
        assert_equal(part, [(*(column[rank::2] for column in batch),) for batch in whole])


@pytest.mark.slow
def test_what_is_wrong_is_told_in_one_line_by_workers_too(tmp_path):
    rows = [*pairs(0, 40), pair(40, normalized={"bytes": b"junk", "path": None})]
    folder = write_file(tmp_path / "release" / "a.parquet", rows).parent
    with (
        loader(folder, workers=1) as batches,
        pytest.raises(UsageError, match=r"^s0040: its normalized cannot be decoded [^\n]*$"),
    ):
        list(batches.batches())


@pytest.mark.slow
def test_a_worker_that_dies_is_told(release):
    with loader(release, workers=1) as batches:
        given = batches.batches()
        next(given)
        worker = next(child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))
        worker.send_signal(signal.SIGKILL)
        with pytest.raises(NormpipeError, match=r"^a loader worker died, perhaps for want of memory: use fewer workers"):
            list(given)


def test_the_command_line_does_not_load_torch():
    code = "import sys; import normpipe.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
