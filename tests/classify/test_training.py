"""From a training file to classifiers: repeated, killed, resumed, shared among ranks, refused."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.kills import Bomb, KilledError

from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError

from .small_training import ROWS, torch, trained, training, write_people, write_protocol, written

from normpipe.classify.material import read_material  # isort: skip
from normpipe.classify.saved import load_classifier  # isort: skip
from normpipe.classify.scores import Judged, evaluate  # isort: skip

AU = {"task": "au", "labels": ["AU06", "AU12"]}
LNL = {"kind": "lnl", "patch": 1, "widths": [4, 4], "grid": 2, "region_width": 4, "region_dim": 4}
CONVNET = {"kind": "convnet", "patch": 2, "widths": [8, 8], "cells": 1}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people") / "run")


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    return write_protocol(tmp_path_factory.mktemp("protocol"))


@pytest.fixture(scope="module")
def whole(people, protocol, tmp_path_factory):
    """A training that nobody stopped, and what it said."""
    out, said = tmp_path_factory.mktemp("whole") / "out", []
    assert trained(training(people, protocol), out, said) == out / "scores.json"
    return out, said


def content(out):
    """Digests of all that a training leaves, but for its lock."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def weights(out, fold="fold1", name="last"):
    return (out / fold / name / "diffusion_pytorch_model.safetensors").read_bytes()


def curve(out, fold="fold1"):
    return [json.loads(line) for line in (out / fold / "curve.jsonl").read_text().splitlines()]


def test_every_fold_has_two_classifiers_that_say_what_is_written(whole):
    out, _ = whole
    for fold in ("fold1", "fold2"):
        assert {path.name for path in (out / fold).iterdir()} == {
            "best",
            "last",
            "curve.jsonl",
            "predictions.parquet",
            "scores.json",
        }
        for name in ("best", "last"):
            _, saved = load_classifier(out / fold / name)
            assert (saved.arm, saved.size, saved.space.names) == ("both", 16, ("neutral", "happiness"))


def test_predictions_are_of_all_rows_that_were_not_learnt_from(whole, people, protocol):
    out, _ = whole
    material = read_material(training(people, protocol))
    tested = []
    for fold in material.folds.values():
        table = pq.read_table(out / fold.name / "predictions.parquet")
        assert json.loads(table.schema.metadata[b"labels"]) == ["neutral", "happiness"]
        rows = table.to_pylist()
        for side, numbers in (("validation", fold.validation), ("test", fold.test)):
            for name in ("best", "last"):
                own = [row for row in rows if (row["side"], row["weights"]) == (side, name)]
                assert [row["sample_id"] for row in own] == [f"s{number:04d}" for number in numbers]
                assert {row["fold"] for row in own} == {fold.name}
                np.testing.assert_allclose([sum(row["scores"]) for row in own], 1, atol=1e-5)
                assert [row["truth"] for row in own] == material.truth.values[numbers].tolist()
                tested += [row["sample_id"] for row in own if (side, name) == ("test", "last")]
        assert len(rows) == 2 * (len(fold.validation) + len(fold.test))
    assert sorted(tested) == [f"s{number:04d}" for number in range(ROWS)]


def test_scores_are_those_of_the_predictions(whole, people, protocol):
    out, _ = whole
    material = read_material(training(people, protocol))
    fold = material.folds["fold1"]
    rows = pq.read_table(out / "fold1" / "predictions.parquet").to_pylist()
    said = np.array([row["scores"] for row in rows if (row["side"], row["weights"]) == ("test", "best")], np.float32)
    judged = Judged(material.truth.taken(fold.test), material.units[fold.test])
    found = json.loads((out / "fold1" / "scores.json").read_text())
    expected = evaluate(material.protocol.space, [said], judged).scores["f1"].overall.value
    assert found["test"]["best"]["scores"]["f1"]["overall"]["value"] == pytest.approx(expected, abs=1e-6)
    assert found["rows"] == {"train": 24, "validation": 12, "test": 36}
    assert sum(found["experts"]["last"]["input"]) == pytest.approx(1, abs=1e-5)
    together = json.loads((out / "scores.json").read_text())["test"]["best"]
    assert (together["rows"], together["folds"], together["people"]) == (ROWS, ["fold1", "fold2"], 12)
    assert together["scores"]["f1"]["overall"]["low"] <= together["scores"]["f1"]["overall"]["high"]


