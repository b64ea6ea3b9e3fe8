"""Runs that analyze first: interrupted anywhere they end in the same bytes; another reduction means another rendering."""

import pytest
from fixtures.puppets import puppet_models, write_stills
from fixtures.runs import Here, digests, executed, planned

from normpipe.engine.plan import read_plan
from normpipe.errors import IncompatibleRunError
from normpipe.records import Reason
from normpipe.shards.reader import iter_rows
from normpipe.stages.estimate import estimate
from normpipe.stages.pairs_task import AnalyzeTask

SCENES = [{"red": (20 + 9 * step, 30, 40), "blue": (200, 20, 30 + 3 * step)} for step in range(10)]
BOTH = ("detect.policy=track", "normalize.own_neutral=true", "shard_size=4")


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    names = write_stills(folder, SCENES)
    path = folder / "table.csv"
    path.write_text("sample_id,uri,sequence,subject\n" + "".join(f"{name},{name},walk,anna\n" for name in names))
    return path


def ready(table, out, *settings):
    return planned(table, out, *BOTH, *settings, build=puppet_models)


class Stops(Here):
    """Does so many shards of one kind of task, and no more."""

    def __init__(self, shards, analyzing):
        super().__init__()
        self.shards, self.analyzing = shards, analyzing

    def run(self, work, shards, advance, observe=lambda _: None):
        mine = isinstance(work.task, AnalyzeTask) == self.analyzing
        yield from super().run(work, shards[: self.shards] if mine else shards, advance)


@pytest.fixture
def whole(table, tmp_path):
    executed(ready(table, tmp_path / "whole"))
    return digests(tmp_path / "whole")


@pytest.mark.parametrize("shards", [0, 1, 2])
def test_an_analysis_that_is_not_complete_renders_nothing_and_goes_on(table, whole, tmp_path, shards):
    summary = executed(ready(table, tmp_path / "out"), Stops(shards, analyzing=True))
    assert (summary.complete, summary.committed) == (False, shards)
    assert not (tmp_path / "out/shards").exists()
    assert executed(ready(table, tmp_path / "out")).complete
    assert digests(tmp_path / "out") == whole


@pytest.mark.parametrize("shards", [0, 1, 2])
def test_a_rendering_that_is_not_complete_goes_on(table, whole, tmp_path, shards):
    assert executed(ready(table, tmp_path / "out"), Stops(shards, analyzing=False)).committed == shards
    assert executed(ready(table, tmp_path / "out")).complete
    assert digests(tmp_path / "out") == whole


def test_nothing_is_done_twice(table, whole, tmp_path):
    class Forbidden(Here):
        def run(self, work, shards, advance, observe=lambda _: None):
            raise AssertionError(shards)

    assert executed(ready(table, tmp_path / "whole"), Forbidden()).complete
    assert digests(tmp_path / "whole") == whole


def test_a_photo_that_comes_back_changes_what_was_reduced_and_all_is_rendered_anew(table, whole, tmp_path):
    photo = table.parent / "media-009.png"
    away = photo.rename(tmp_path / "away.png")
    out = tmp_path / "out"
    assert not executed(ready(table, out)).complete  # held, as it may come back
    summary = executed(ready(table, out), accept_failures=True)
    assert summary.complete
    assert summary.failed == {Reason.VANISHED: 1}
    before = read_plan(out).fingerprint.digest
    away.rename(photo)
    assert executed(ready(table, out), retry_failed=True).failed == {}
    assert digests(out) == whole
    assert read_plan(out).fingerprint.digest != before


def test_a_photo_replaced_between_the_phases_fails_its_row(table, tmp_path):
    out = tmp_path / "out"

    class Replaces(Here):
        def run(self, work, shards, advance, observe=lambda _: None):
            if not isinstance(work.task, AnalyzeTask):
                (table.parent / "media-003.png").write_bytes((table.parent / "media-004.png").read_bytes())
            yield from super().run(work, shards, advance)

    summary = executed(ready(table, out), Replaces(), accept_failures=True)
    assert summary.failed == {Reason.CHANGED: 1}
    (row,) = (row for row in iter_rows(out) if row["status"] == "failed")
    assert row["sample_id"] == "media-003.png"


def test_another_configuration_is_refused_after_the_analysis_alone(table, tmp_path):
    executed(ready(table, tmp_path / "out"), Stops(1, analyzing=True))
    with pytest.raises(IncompatibleRunError, match="quality"):
        executed(ready(table, tmp_path / "out", "encode.quality=50"))


def test_an_estimate_of_a_run_that_is_going_on(table, whole, tmp_path):
    executed(ready(table, tmp_path / "out"), Stops(2, analyzing=False))
    found = estimate(ready(table, tmp_path / "out"))
    assert (found.rows, found.shards, found.pending) == (10, 3, 1)


def test_what_was_reduced_is_not_reduced_again_and_what_was_lost_is(table, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("normpipe.stages.reduction.write_tracks", lambda *_: pytest.fail("tracked again"))
    assert executed(ready(table, tmp_path / "whole")).complete
    monkeypatch.undo()
    (tmp_path / "whole/tracks/part-00001.parquet").unlink()
    assert executed(ready(table, tmp_path / "whole")).complete
    assert (tmp_path / "whole/tracks/part-00001.parquet").is_file()
    assert digests(tmp_path / "whole") == whole
