"""The builder: same bytes whoever builds, nothing made twice, nothing half there."""

import hashlib
import shutil
from multiprocessing import active_children

import pytest

from normpipe.engine.lock import locked
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError
from normpipe.training.norface import build as module
from normpipe.training.norface.build import build_examples, plan_parts
from normpipe.training.norface.examples import Examples, read_examples

PHOTOS = 12


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PART_ROWS", 4)


@pytest.fixture
def photos(run_folder):
    return Examples(runs=(str(run_folder),))


def silent(done, total):
    pass


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("part-*.parquet"))}


@pytest.fixture(scope="module")
def built(run_folder, tmp_path_factory):
    """Photos in parts of four, by one process."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART_ROWS", 4)
        told = []
        parts = build_examples(Examples(runs=(str(run_folder),)), folder, 1, lambda *each: told.append(each))
    return folder, parts, told


def test_parts_hold_all_photos_in_order(built, portraits):
    _, parts, told = built
    assert [part.name for part in parts] == [f"part-photo-{number:05d}.parquet" for number in range(3)]
    names = [name.split("-", 2)[2] for name in read_examples(parts).ids]
    assert names == [found.name for found in portraits.faces(0, PHOTOS)]
    assert told[0] == (0, PHOTOS)
    assert told[-1] == (PHOTOS, PHOTOS)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.usefixtures("small_parts")
def test_a_second_build_makes_only_what_is_missing_or_damaged(built, photos, tmp_path):
    folder = shutil.copytree(built[0], tmp_path / "examples")
    first, second, third = sorted(folder.glob("part-*.parquet"))
    first.unlink()
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 0xFF
    second.write_bytes(content)
    kept = third.stat().st_mtime_ns
    told = []
    build_examples(photos, folder, 2, lambda *each: told.append(each))
    assert told[0] == (4, PHOTOS)
    assert third.stat().st_mtime_ns == kept
    assert digests(folder) == digests(built[0]), "two processes write what one does"
    told.clear()
    build_examples(photos, folder, 2, lambda *each: told.append(each))
    assert told == [(PHOTOS, PHOTOS)]


@pytest.mark.usefixtures("small_parts")
def test_who_interrupts_finds_whole_parts_and_goes_on(built, photos, tmp_path):
    def interrupted(done, total):
        if done:
            raise KeyboardInterrupt

    folder = tmp_path / "examples"
    with pytest.raises(KeyboardInterrupt):
        build_examples(photos, folder, 1, interrupted)
    left = digests(folder)
    assert left
    assert left.items() <= digests(built[0]).items()
    assert not list(folder.glob(".*.part"))
    assert not active_children(), "nobody works on"
    build_examples(photos, folder, 1, silent)
    assert digests(folder) == digests(built[0])


@pytest.mark.usefixtures("small_parts")
def test_a_process_that_dies_is_told_of_in_one_line(built, photos, tmp_path):
    def fatal(done, total):
        for child in active_children() if done else ():
            child.kill()

    folder = tmp_path / "examples"
    with pytest.raises(NormpipeError, match=r"^examples: a process that makes examples died.*build again, with fewer workers$"):
        build_examples(photos, folder, 1, fatal)
    assert digests(folder).items() <= digests(built[0]).items()
    assert not list(folder.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
def test_all_kinds_have_the_same_bytes_however_many_processes_make_them(run_folder, rig_file, tmp_path):
    examples = Examples(runs=(str(run_folder),), rig=str(rig_file), heads=6, warps=5)
    parts = [build_examples(examples, tmp_path / str(workers), workers, silent) for workers in (1, 2)]
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    kinds = read_examples(parts[0]).kinds.tolist()
    assert kinds == ["head"] * 6 + ["warp"] * 5 + ["photo"] * PHOTOS


@pytest.mark.usefixtures("small_parts")
def test_more_examples_leave_those_there_are(run_folder, tmp_path):
    rig = tmp_path / "rig.npz"
    rig.write_bytes(b"planning only hashes it")
    fewer = Examples(runs=(str(run_folder),), rig=str(rig), heads=8, warps=6)
    more = fewer.model_copy(update={"runs": (str(run_folder),) * 2, "heads": 20, "warps": 9})
    before, after = ({part.name: part.fingerprint for part in plan_parts(one)} for one in (fewer, more))
    kept = {name for name, fingerprint in before.items() if after[name] == fingerprint}
    assert set(before) - kept == {"part-warp-00001.parquet"}, "the one that was not full"
    assert len(after) == 5 + 3 + 2 * 3


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", [{"seed": 1}, {"side": 96}])
def test_another_configuration_makes_all_anew(photos, change):
    before, after = (plan_parts(one) for one in (photos, photos.model_copy(update=change)))
    assert all(one.fingerprint != other.fingerprint for one, other in zip(before, after, strict=True))


def test_a_rig_that_is_not_there_is_told_of_in_one_line(run_folder, tmp_path):
    examples = Examples(runs=(str(run_folder),), rig=str(tmp_path / "none.npz"), heads=1)
    with pytest.raises(UsageError, match=r"^examples.rig: cannot read none.npz \(No such file or directory\); give the path"):
        build_examples(examples, tmp_path / "examples", 1, silent)


def test_two_builds_do_not_write_at_once(photos, tmp_path):
    with locked(tmp_path / "examples"), pytest.raises(IncompatibleRunError, match="another run is writing there"):
        build_examples(photos, tmp_path / "examples", 1, silent)
