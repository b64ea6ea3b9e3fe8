"""Batches as functions of epoch and step: the right pictures of the right rows, each row group read once."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fixtures.faces import noise
from fixtures.flaky import FlakyFileSystem

from normpipe.classify.arms import Arm
from normpipe.classify.augmentation import Augmentation, drawn_changes
from normpipe.classify.feed import Feed, Share
from normpipe.classify.order import row_order, step_count
from normpipe.classify.reader import BatchReader
from normpipe.classify.shards import open_shards
from normpipe.config import Encode
from normpipe.errors import UsageError
from normpipe.stages.encode import encode
from tests.classify.pair_shards import EXACT, SIDE, colour, pair, pairs, write_file

ROWS = 100


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    write_file(folder / "a.parquet", pairs(0, 60))
    write_file(folder / "b.parquet", pairs(60, ROWS))
    return folder


def places(folder, arm=Arm.BOTH):
    return open_shards([str(folder)], arm).places


def feed(**options):
    return Feed(**{"arm": Arm.BOTH, "size": SIDE, "batch": 16, "shuffled": True, **options})


def colours(arm, rows):
    """(b, V, 3) of plain pictures."""
    return np.stack([[colour(int(row), name == "normalized") for name in arm.columns] for row in rows])


def steps_of(reader_feed, rows=ROWS):
    return range(step_count(rows, reader_feed.batch))


@pytest.mark.parametrize("size", [SIDE // 2, SIDE, 2 * SIDE])
@pytest.mark.parametrize("arm", list(Arm))
def test_pictures_are_those_of_their_rows_at_the_size_wanted(release, arm, size):
    reader = BatchReader(places(release, arm), feed(arm=arm, size=size), Share())
    seen = []
    for step in steps_of(feed()):
        read = reader.read(3, step)
        assert read.pictures.shape == (len(read.rows), arm.views, 3, size, size)
        wanted = colours(arm, read.rows)[..., None, None]
        np.testing.assert_array_equal(read.pictures.numpy(), np.broadcast_to(wanted, read.pictures.shape))
        seen += read.rows.tolist()
    assert sorted(seen) == list(range(ROWS))


def test_only_wanted_rows_are_given(release):
    wanted = np.array([1, 5, 33, 61, 62, 99])
    reader = BatchReader(places(release).taken(wanted), feed(batch=4), Share())
    reads = [reader.read(0, step) for step in range(2)]
    rows = wanted[np.concatenate([read.rows for read in reads])]
    assert sorted(rows) == wanted.tolist()
    np.testing.assert_array_equal(np.concatenate([read.pictures[..., 0, 0].numpy() for read in reads]), colours(Arm.BOTH, rows))


def test_in_evaluation_rows_come_as_they_stand(release):
    reader = BatchReader(places(release), feed(shuffled=False), Share())
    rows = np.concatenate([reader.read(5, step).rows for step in steps_of(feed())])
    np.testing.assert_array_equal(rows, row_order(ROWS))


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_batch_is_the_same_whatever_was_read_before_and_by_whom(release, shuffled):
    chosen = feed(shuffled=shuffled, augmentation=Augmentation(), window=32)
    one = BatchReader(places(release), chosen, Share())
    whole = {(epoch, step): one.read(epoch, step) for epoch in range(2) for step in steps_of(chosen)}
    for ranks, stride in ((1, 2), (2, 1), (2, 3)):
        readers = {
            (rank, turn): BatchReader(places(release), chosen, Share(rank, ranks), stride)
            for rank in range(ranks)
            for turn in range(stride)
        }
        for (epoch, step), wanted in reversed(whole.items()):
            for rank in range(ranks):
                read = readers[rank, step % stride].read(epoch, step)
                np.testing.assert_array_equal(read.rows, wanted.rows[rank::ranks])
                np.testing.assert_array_equal(read.keys, wanted.keys[rank::ranks])
                assert torch.equal(read.pictures, wanted.pictures[rank::ranks])


def test_a_cover_hides_what_was_drawn_and_nothing_else(release):
    nothing = Augmentation(flip=0, turn=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, grey=0, erase=0)
    plain = BatchReader(places(release), feed(augmentation=nothing, batch=ROWS), Share()).read(0, 0)
    np.testing.assert_array_equal(plain.pictures[..., 3, 5].numpy(), colours(Arm.BOTH, plain.rows))
    hiding = nothing.model_copy(update={"erase": 1.0, "erase_area": 0.5})
    covered = BatchReader(places(release), feed(augmentation=hiding, batch=ROWS), Share()).read(0, 0)
    changes = drawn_changes(hiding, torch.from_numpy(covered.keys), 2)
    for row, view in np.ndindex(ROWS, 2):
        x0, y0, x1, y1 = np.round(changes.cover[row, view] * SIDE).astype(int)
        wanted = plain.pictures[row, view].clone()
        wanted[:, y0:y1, x0:x1] = torch.from_numpy(changes.fill[row, view])[:, None, None]
        assert torch.equal(covered.pictures[row, view], wanted)


def test_every_epoch_augments_anew(release):
    chosen = feed(shuffled=False, augmentation=Augmentation())
    reader = BatchReader(places(release), chosen, Share())
    assert not torch.equal(reader.read(0, 0).pictures, reader.read(1, 0).pictures)
    assert not np.array_equal(reader.read(0, 0).keys, reader.read(1, 0).keys)


def test_pictures_may_go_to_memory_that_is_given(release):
    reader = BatchReader(places(release), feed(), Share())
    memory = torch.zeros(16, 2, 3, SIDE, SIDE, dtype=torch.uint8)
    assert torch.equal(reader.read(0, 1, memory).pictures, memory)
    last = reader.read(0, 6, memory)
    assert len(last.rows) == len(last.pictures) == ROWS % 16
    assert last.pictures.data_ptr() == memory.data_ptr()


def test_a_rank_may_get_nothing_of_the_last_batch(release):
    read = BatchReader(places(release), feed(batch=33, augmentation=Augmentation()), Share(1, 2)).read(0, 3)
    assert read.pictures.shape == (0, 2, 3, SIDE, SIDE)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_row_group_is_read_once_in_an_epoch(tmp_path, stride):
    folder = write_file(tmp_path / "release" / "a.parquet", pairs(0, 512)).parent
    found = open_shards([f"flaky://{folder}"], Arm.BOTH).places
    readers = [BatchReader(found, feed(batch=8, window=64), Share(), stride) for _ in range(stride)]
    FlakyFileSystem.begin(one_in=0)
    for step in range(64):
        readers[step % stride].read(0, step)
    assert FlakyFileSystem.calls["open"] == 512 // 8


def test_row_groups_are_let_go_when_nobody_wants_them_any_more(tmp_path):
    rows = pairs(0, 512)
    reader = BatchReader(places(write_file(tmp_path / "release" / "a.parquet", rows).parent), feed(batch=8, window=16), Share())
    before = pa.total_allocated_bytes()
    held = []
    for step in range(64):
        reader.read(0, step)
        held.append(pa.total_allocated_bytes() - before)
    everything = sum(len(row[name]["bytes"]) for row in rows for name in Arm.BOTH.columns)
    assert max(held) > everything / 20
    assert max(held) < everything / 2
    assert held[-1] == 0


def test_only_row_groups_with_wanted_rows_are_read(tmp_path):
    folder = write_file(tmp_path / "release" / "a.parquet", pairs(0, 64)).parent
    found = open_shards([f"flaky://{folder}"], Arm.BOTH).places.taken(np.array([0, 3, 40]))
    FlakyFileSystem.begin(one_in=0)
    BatchReader(found, feed(), Share()).read(0, 0)
    assert FlakyFileSystem.calls["open"] == 2


def test_reads_that_fail_now_and_then_are_made_again(tmp_path):
    folder = write_file(tmp_path / "release" / "a.parquet", pairs(0, 64)).parent
    found = open_shards([f"flaky://{folder}"], Arm.BOTH).places
    reader = BatchReader(found, feed(batch=64), Share())
    FlakyFileSystem.begin(seed=4, one_in=8)
    read = reader.read(0, 0)
    assert FlakyFileSystem.failures.total() > 0
    np.testing.assert_array_equal(read.pictures[..., 0, 0].numpy(), colours(Arm.BOTH, read.rows))


@pytest.mark.parametrize("options", [Encode(format="jpeg"), Encode(format="webp"), EXACT], ids=lambda options: options.format)
def test_every_format_that_a_run_writes_is_read(tmp_path, options):
    folder = write_file(tmp_path / "release" / "a.parquet", pairs(0, 8, options=options, side=64)).parent
    for size in (16, 40, 64):
        read = BatchReader(places(folder), feed(size=size), Share()).read(0, 0)
        wanted = colours(Arm.BOTH, read.rows)[..., None, None].astype(int)
        assert np.abs(read.pictures.numpy() - wanted).max() <= 4


def broken(tmp_path, content, number=9):
    rows = pairs(0, 16)
    rows[number]["normalized"] = {"bytes": content, "path": None}
    return write_file(tmp_path / "release" / "a.parquet", rows).parent


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be decoded"),
        (b"", "cannot be decoded"),
        (b"\xff\xd8 junk", "cannot be decoded"),
        (encode(noise(0, SIDE, SIDE), Encode())[:200], "cannot be decoded"),
        (encode(noise(0, 8, 8), Encode()), f"has 8 x 8 pixels, not {SIDE} x {SIDE}"),
        (encode(noise(0, 8, SIDE), Encode(format="png")), f"has {SIDE} x 8 pixels, not {SIDE} x {SIDE}"),
    ],
    ids=["null", "empty", "junk", "cut", "small", "not square"],
)
def test_a_picture_that_is_none_is_told_with_its_sample_and_file(tmp_path, content, what):
    reader = BatchReader(places(broken(tmp_path, content)), feed(), Share())
    with pytest.raises(UsageError) as error:
        reader.read(0, 0)
    assert str(error.value) == f"s0009: its normalized {what} (release/a.parquet); make or fetch this file again"


def test_a_row_group_whose_pictures_are_damaged_is_told(tmp_path):
    folder = write_file(tmp_path / "release" / "a.parquet", pairs(0, 32)).parent
    found = places(folder)
    file = pq.ParquetFile(folder / "a.parquet")
    names = [file.metadata.row_group(2).column(place).path_in_schema for place in range(file.metadata.num_columns)]
    column = file.metadata.row_group(2).column(names.index("original.bytes"))
    with (folder / "a.parquet").open("r+b") as content:
        content.seek(column.data_page_offset)
        content.write(b"\xff" * 40)
    with pytest.raises(UsageError, match=r"^release/a\.parquet, row group 2: damaged; fetch the file again"):
        BatchReader(found, feed(batch=32), Share()).read(0, 0)


def test_a_file_that_went_away_is_told(tmp_path):
    folder = write_file(tmp_path / "release" / "a.parquet", [pair(0)]).parent
    found = places(folder)
    (folder / "a.parquet").unlink()
    with pytest.raises(UsageError, match=r"^release/a\.parquet: cannot be read \(No such file or directory\)$"):
        BatchReader(found, feed(), Share()).read(0, 0)
