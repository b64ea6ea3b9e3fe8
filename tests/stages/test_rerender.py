"""Rendering from the faces of a finished run: the bytes of a whole run, and nothing is detected."""

import json

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.normalizers import GreyComposite, grey_models
from fixtures.puppets import PuppetEngine, puppet_models, write_clip, write_stills
from fixtures.runs import Here, digests, executed, planned, run

from normpipe.config import Pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.records import Reason
from normpipe.shards.reader import iter_rows
from normpipe.stages import pairs_run
from normpipe.stages.estimate import estimate
from normpipe.stages.pipeline import Models
from normpipe.stages.rerender import analysis_fingerprint


class Inverted(GreyComposite):
    """Another strength of the same thing."""

    fingerprint = "inverted/1"

    def normalize(self, faces):
        return [255 - image if isinstance(image, np.ndarray) else image for image in super().normalize(faces)]


def inverted_models(pipeline):
    models = grey_models(pipeline)
    return Models(models.detector, models.landmarker, Inverted())


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """Four portraits, two of them in one picture too, noise, an empty file and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    names = ("A000014", "A000022", "A000055", "A000069")
    for name in names:
        (folder / f"{name}.jpg").write_bytes((shared / "data/congress-portraits" / f"{name}.jpg").read_bytes())
    both = [cv2.imread(str(folder / f"{name}.jpg")) for name in names[:2]]
    cv2.imwrite(str(folder / "Both.png"), np.concatenate([cv2.resize(one, (225, 275)) for one in both], axis=1))
    cv2.imwrite(str(folder / "Noise.png"), noise(0))
    (folder / "Empty.jpg").write_bytes(b"")
    (folder / "Broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    return folder


@pytest.fixture(scope="module")
def analyzed(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("analyzed") / "run"
    run(photos, out, "detect.policy=all", "shard_size=3")
    return out


def test_bytes_and_fingerprint_are_those_of_a_whole_run(photos, analyzed, tmp_path):
    how = ("detect.policy=all", "shard_size=5", "encode.quality=80", "size=128")
    run(photos, tmp_path / "whole", *how, build=inverted_models)
    again = run(photos, tmp_path / "again", *how, build=inverted_models, faces=analyzed)
    assert again.complete
    assert digests(tmp_path / "again") == digests(tmp_path / "whole")
    plans = [json.loads((tmp_path / name / "plan.json").read_text())["fingerprint"] for name in ("whole", "again")]
    assert plans[0] == plans[1]


def test_no_detector_and_no_landmarker_is_called(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    write_stills(folder, [{"red": (30 + 9 * step, 20, 60)} for step in range(6)])
    run(folder, tmp_path / "run", build=puppet_models)
    engine = PuppetEngine()
    how = {"build": lambda _: Models(engine, engine, Inverted()), "faces": tmp_path / "run"}
    assert run(folder, tmp_path / "again", "quality.remeasure=false", **how).ok == 6
    assert (engine.detected, engine.placed) == (0, 0)
    assert run(folder, tmp_path / "measured", **how).ok == 6
    assert (engine.detected, engine.placed) == (0, 6)  # the rendering, measured again


def test_an_interrupted_one_is_taken_up_by_a_whole_run_and_the_other_way_round(photos, analyzed, tmp_path):
    how = ("detect.policy=all", "shard_size=2", "encode.quality=80")

    class Stops(Here):
        def run(self, work, shards, advance, observe=lambda _: None):
            yield from super().run(work, shards[:2], advance)

    assert not executed(planned(photos, tmp_path / "out", *how, faces=analyzed), Stops()).complete
    assert run(photos, tmp_path / "out", *how).complete
    run(photos, tmp_path / "whole", *how)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_photo_that_is_not_the_analyzed_one_fails_its_row(photos, analyzed, tmp_path):
    copy = tmp_path / "photos"
    copy.mkdir()
    for path in photos.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "A000022.jpg").write_bytes((photos / "A000055.jpg").read_bytes())
    ready = planned(copy, tmp_path / "out", "detect.policy=all", "encode.quality=80", faces=analyzed)
    summary = executed(ready, accept_failures=True)
    assert summary.complete
    rows = {row["sample_id"]: row for row in iter_rows(tmp_path / "out")}
    assert rows["A000022.jpg"]["reason"] == Reason.CHANGED
    assert rows["A000022.jpg"]["original"] is None
    assert rows["A000055.jpg"]["status"] == "ok"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("detect.policy=largest", "detect.policy"),
        ("detect.min_score=0.6", "detect.min_score"),
        ("decode.max_pixels=1000000", "decode.max_pixels"),
        ("limit=2", "manifest"),
    ],
)
def test_faces_found_in_another_way_are_refused_and_the_difference_is_named(photos, analyzed, tmp_path, setting, named):
    with pytest.raises(IncompatibleRunError, match=rf"found in another way \({named}"):
        planned(photos, tmp_path / "out", "detect.policy=all", setting, faces=analyzed)
    assert not (tmp_path / "out").exists()


def test_other_models_are_refused(photos, analyzed, tmp_path):
    with pytest.raises(IncompatibleRunError, match="detector"):
        planned(photos, tmp_path / "out", "detect.policy=all", faces=analyzed, build=puppet_models)


def test_another_algorithm_or_environment_is_refused(photos, analyzed, tmp_path, monkeypatch):
    here = pairs_run.environment
    monkeypatch.setitem(pairs_run.ALGORITHM_VERSIONS, "detect", 99)
    monkeypatch.setattr(pairs_run, "environment", lambda pipeline: {**here(pipeline), "opencv-python": "0.1"})
    with pytest.raises(IncompatibleRunError, match=r"detect.*opencv-python"):
        planned(photos, tmp_path / "out", "detect.policy=all", faces=analyzed)
    monkeypatch.undo()
    monkeypatch.setitem(pairs_run.ALGORITHM_VERSIONS, "encode", 99)  # how pictures are stored does not change the faces
    planned(photos, tmp_path / "out", "detect.policy=all", faces=analyzed)


def test_a_run_that_is_not_complete_is_refused(photos, tmp_path):
    class Stops(Here):
        def run(self, work, shards, advance, observe=lambda _: None):
            yield from super().run(work, shards[:1], advance)

    executed(planned(photos, tmp_path / "run", "shard_size=4"), Stops())
    with pytest.raises(IncompatibleRunError, match=r"run is not complete \(1 of 2 shards\)"):
        planned(photos, tmp_path / "out", faces=tmp_path / "run")


def test_faces_that_are_not_those_of_the_journal_are_refused(photos, tmp_path):
    run(photos, tmp_path / "run", "limit=2")
    part = tmp_path / "run/faces/part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[200] ^= 1
    part.write_bytes(content)
    with pytest.raises(IncompatibleRunError, match=r"faces/part-00000.parquet of run is not the file"):
        planned(photos, tmp_path / "out", "limit=2", faces=tmp_path / "run")


def test_what_is_no_run_and_out_itself_are_refused(photos, analyzed, tmp_path):
    with pytest.raises(UsageError, match="not a run's folder"):
        planned(photos, tmp_path / "out", faces=photos)
    with pytest.raises(UsageError, match="--faces is OUT itself"):
        planned(photos, analyzed, "detect.policy=all", faces=analyzed)


def test_tracked_faces_are_rendered_again_as_they_were_smoothed(tmp_path):
    write_clip(tmp_path / "clip.png", [{"red": (30 + 9 * step % 7, 20, 60), "blue": (200, 30, 30)} for step in range(12)])
    table = tmp_path / "table.csv"
    table.write_text("sample_id,uri,frame,subject\n" + "".join(f"{n:02d},clip.png,{n},anna\n" for n in range(12)))
    how = ("detect.policy=track", "detect.smoothing=2", "normalize.own_neutral=true")
    run(table, tmp_path / "run", *how, "shard_size=5", build=puppet_models)
    run(table, tmp_path / "whole", *how, "shard_size=4", "encode.quality=80", build=puppet_models)
    run(table, tmp_path / "again", *how, "shard_size=4", "encode.quality=80", build=puppet_models, faces=tmp_path / "run")
    assert digests(tmp_path / "again") == digests(tmp_path / "whole")
    plans = [json.loads((tmp_path / name / "plan.json").read_text())["fingerprint_parts"] for name in ("whole", "again")]
    assert plans[0] == plans[1]
    assert {"reduced.tracks", "reduced.neutrals"} <= set(plans[0])


def test_an_estimate_uses_the_faces_and_writes_nothing(photos, analyzed, tmp_path):
    found = estimate(planned(photos, tmp_path / "out", "detect.policy=all", faces=analyzed))
    assert (found.rows, found.sampled) == (8, 8)
    assert not (tmp_path / "out").exists()


def test_libraries_that_only_draw_do_not_change_how_faces_were_found():
    found = {"manifest": "1", "environment.numpy": "2.2"}
    one, other = (Fingerprint({**found, "environment.torch": version}) for version in ("absent", "2.13"))
    assert not analysis_fingerprint(one, Pipeline()).differences(analysis_fingerprint(other, Pipeline()))
