"""The task's side of its contract with the engine: excluded rows, probing, signs of life."""

import os
from functools import partial

import pyarrow.parquet as pq
import pytest
from fixtures.puppets import PuppetEngine, puppet_models, write_clip, write_stills
from fixtures.runs import Here, executed, planned

from normpipe.config import Decode
from normpipe.engine.tasks import Shard
from normpipe.normalizers.protocol import Normalizer
from normpipe.records import Reason
from normpipe.shards.reader import iter_rows
from normpipe.sources.root import Root
from normpipe.stages import pairs_task
from normpipe.stages.decode import content_sha256, decode
from normpipe.stages.pairs_task import AnalyzeTask
from normpipe.stages.pipeline import Models

SCENES = [{"red": (20 + 9 * step, 30, 40)} for step in range(9)]
TRACK = "detect.policy=track"


@pytest.fixture
def clip(tmp_path):
    """Three stills, a clip of six frames."""
    folder = tmp_path / "media"
    folder.mkdir()
    names = write_stills(folder, SCENES[:3])
    write_clip(folder / "clip.png", SCENES[3:])
    table = folder / "table.csv"
    lines = [f"{name},{name}," for name in names] + [f"clip-{frame},clip.png,{frame}" for frame in range(6)]
    table.write_text("\n".join(["sample_id,uri,frame", *lines]) + "\n")
    return table


def ready(table, out, *settings, build=puppet_models):
    return planned(table, out, "shard_size=5", *settings, build=build)


@pytest.mark.parametrize("settings", [(), (TRACK,)], ids=["one phase", "two phases"])
def test_excluded_rows_fail_in_their_place_and_all_others_are_as_ever(clip, tmp_path, settings):
    executed(ready(clip, tmp_path / "whole", *settings))
    excluded = {1: Reason.POISON, 5: Reason.TIMEOUT}
    summary = executed(ready(clip, tmp_path / "out", *settings), Here(excluded))
    assert summary.complete
    whole, rows = list(iter_rows(tmp_path / "whole")), list(iter_rows(tmp_path / "out"))
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in whole]
    for number, (row, untouched) in enumerate(zip(rows, whole, strict=True)):
        if number in excluded:
            assert (row["status"], row["reason"], row["content_sha256"]) == ("failed", excluded[number], None)
            assert row["original"] is None
        else:
            assert row == untouched
    assert summary.failed == {Reason.POISON: 1, Reason.TIMEOUT: 1}


def test_excluded_rows_never_reach_decode(clip, tmp_path, monkeypatch):
    asked = []

    def recording(refs, *rest):
        asked.extend(ref.sample_id for ref in refs)
        return decode(refs, *rest)

    monkeypatch.setattr("normpipe.stages.pipeline.decode", recording)
    executed(ready(clip, tmp_path / "out"), Here({1: Reason.POISON, 5: Reason.POISON}))
    assert asked == ["media-000.png", "media-002.png", "clip-0", "clip-1", "clip-3", "clip-4", "clip-5"]


def test_what_the_analysis_could_not_touch_is_not_touched_again(clip, tmp_path, monkeypatch):
    """A row that hung the analysis would hang the rendering too: it keeps its reason, and its shard is not held for it."""

    class Analyzing(Here):
        def run(self, work, shards, advance, observe=lambda _: None):
            self.excluded = {4: Reason.TIMEOUT} if isinstance(work.task, AnalyzeTask) else {}
            yield from super().run(work, shards, advance)

    asked = []

    def recording(refs, *rest):
        asked.append([ref.sample_id for ref in refs])
        return decode(refs, *rest)

    monkeypatch.setattr("normpipe.stages.pipeline.decode", recording)
    summary = executed(ready(clip, tmp_path / "out", TRACK), Analyzing())
    assert summary.complete
    assert summary.failed == {Reason.TIMEOUT: 1}
    assert not any("clip-1" in refs for refs in asked)


@pytest.mark.parametrize("settings", [(), (TRACK,)], ids=["one phase", "two phases"])
def test_a_probe_goes_through_all_stages_and_writes_nothing(clip, tmp_path, settings):
    class TrapError(Exception):
        pass

    class Trapped:
        fingerprint = "trapped"

        def prepare(self, device):
            pass

        def normalize(self, faces):
            raise TrapError

    def trapped_models(_):
        engine = PuppetEngine()
        normalizer: Normalizer = Trapped()
        return Models(engine, engine, normalizer)

    run = ready(clip, tmp_path / "out", *settings)
    executed(run)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    task = run.task
    task.build, task.fingerprints = trapped_models, {}
    task.prepare()
    with pytest.raises(TrapError):
        task.probe(6)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_probe_sees_its_row_alone(clip, tmp_path, monkeypatch):
    asked = []

    def recording(manifest, *rest, **more):
        asked.append(manifest["sample_id"].to_pylist())
        return iter(())

    run = ready(clip, tmp_path / "out")
    executed(run)
    for name in ("run_stages", "analyze_stages"):
        monkeypatch.setattr(pairs_task, name, recording)
    task = run.task
    task.prepare()
    task.probe(7)
    analyze = AnalyzeTask(task.out, task.root, task.pipeline, task.environment, task.fingerprints, task.build)
    analyze.prepare()
    analyze.probe(2)
    assert asked == [["clip-4"], ["media-002.png"]]


def test_progress_counts_rows_in_order_and_gives_a_sign_of_life_for_each_frame(clip, tmp_path):
    run = ready(clip, tmp_path / "out")
    executed(run)
    told = []
    run.task.prepare()
    result = run.task.run(Shard(0, 0, 5), lambda *counts: told.append(counts), {})
    assert sum(rows for rows, _, _ in told) == 5
    assert (sum(ok for _, ok, _ in told), sum(failed for _, _, failed in told)) == (result.ok, 0)
    assert told.count((0, 0, 0)) >= 2 * 5


def test_hashing_a_huge_file_gives_signs_of_life(tmp_path):
    path = tmp_path / "huge.bin"
    path.touch()
    os.truncate(path, 200 << 20)
    beats = []
    content_sha256(Root(str(tmp_path)), "huge.bin", partial(beats.append, 1))
    assert len(beats) == 3
    assert not list(decode([], Root(str(tmp_path)), Decode()))


def test_the_result_holds_a_digest_of_the_sources_as_they_were_before(clip, tmp_path):
    run = ready(clip, tmp_path / "out")
    executed(run)
    run.task.prepare()
    shard = Shard(0, 0, 5)
    first = run.task.run(shard, lambda *_: None, {}).sources
    assert run.task.run(shard, lambda *_: None, {}).sources == first
    os.utime(clip.parent / "clip.png", (1, 1))
    assert run.task.run(shard, lambda *_: None, {}).sources != first


def test_both_tables_have_the_rows_of_the_shard(clip, tmp_path):
    executed(ready(clip, tmp_path / "out"))
    for folder in ("faces", "shards"):
        assert [pq.read_metadata(tmp_path / f"out/{folder}/part-0000{part}.parquet").num_rows for part in (0, 1)] == [5, 4]