def test_one_configuration_gives_one_content_and_a_second_call_does_nothing(whole, people, protocol, tmp_path):
    out, said = whole
    again = []
    trained(training(people, protocol), tmp_path / "out", again)
    assert content(tmp_path / "out") == content(out)
    assert again == said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("fold*/**/*") if path.is_file()}
    again.clear()
    trained(training(people, protocol), tmp_path / "out", again)
    assert again == said[-1:], "only the scores over all folds are said again"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_nothing_tells_where_things_lie(whole, people):
    out, said = whole
    texts = [path.read_text() for path in out.rglob("*") if path.suffix in {".json", ".jsonl", ".md"}]
    assert len(texts) > 10
    for text in (*texts, *said):
        assert str(people.parent) not in text
        assert str(out.parent) not in text


@pytest.mark.slow
def test_loader_workers_decide_about_no_byte(whole, people, protocol, tmp_path):
    trained(training(people, protocol, workers=2), tmp_path / "out", fold="fold1")
    found = content(tmp_path / "out")
    readme = {name for name in found if name.endswith("README.md")}  # names the number of workers
    assert {name: found[name] for name in found.keys() - readme} == {
        name: content(whole[0])[name] for name in found.keys() - readme
    }


def test_folds_can_be_trained_one_by_one(whole, people, protocol, tmp_path):
    one = training(people, protocol)
    assert trained(one, tmp_path / "out", fold="fold2") == tmp_path / "out" / "fold2" / "scores.json"
    assert not (tmp_path / "out" / "scores.json").exists()
    trained(one, tmp_path / "out")
    assert content(tmp_path / "out") == content(whole[0])


def killed_at(moment, one, out):
    """Train with a process that dies at its n-th change of a file; whether it did."""
    with Bomb(moment) as bomb, suppress(KilledError):
        trained(one, out, fold="fold1")
    return bomb.burst


def resumed(people, protocol, out, whole):
    trained(training(people, protocol), out, fold="fold1")
    expected = {name: digest for name, digest in content(whole).items() if name != "scores.json" and "fold2" not in name}
    assert content(out) == expected


@pytest.mark.parametrize("moment", [6, 17, 29])
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(people, protocol, whole, tmp_path, moment):
    assert killed_at(moment, training(people, protocol), tmp_path / "out")
    resumed(people, protocol, tmp_path / "out", whole[0])


@pytest.mark.slow
def test_killed_at_any_change_of_a_file_it_goes_on_to_the_same_bytes(people, protocol, whole, tmp_path):
    moment = 0
    while killed_at(moment, training(people, protocol), tmp_path / f"{moment}"):
        resumed(people, protocol, tmp_path / f"{moment}", whole[0])
        moment += 1
    assert moment > 30


def test_what_is_tested_decides_about_no_weight(tmp_path):
    """With all test labels wrong, weights and curve are the same; with wrong validation labels, the last weights are."""
    protocol = write_protocol(tmp_path, kfold=None, splits={"train": ["a"], "validation": ["b"], "test": ["c"]})
    document = protocol.read_text().replace("kfold: null\n", "")
    protocol.write_text(document)
    outs = []
    for number, wrong in enumerate(["", "c", "bc"]):
        run = write_people(tmp_path / str(number) / "run", relabelled(wrong))
        outs.append(tmp_path / str(number) / "out")
        trained(training(run, protocol), outs[-1])
    right, test_wrong, all_wrong = outs
    assert weights(test_wrong, "split", "best") == weights(right, "split", "best")
    assert curve(test_wrong, "split") == curve(right, "split")
    assert weights(all_wrong, "split") == weights(right, "split")
    assert (right / "split" / "scores.json").read_bytes() != (test_wrong / "split" / "scores.json").read_bytes()


