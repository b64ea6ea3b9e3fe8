"""Every row of a run gets what the classifier says of it, or its reason; the same bytes however often the work was stopped."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.kills import Bomb, KilledError
from fixtures.runs import Here
from rich.console import Console

from normpipe.classify.arms import Arm
from normpipe.classify.labels import Task
from normpipe.engine.dask import DaskExecutor
from normpipe.engine.progress import Progress
from normpipe.engine.serial import SerialExecutor
from normpipe.engine.summary import read_summary
from normpipe.errors import IncompatibleRunError, ModelUnavailableError, NormpipeError, UsageError
from normpipe.records import Reason

from .networks.tiny import SPACES, torch
from .pair_shards import failed, pair, table
from .predicted import SIDE, digests, predict, shards, write_files, write_finished
from .trained import write_classifier

from normpipe.classify.feed import Feed, Share  # isort: skip
from normpipe.classify.losses import scores  # isort: skip
from normpipe.classify.predictor import Predictor, seen  # isort: skip
from normpipe.classify.prediction_run import plan_predictions, run_predictions  # isort: skip
from normpipe.classify.reader import BatchReader  # isort: skip
from normpipe.classify.saved import WEIGHTS_FILE, load_classifier  # isort: skip
from normpipe.classify.shards import open_shards  # isort: skip

from safetensors.torch import load_file, save_file  # isort: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifier") / "model")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_finished(tmp_path_factory.mktemp("run") / "out", shards())


@pytest.fixture(scope="module")
def whole(classifier, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    assert predict(classifier, run, out).complete
    return out


def predicted(out):
    return [row for part in sorted((out / "predictions").iterdir()) for row in pq.read_table(part).to_pylist()]


def test_every_row_of_the_run_is_there_in_its_place(whole, run):
    for part in sorted((run / "shards").iterdir()):
        rows, pairs = pq.read_table(whole / "predictions" / part.name), pq.read_table(part)
        for name in ("sample_id", "face_index", "dataset", "subject", "split", "status", "reason"):
            assert rows[name].equals(pairs[name])


def test_a_row_without_a_pair_has_its_reason_and_no_score(whole):
    rows = predicted(whole)
    assert sum(row["status"] == "failed" for row in rows) == 4
    for row in rows:
        assert (row["reason"] == "no_face") == (row["status"] == "failed")
        for name in SPACES[Task.AU].names:
            assert (row[name] is None) == (row["status"] == "failed")


@pytest.mark.parametrize("arm", list(Arm))
def test_scores_are_those_of_the_network_on_what_the_arm_sees(arm, run, tmp_path):
    folder = write_classifier(tmp_path / "model", arm=arm)
    predict(folder, run, tmp_path / "out")
    network, saved = load_classifier(folder)
    index = open_shards([str(run)], arm)
    pictures = BatchReader(index.places, Feed(arm=arm, size=saved.size, batch=len(index)), Share()).read(0, 0).pictures
    with torch.inference_mode():
        expected = scores(Task.AU, network(pictures.float() / 127.5 - 1).logits).numpy()
    rows = [row for row in predicted(tmp_path / "out") if row["status"] == "ok"]
    found = np.array([[row[name] for name in saved.space.names] for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(np.unique(found, axis=0)) > 10


@pytest.mark.parametrize(
    ("task", "low", "high"), [(Task.EMOTION, 0, 1), (Task.AU_INTENSITY, 0, 5), (Task.VALENCE_AROUSAL, -1, 1)]
)
def test_scores_are_in_the_units_of_their_task(task, low, high, run, tmp_path):
    predict(write_classifier(tmp_path / "model", task=task), run, tmp_path / "out")
    names = SPACES[task].names
    rows = [row for row in predicted(tmp_path / "out") if row["status"] == "ok"]
    found = np.array([[row[name] for name in names] for row in rows])
    assert found.min() > low
    assert found.max() < high
    assert ("emotion" in rows[0]) == (task is Task.EMOTION)
    if task is Task.EMOTION:
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        assert [row["emotion"] for row in rows] == [names[place] for place in found.argmax(axis=1)]


@pytest.mark.parametrize("suffix", [".jpeg", ".png"])
@pytest.mark.parametrize(("side", "size"), [(64, 64), (64, 48), (64, 32), (65, 32), (100, 31), (64, 96)])
def test_pictures_are_seen_as_in_training(suffix, side, size, tmp_path):
    noise = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8), (side, side))
    content = cv2.imencode(suffix, noise)[1]
    row = {**pair(0), "original": {"bytes": content.tobytes(), "path": None}}
    pq.write_table(table([row]), tmp_path / "rows.parquet")
    index = open_shards([str(tmp_path / "rows.parquet")], Arm.ORIGINAL)
    feed = Feed(arm=Arm.ORIGINAL, size=size, batch=1)
    expected = BatchReader(index.places, feed, Share()).read(0, 0).pictures[0, 0]
    np.testing.assert_array_equal(seen(content.ravel(), side, size), expected)


def test_a_samples_scores_do_not_depend_on_those_beside_it(classifier):
    predictor = Predictor(classifier)
    samples = list(np.random.default_rng(0).integers(0, 256, (5, 2, 3, 32, 32), np.uint8))
    together = predictor.scores(samples)
    apart = predictor.scores([samples[0], None, samples[2], None, None])
    np.testing.assert_array_equal(apart[[0, 2]], together[[0, 2]])


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (b"", "cannot be decoded"),
        (b"\xff\xd8\xff no picture", "cannot be decoded"),
        (cv2.imencode(".png", np.zeros((40, 30, 3), np.uint8))[1].tobytes(), "has 30 x 40 pixels, not 64 x 64"),
    ],
)
def test_a_picture_that_cannot_be_read_is_its_rows_reason(picture, why, classifier, whole, tmp_path):
    parts = shards()
    parts[1][5] = {**parts[1][5], "normalized": {"bytes": picture, "path": None}}
    summary = predict(classifier, write_finished(tmp_path / "run", parts), tmp_path / "out")
    assert summary.complete
    assert summary.failed == {Reason.NO_FACE: 4, Reason.UNREADABLE: 1}
    rows, before = predicted(tmp_path / "out"), predicted(whole)
    assert rows[16]["detail"] == f"its normalized picture {why}"
    assert rows[16]["AU01"] is None
    assert rows[:16] + rows[17:] == before[:16] + before[17:]


def test_files_of_another_origin_are_said_the_same_of(classifier, whole, tmp_path):
    release = write_files(tmp_path / "release", shards())
    assert predict(classifier, release, tmp_path / "out").complete
    rows, before = predicted(tmp_path / "out"), predicted(whole)
    names = SPACES[Task.AU].names
    assert [{**row, **dict.fromkeys(names)} for row in rows] == [{**row, **dict.fromkeys(names)} for row in before]
    found, expected = (np.array([[row[name] or 0 for name in names] for row in each]) for each in (rows, before))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # row groups of four: a row has another place in its batch
    assert read_summary(tmp_path / "out").failed == {Reason.NO_FACE: 4}


def test_of_a_release_of_few_columns_every_row_is_there(tmp_path):
    """Neither the outcome nor whose picture it is; one is damaged, one is missing."""
    rows = [pair(number, SIDE) for number in range(6)]
    rows[2]["normalized"] = {"bytes": rows[2]["normalized"]["bytes"][:50], "path": None}
    rows[4]["normalized"] = None
    lacking = ["original", "face_index", "dataset", "subject", "split", "status", "reason", "detail"]
    release = write_files(tmp_path / "release", [rows], without=lacking)
    summary = predict(write_classifier(tmp_path / "model", arm=Arm.NORMALIZED), release, tmp_path / "out")
    assert summary.failed == {Reason.UNREADABLE: 2}
    found = predicted(tmp_path / "out")
    assert [row["sample_id"] for row in found] == [row["sample_id"] for row in rows]
    assert [row["status"] for row in found] == ["ok", "ok", "failed", "ok", "failed", "ok"]
    assert found[2]["detail"] == "its normalized picture cannot be decoded"
    assert {row[name] for row in found for name in ("face_index", "dataset", "subject", "split")} == {None}


def test_a_reason_of_another_version_is_told(classifier, tmp_path):
    release = write_files(tmp_path / "release", [[pair(0, SIDE), {**failed(1), "reason": "bored"}]])
    with pytest.raises(
        UsageError, match=r"^release/data/train-00000\.parquet: a row failed for a reason that this version does"
    ):
        attempt(classifier, release, tmp_path / "out")


def test_a_damaged_row_group_is_told_and_nothing_of_its_part_is_left(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    path = release / "data" / "train-00001.parquet"
    file = pq.ParquetFile(path)
    names = [column.path for column in file.schema]
    column = file.metadata.row_group(1).column(names.index("sample_id"))
    with path.open("r+b") as content:
        content.seek(column.data_page_offset)
        content.write(b"\xff" * column.total_compressed_size)
    with pytest.raises(UsageError, match=r"^release/data/train-00001\.parquet: damaged; fetch the file again"):
        attempt(classifier, release, tmp_path / "out", 1)
    assert not list((tmp_path / "out" / "predictions").iterdir())


def attempt(classifier, source, out, index=0):
    """Do one part, and let the error through that an executor would make a pending part of."""
    (out / "predictions").mkdir(parents=True)
    planned = plan_predictions(str(classifier), str(source), out)
    planned.task.prepare()
    planned.task.run(planned.plan.shards[index], lambda *_: None, {})


def test_a_frame_that_kills_its_process_is_left_out_and_keeps_its_rows(classifier, run, whole, tmp_path):
    assert predict(classifier, run, tmp_path / "out", Here({5: Reason.POISON})).complete
    rows, before = predicted(tmp_path / "out"), predicted(whole)
    assert [row["reason"] for row in rows[5:7]] == ["poison", "poison"]  # both faces of the frame
    assert rows[:5] + rows[7:] == before[:5] + before[7:]


def test_one_frame_can_be_tried_alone(classifier, run, tmp_path):
    task = plan_predictions(str(classifier), str(run), tmp_path / "out").task
    task.prepare()
    for frame in (0, 3, 5, 25):
        task.probe(frame)
    assert torch.get_num_threads() == 1


def test_of_files_one_row_can_be_tried_alone_and_left_out(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    task = plan_predictions(str(classifier), str(release), tmp_path / "out").task
    task.prepare()
    for row in (0, 10, 11, 26):
        task.probe(row)
    assert predict(classifier, release, tmp_path / "out", Here({12: Reason.POISON})).complete
    assert [place for place, row in enumerate(predicted(tmp_path / "out")) if row["reason"] == "poison"] == [12]


def test_a_run_without_a_single_pair_is_predicted_too(classifier, tmp_path):
    parts = [[failed(number) for number in range(start, min(start + 10, 26))] for start in (0, 10, 20)]
    summary = predict(classifier, write_finished(tmp_path / "run", parts), tmp_path / "out")
    assert (summary.complete, summary.rows, summary.ok) == (True, 26, 0)


def test_the_summary_is_that_of_a_run(whole):
    summary = read_summary(whole)
    assert (summary.shards, summary.frames, summary.rows, summary.ok) == (3, 26, 27, 23)
    assert (whole / "run.json").is_file()
    assert (whole / "classifier.json").is_file()


def test_a_killed_prediction_goes_on_where_it_was(classifier, run, whole, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KilledError), Bomb(after=14) as bomb:
        predict(classifier, run, out)
    assert bomb.burst
    done = len(list((out / "predictions").glob("part-*.parquet")))
    assert 0 < done < 3
    assert predict(classifier, run, out).complete
    assert digests(out) == digests(whole)


def test_a_killed_prediction_of_files_goes_on_where_it_was_also_where_they_were_moved(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    assert predict(classifier, release, tmp_path / "whole").complete
    with pytest.raises(KilledError), Bomb(after=14):
        predict(classifier, release, tmp_path / "out")
    assert 0 < len(list((tmp_path / "out" / "predictions").glob("part-*.parquet"))) < 3
    assert predict(classifier, f"file://{release.rename(tmp_path / 'moved')}", tmp_path / "out").complete
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_predictions_of_other_files_stay(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    assert predict(classifier, release, tmp_path / "out").complete
    before = digests(tmp_path / "out")
    write_files(release, [*shards(), [pair(40, SIDE)]])
    with pytest.raises(IncompatibleRunError, match=r"^out was started with other settings or input \(shards: other content"):
        predict(classifier, release, tmp_path / "out")
    assert digests(tmp_path / "out") == before


@pytest.mark.slow
def test_two_workers_write_what_one_writes_of_an_archive(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    assert predict(classifier, release, tmp_path / "whole").complete
    shutil.make_archive(str(tmp_path / "release"), "zip", release)
    url = f"zip://::file://{tmp_path}/release.zip"
    assert predict(classifier, url, tmp_path / "out", DaskExecutor(2, None, 300.0)).complete
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert str(tmp_path) not in (tmp_path / "out" / "plan.json").read_text()


@pytest.mark.slow
def test_a_child_process_writes_the_same(classifier, run, whole, tmp_path):
    assert predict(classifier, run, tmp_path / "out", SerialExecutor()).complete
    assert digests(tmp_path / "out") == digests(whole)


@pytest.mark.slow
def test_two_workers_write_what_one_writes(classifier, run, whole, tmp_path):
    assert predict(classifier, run, tmp_path / "out", DaskExecutor(2, None, 300.0)).complete
    assert digests(tmp_path / "out") == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_after_sigkill_the_same_bytes(victim, classifier, tmp_path):
    """The run, or the process of one of its workers, is killed while shards are being done."""
    parts = [[pair(10 * part + number, SIDE) for number in range(10)] for part in range(40)]
    source, out = write_finished(tmp_path / "run", parts, frames=400), tmp_path / "out"
    predict(classifier, source, tmp_path / "whole")
    command = [sys.executable, "-m", "normpipe", "classify", "predict", *map(str, (classifier, source, out)), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not list((out / "predictions").glob("part-*.parquet")) and time.monotonic() < end:
        time.sleep(0.02)
    assert process.poll() is None
    os.kill(process.pid if victim == "run" else _child(process.pid), signal.SIGKILL)
    code = process.wait(200)
    assert code == (-signal.SIGKILL if victim == "run" else 0)
    if victim == "run":
        assert not read_summary(out).complete
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert read_summary(out).complete
    assert digests(out) == digests(tmp_path / "whole")


def _child(process):
    """A process below that does shards."""
    import psutil

    return next(
        each.pid
        for each in psutil.Process(process).children(recursive=True)
        if "normpipe.engine.child" in " ".join(each.cmdline())
    )


def test_a_worker_with_another_classifier_is_refused(run, tmp_path):
    folder = write_classifier(tmp_path / "model")
    planned = plan_predictions(str(folder), str(run), tmp_path / "out")
    write_classifier(folder, seed=1)
    with pytest.raises(IncompatibleRunError, match="a worker has other files than the plan of: classifier"):
        planned.task.prepare()


def test_a_worker_of_another_environment_is_refused(classifier, run, tmp_path):
    task = plan_predictions(str(classifier), str(run), tmp_path / "out").task
    task.environment = {**task.environment, "torch": "0.1"}
    with pytest.raises(IncompatibleRunError, match=r"a worker's environment differs from the plan's in: torch$"):
        task.prepare()


def test_predictions_of_another_classifier_stay(whole, run, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    with pytest.raises(
        IncompatibleRunError, match=r"^out was started with other settings or input \(classifier: other content"
    ):
        predict(write_classifier(tmp_path / "model", seed=1), run, out)
    assert digests(out) == digests(whole)


def test_an_unfinished_run_is_refused(classifier, tmp_path):
    run = write_finished(tmp_path / "run", shards(), committed=2)
    with pytest.raises(UsageError, match=r"^run: the run is not finished \(2 of 3 shards\)"):
        predict(classifier, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pairs_is_refused(classifier, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match=r"^run: holds no Parquet files; name the OUT of `normpipe run`, or a folder"):
        predict(classifier, tmp_path / "run", tmp_path / "out")


def test_out_is_a_folder_of_its_own(classifier, run):
    with pytest.raises(UsageError, match=r"^OUT is SHARDS itself"):
        predict(classifier, run, run)
    with pytest.raises(UsageError, match=r"^OUT is CLASSIFIER itself"):
        predict(classifier, run, classifier)


def test_out_lies_elsewhere_than_files_are_looked_for(classifier, tmp_path):
    release = write_files(tmp_path / "release", shards())
    with pytest.raises(UsageError, match=r"^OUT lies in SHARDS, where all Parquet files are taken for pairs"):
        predict(classifier, release, release / "predicted")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_that_is_said(classifier, run, tmp_path):
    planned = plan_predictions(str(classifier), str(run), tmp_path / "out", device="cuda")
    with pytest.raises(ModelUnavailableError, match=r"^torch sees no CUDA device; choose --device cpu$"):
        planned.task.prepare()


def test_a_device_is_not_changed_on_the_way(classifier, whole, run, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    planned = plan_predictions(str(classifier), str(run), out, device="cuda")
    with pytest.raises(IncompatibleRunError, match=r"\(environment device: cpu -> cuda\)"):
        run_predictions(planned, Here(), Progress(26, Console(file=io.StringIO())))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_says_what_the_cpu_says(classifier):
    samples = list(np.random.default_rng(0).integers(0, 256, (5, 2, 3, 32, 32), np.uint8))
    found, expected = (Predictor(classifier, device).scores(samples) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_part_that_was_tampered_with_is_refused(classifier, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    part = tmp_path / "run" / "shards" / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(UsageError, match=r"^run: shards/part-00001\.parquet is not the file"):
        predict(classifier, tmp_path / "run", tmp_path / "out")


def test_planning_needs_no_torch(classifier, run, tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from normpipe.classify.prediction_run import plan_predictions\n"
        "plan_predictions(sys.argv[1], sys.argv[2], Path(sys.argv[3]))\n"
        "print({'torch', 'diffusers', 'skimage', 'sklearn'} & set(sys.modules))\n"
    )
    arguments = [str(classifier), str(run), str(tmp_path / "out")]
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_network_whose_numbers_overflow_says_so(tmp_path):
    folder = write_classifier(tmp_path / "model")
    weights = load_file(folder / WEIGHTS_FILE)
    save_file({name: torch.full_like(weight, 3e38) for name, weight in weights.items()}, folder / WEIGHTS_FILE)
    sample = np.zeros((2, 3, 32, 32), np.uint8)
    with pytest.raises(NormpipeError, match=r"^the classifier gives what is no number; train it again, at a lower rate$"):
        Predictor(folder).scores([sample])
