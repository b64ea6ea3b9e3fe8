import hashlib
import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.faces import noise
from fixtures.normalizers import GreyComposite, grey_models
from fixtures.runs import digests
from rich.console import Console

from normpipe.config import load_pipeline
from normpipe.engine.progress import Progress
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.records import FACES_SCHEMA, PAIRS_SCHEMA, Reason
from normpipe.shards.reader import iter_rows
from normpipe.sources.inputs import manifest_for_input
from normpipe.stages import pipeline as flow
from normpipe.stages.estimate import estimate
from normpipe.stages.pairs_run import build_executor, execute_pairs, plan_pairs

PORTRAITS = ("A000014", "A000022", "A000055", "A000069", "A000109", "A000210")


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """Six portraits, two of them side by side in one more picture, and three files that must fail."""
    folder = tmp_path_factory.mktemp("photos")
    for name in PORTRAITS:
        (folder / f"{name}.jpg").write_bytes((shared / "data/congress-portraits" / f"{name}.jpg").read_bytes())
    both = [cv2.imread(str(folder / f"{name}.jpg")) for name in PORTRAITS[:2]]
    cv2.imwrite(str(folder / "Both.png"), np.concatenate([cv2.resize(one, (225, 275)) for one in both], axis=1))
    cv2.imwrite(str(folder / "Noise.png"), noise(0))
    (folder / "Empty.jpg").write_bytes(b"")
    (folder / "Broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    return folder


def planned(photos, out, *settings):
    manifest, root = manifest_for_input(str(photos))
    return plan_pairs(manifest, root, out, load_pipeline(None, ["shard_size=4", *settings]), grey_models)


def run(photos, out, *settings):
    ready = planned(photos, out, *settings)
    progress = Progress(ready.plan.rows, Console(file=io.StringIO()))
    return execute_pairs(ready, build_executor(ready.task.pipeline, progress), progress)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    return out, run(photos, out)


def test_every_frame_has_its_row_in_manifest_order_whatever_became_of_it(finished):
    out, summary = finished
    rows = {row["sample_id"]: row for row in iter_rows(out)}
    manifest = pq.read_table(out / "manifest.parquet")["sample_id"].to_pylist()
    assert [row["sample_id"] for row in iter_rows(out)] == manifest
    assert rows["Empty.jpg"]["reason"] == Reason.EMPTY_FILE
    assert rows["Noise.png"]["reason"] == Reason.NO_FACE
    assert rows["Broken.jpg"]["status"] == "failed"
    assert rows["A000022.jpg"]["status"] == "ok"
    assert (summary.rows, summary.ok + sum(summary.failed.values()), summary.complete) == (10, 10, True)


def test_a_rendering_that_fails_keeps_its_crop(finished):
    failed = [row for row in iter_rows(finished[0]) if row["reason"] == Reason.NOT_RENDERED]
    assert failed
    for row in failed:
        assert row["original"]["bytes"]
        assert row["normalized"] is None
        assert row["eye_distance"] > 0


def test_both_tables_have_the_same_rows_and_their_schemas(finished):
    out, _ = finished
    for name in ("part-00000.parquet", "part-00001.parquet", "part-00002.parquet"):
        faces, pairs = pq.read_table(out / "faces" / name), pq.read_table(out / "shards" / name)
        assert faces.schema.remove_metadata() == FACES_SCHEMA
        assert pairs.schema.remove_metadata() == PAIRS_SCHEMA
        for column in ("sample_id", "face_index", "box", "yaw", "content_sha256"):
            assert faces[column].to_pylist() == pairs[column].to_pylist()


def test_stored_pictures_are_of_the_configured_size(finished):
    row = next(row for row in iter_rows(finished[0]) if row["status"] == "ok")
    for column in ("original", "normalized"):
        assert cv2.imdecode(np.frombuffer(row[column]["bytes"], np.uint8), cv2.IMREAD_COLOR).shape == (256, 256, 3)


def test_content_digest_is_that_of_the_source_file(finished, photos):
    for row in iter_rows(finished[0], columns=["sample_id", "content_sha256"]):
        assert row["content_sha256"] == hashlib.sha256((photos / row["sample_id"]).read_bytes()).hexdigest()


def test_labels_follow_their_frame_when_a_frame_has_several_faces(photos, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        "sample_id,uri,emotion,au_occurrence_12\nboth,Both.png,anger,1\nnone,Noise.png,fear,0\none,A000022.jpg,sadness,\n"
    )
    manifest, root = manifest_for_input(str(table), flow.Root(str(photos)))
    ready = plan_pairs(manifest, root, tmp_path / "out", load_pipeline(None, ["detect.policy=all"]), grey_models)
    progress = Progress(3, Console(file=io.StringIO()))
    execute_pairs(ready, build_executor(ready.task.pipeline, progress), progress)
    rows = [(r["sample_id"], r["face_index"], r["emotion"], r["au_occurrence_12"]) for r in iter_rows(tmp_path / "out")]
    assert rows == [("both", 0, "anger", 1), ("both", 1, "anger", 1), ("none", None, "fear", 0), ("one", 0, "sadness", None)]


def test_bytes_do_not_depend_on_the_micro_batches(finished, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "MICRO_BATCH_FRAMES", 3)
    monkeypatch.setattr(flow, "MICRO_BATCH_PIXELS", 70_000)
    run(photos, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(finished[0])


def test_two_dask_workers_write_the_bytes_of_the_serial_run(finished, photos, tmp_path):
    run(photos, tmp_path / "out", "execution.workers=2")
    assert digests(tmp_path / "out") == digests(finished[0])


def test_the_run_folder_names_no_place_on_this_machine(finished, photos):
    out, _ = finished
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(photos).encode() not in content
            assert str(out.parent).encode() not in content


def test_a_run_can_move_and_goes_on_from_sources_that_moved_too(finished, photos, tmp_path):
    moved_photos, moved_out = photos.rename(tmp_path / "photos"), finished[0].rename(tmp_path / "out")
    try:
        assert run(moved_photos, moved_out).complete
    finally:
        moved_photos.rename(photos)
        moved_out.rename(finished[0])


@pytest.mark.parametrize(
    "setting", ["encode.quality=80", "detect.policy=all", "limit=3", "shard_size=5", "seed=1", "normalize.detail=0.25"]
)
def test_another_configuration_refuses_to_resume_and_names_the_key(finished, photos, setting):
    with pytest.raises(IncompatibleRunError, match=rf"\({setting.partition('=')[0]}: "):
        run(photos, finished[0], setting)


def test_a_plan_under_which_nothing_was_committed_binds_nobody(photos, tmp_path):
    class Broken(GreyComposite):
        def prepare(self, device):
            raise UsageError("no weights")

    ready = planned(photos, tmp_path / "out")
    ready.task.build = lambda pipeline: replace(grey_models(pipeline), normalizer=Broken())
    ready.task.fingerprints = {}
    progress = Progress(ready.plan.rows, Console(file=io.StringIO()))
    with pytest.raises(UsageError, match="no weights"):
        execute_pairs(ready, build_executor(ready.task.pipeline, progress), progress)
    assert run(photos, tmp_path / "out", "encode.quality=80").complete


def test_another_input_refuses_to_resume(finished, photos, tmp_path):
    (tmp_path / "A000014.jpg").write_bytes((photos / "A000014.jpg").read_bytes())
    with pytest.raises(IncompatibleRunError, match="manifest: "):
        run(tmp_path, finished[0])


def test_where_the_work_is_done_is_no_part_of_the_fingerprint(photos, tmp_path):
    digest = planned(photos, tmp_path).plan.fingerprint.digest
    assert planned(photos, tmp_path / "x", "execution.workers=7").plan.fingerprint.digest == digest


def test_the_identity_photo_counts_by_its_bytes_and_not_by_its_place(photos, tmp_path):
    def digest(path):
        return planned(photos, tmp_path, f"normalize.identity={path}").plan.fingerprint.digest

    first, second = tmp_path / "a.jpg", tmp_path / "b.jpg"
    first.write_bytes(b"1")
    second.write_bytes(b"1")
    assert digest(first) == digest(second)
    second.write_bytes(b"2")
    assert digest(first) != digest(second)
    with pytest.raises(UsageError, match=r"--identity: cannot read the photo none\.jpg"):
        digest(tmp_path / "none.jpg")


def test_a_worker_of_another_environment_refuses(photos, tmp_path):
    task = planned(photos, tmp_path).task
    task.environment = {**task.environment, "numpy": "0.1"}
    with pytest.raises(IncompatibleRunError, match="differs from the plan's in: numpy"):
        task.prepare()


def test_a_worker_with_other_files_of_a_model_refuses(photos, tmp_path):
    task = planned(photos, tmp_path).task
    task.fingerprints = {**task.fingerprints, "normalizer": "of yesterday"}
    with pytest.raises(IncompatibleRunError, match="a worker has other files than the plan of: normalizer"):
        task.prepare()


def test_repeated_ids_are_refused(photos, tmp_path):
    table = tmp_path / "twice.csv"
    table.write_text("sample_id,uri\na,A000014.jpg\nb,A000022.jpg\na,A000055.jpg\n")
    manifest, root = manifest_for_input(str(table), flow.Root(str(photos)))
    with pytest.raises(UsageError, match="sample_id"):
        plan_pairs(manifest, root, tmp_path / "out", load_pipeline(None), grey_models)


def test_limit_takes_the_first_rows(photos, tmp_path):
    summary = run(photos, tmp_path / "out", "limit=5")
    assert (summary.frames, summary.shards) == (5, 2)


def test_an_estimate_writes_nothing(photos, tmp_path):
    ready = planned(photos, tmp_path / "out", "limit=5")
    found = estimate(ready)
    assert not (tmp_path / "out").exists()
    assert (found.rows, found.shards, found.pending, found.sampled) == (5, 2, 2, 5)
    assert found.seconds > 0
    size = sum(path.stat().st_size for path in run_and_list(photos, tmp_path / "out"))
    assert 0.5 < found.size / size < 2


def run_and_list(photos, out):
    run(photos, out, "limit=5")
    return [path for folder in ("faces", "shards") for path in (out / folder).iterdir()]


def test_seconds_are_told_by_stage(finished):
    document = json.loads((finished[0] / "run.json").read_text())
    stages = {"decode", "detect", "align", "normalize", "quality", "encode", "tables", "write"}
    assert set(document["seconds_by_stage"]) == stages
    assert all(seconds >= 0 for seconds in document["seconds_by_stage"].values())