def relabelled(wrong):
    """Puts people in three splits; in those named, every emotion is exchanged for the other."""

    def change(row):
        row["split"] = "aaabbc"[int(row["subject"][1:]) % 6]
        if row["split"] in wrong:
            row["emotion"] = {"happiness": "neutral", "neutral": "happiness"}[row["emotion"]]

    return change


def test_the_best_epoch_is_the_first_best_one_on_the_validation_rows(people, protocol, tmp_path):
    from normpipe.classify.training import Lesson

    one = training(people, protocol)
    material = read_material(one)

    def best(values, metric="f1", until=100):
        lines = [json.dumps({"step": 3 * epoch, "epoch": epoch, "validation": v}) for epoch, v in enumerate(values, 1)]
        (tmp_path / "curve.jsonl").write_text("\n".join(['{"step": 1, "epoch": 1, "labels": 9.0}', *lines, '{"st']))
        judged = material.protocol.model_copy(update={"metric": metric})
        own = type(material)(judged, material.shards, material.truth, material.units, material.folds)
        return Lesson(one, own, material.folds["fold1"], tmp_path, None, print).best_epoch(until)

    assert best([0.2, 0.5, 0.4, 0.5]) == 2
    assert best([0.2, 0.5, 0.4, 0.5], until=3) == 1
    assert best([0.2, 0.5, 0.4, 0.5], metric="mae") == 1
    assert best([None, 0.1, None]) == 2
    assert best([None, None]) is None


@pytest.mark.parametrize(
    ("keys", "learnt"),
    [
        ({"objective": {"occurrence": "asymmetric"}}, {**AU, "metric": "auc"}),
        ({"network": LNL}, {**AU, "metric": "f1"}),
        (
            {"arm": "original", "network": {"kind": "norface", "backbone": CONVNET, "experts": 3, "chosen": 1}},
            {"task": "valence_arousal", "labels": ["valence", "arousal"], "metric": "ccc"},
        ),
        ({"arm": "twice", "precision": "bfloat16", "augmentation": None}, {"validation": {"one_in": 0}}),
    ],
    ids=["au", "lnl", "valence", "no validation"],
)
def test_every_task_and_network_is_trained_and_judged(people, tmp_path, keys, learnt):
    protocol = write_protocol(tmp_path, **learnt)
    trained(training(people, protocol, epochs=1, **keys), tmp_path / "out", fold="fold1")
    found = json.loads((tmp_path / "out" / "fold1" / "scores.json").read_text())
    assert found["epochs"] == {"best": 1, "last": 1}
    assert found["test"]["best"]["rows"] == 36
    if keys.get("network") == LNL:
        assert np.sum(found["regions"]["last"]) == pytest.approx(1, abs=1e-5)
        assert np.shape(found["regions"]["last"]) == (2, 2)


@pytest.mark.slow
def test_what_can_be_learnt_is_learnt(people, protocol, tmp_path):
    trained(training(people, protocol, epochs=20, average=0.9, augmentation=None), tmp_path / "out")
    lines = [line for line in curve(tmp_path / "out") if "labels" in line]
    assert np.mean([line["labels"] for line in lines[-9:]]) < 0.5 * np.mean([line["labels"] for line in lines[:9]])
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found["test"]["last"]["scores"]["f1"]["overall"]["value"] > 0.9


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"epochs": 3}, r"^out: was begun otherwise: epochs: 2 -> 3; change that back, or choose another OUT$"),
        ({"network": {"kind": "norface", "backbone": CONVNET}}, r"network.experts: 2 -> 4"),
        ({"protocol_keys": {"kfold.seed": 1}}, r"protocol.kfold.seed: 0 -> 1"),
        ({"arm": "normalized"}, r"arm: both -> normalized"),
    ],
)
def test_another_configuration_is_refused_with_the_keys_that_differ(whole, people, protocol, keys, told):
    before = content(whole[0])
    with pytest.raises(IncompatibleRunError, match=told) as refused:
        trained(training(people, protocol, **keys), whole[0])
    assert "\n" not in str(refused.value)
    assert content(whole[0]) == before


def test_other_data_is_refused_and_the_same_elsewhere_is_not(whole, people, protocol, tmp_path):
    moved = shutil.copytree(people, tmp_path / "elsewhere")
    trained(training(Path(moved), protocol, checkpoint_every=1), whole[0])
    other = write_people(tmp_path / "other", relabelled("ab"))
    with pytest.raises(IncompatibleRunError, match="rows: other content"):
        trained(training(other, protocol), whole[0])


def test_two_trainings_do_not_write_at_once(whole, people, protocol):
    from normpipe.engine.lock import locked

    with locked(whole[0]), pytest.raises(IncompatibleRunError, match="another run is writing there"):
        trained(training(people, protocol), whole[0])


@pytest.mark.parametrize(
    ("keys", "learnt", "told"),
    [
        (
            {},
            {"task": "au", "labels": ["AU01"]},
            r"^small: no row is annotated with au; 72 rows have none of its labels in au_occurrence_01$",
        ),
        (
            {},
            {"datasets": {"bp4d": {}}},
            "^small: no row of the data set bp4d is annotated with emotion; 72 rows are of",
        ),
        ({}, {"absent": "nobody has the lists", "kfold": None}, r"^small: there are no folds: nobody has the lists$"),
        ({}, {"kfold": {"k": 13}}, r"^small: 13 folds of 12 subjects; take more people, or lower kfold.k"),
        ({"network": {"kind": "norface", "backbone": {"kind": "vit", "patch": 32}}}, {}, "pictures"),
        ({"network": {**LNL, "patch": 17}}, {}, r"^size: the network lnl takes no pictures of 16 pixels; choose another size$"),
        ({"data": "nowhere"}, {}, r"^nowhere: no such folder"),
        ({"protocol": "nothing"}, {}, r"^nothing: there is no such protocol"),
        ({"pretrained": "nowhere", "network": {"kind": "norface"}}, {}, r"^weights nowhere: no such folder$"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line_and_leaves_nothing(people, tmp_path, keys, learnt, told):
    protocol = write_protocol(tmp_path, **learnt)
    document = "\n".join(line for line in protocol.read_text().splitlines() if not line.endswith(": null"))
    protocol.write_text(document)
    with pytest.raises(UsageError, match=told) as refused:
        trained(training(**{"data": people, "protocol": protocol, **keys}), tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_labels_that_are_all_alike_are_refused(tmp_path):
    run = write_people(tmp_path / "run", emotion="neutral", au_occurrence_06=0, au_occurrence_12=1)
    for learnt in ({}, {**AU, "metric": "f1"}):
        with pytest.raises(UsageError, match="the rows that fold1 trains on all have the same labels"):
            trained(training(run, write_protocol(tmp_path, **learnt)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_that_is_always_alike_is_told_of(tmp_path):
    run, said = write_people(tmp_path / "run", au_occurrence_06=0), []
    trained(training(run, write_protocol(tmp_path, **AU), epochs=1), tmp_path / "out", said, fold="fold1")
    assert said[1] == "fold1: nothing to learn of AU06: alike in all rows to train on, or unknown"
    assert json.loads((tmp_path / "out" / "fold1" / "scores.json").read_text())["nothing_to_learn"] == ["AU06"]


def test_losses_that_are_no_numbers_end_it_in_one_line(protocol, tmp_path):
    run = write_people(tmp_path / "run", weight=3e38)
    with pytest.raises(NormpipeError, match=r"^fold1: the losses are no numbers at step \d: lower the learning_rate$"):
        trained(training(run, protocol), tmp_path / "out")


def test_a_damaged_checkpoint_is_told_of_in_one_line(people, protocol, tmp_path):
    assert killed_at(25, training(people, protocol), tmp_path / "out")
    last = sorted((tmp_path / "out" / "fold1" / "checkpoints").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(UsageError, match=rf"^checkpoints/{last.name}: damaged; delete it"):
        trained(training(people, protocol), tmp_path / "out")


@pytest.mark.slow
def test_too_little_shared_memory_is_told_in_one_line(people, protocol, tmp_path):
    with pytest.raises(NormpipeError, match=r"^loader workers need \d+ MB of shared memory") as told:
        trained(training(people, protocol, workers=64, batch=200_000, size=1024), tmp_path / "out")
    assert "\n" not in str(told.value)


def test_torch_is_left_as_it_was(whole):
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_board_shows_the_curve(people, protocol, tmp_path):
    pytest.importorskip("tensorboard")
    trained(training(people, protocol, tensorboard=True, epochs=1), tmp_path / "out", fold="fold1")
    assert len(list((tmp_path / "out" / "fold1" / "tensorboard").glob("events*"))) == 1


def test_a_missing_board_is_told_of_before_anything_is_written(people, protocol, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"^tensorboard: the package is missing: pip install 'normpipe\[classify\]'$"):
        trained(training(people, protocol, tensorboard=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Real processes.

LONG = {"epochs": 40, "batch": 23, "checkpoint_every": 1}
"""Batches of 23 rows and of 1: of the second, the second of two ranks has none."""


def command(file, out, ranks=1):
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone", "-m"]
    return [*start, "normpipe", "classify", "train", file, "-o", out, "--fold", "fold1"]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(file, out, ranks=1):
    return subprocess.Popen(command(file, out, ranks), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def wait_for_steps(process, out, steps):
    """Until there is a checkpoint of that step or a later one."""
    until = time.monotonic() + 200
    while not any(int(path.stem) >= steps for path in (out / "fold1" / "checkpoints").glob("[0-9]*.safetensors")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_that_is_killed_goes_on_to_the_same_bytes(people, protocol, tmp_path):
    one = training(people, protocol, workers=1, **LONG)
    file, out = written(one, tmp_path / "training.yaml"), tmp_path / "out"
    trained(one, tmp_path / "whole", fold="fold1")
    for steps in (7, 40):
        process = started(file, out)
        wait_for_steps(process, out, steps)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (out / "fold1" / "scores.json").exists(), "it was in the middle"
    subprocess.run(command(file, out), env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_take_the_steps_of_one(people, tmp_path):
    protocol = write_protocol(tmp_path, **AU, metric="auc")
    one = training(people, protocol, **{**LONG, "epochs": 4}, network={"kind": "norface", "backbone": CONVNET, "chosen": 2})
    trained(one, tmp_path / "alone", fold="fold1")
    file, out = written(one, tmp_path / "training.yaml"), tmp_path / "out"
    subprocess.run(command(file, out, ranks=2), env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    for alone, shared in zip(curve(tmp_path / "alone"), curve(out), strict=True):
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-6)
    said = [
        np.array(pq.read_table(folder / "fold1" / "predictions.parquet")["scores"].to_pylist())
        for folder in (tmp_path / "alone", out)
    ]
    np.testing.assert_allclose(said[1], said[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_rank_ends_the_others_with_one_line_and_the_same_command_goes_on(people, protocol, tmp_path):
    one = training(people, protocol, **LONG)
    file, out = written(one, tmp_path / "training.yaml"), tmp_path / "out"
    subprocess.run(command(file, tmp_path / "whole", 2), env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    process = started(file, out, ranks=2)
    wait_for_steps(process, out, 20)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    _, told = process.communicate(timeout=100)
    own = [line for line in told.splitlines() if line.startswith(("error:", "interrupted"))]
    assert len(own) == 1, told
    assert own[0] in {
        "error: another rank of the training has ended or cannot be reached: see what it says; the same command goes on",
        "interrupted; the same command resumes the training",
    }
    assert not (out / "fold1" / "scores.json").exists(), "it was in the middle"
    subprocess.run(command(file, out, ranks=2), env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert content(out) == content(tmp_path / "whole")


def rank_of(parent, rank):
    """Process id of a rank that torchrun has started."""
    import psutil

    for child in psutil.Process(parent).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child.pid
    raise AssertionError("there is no such rank")
