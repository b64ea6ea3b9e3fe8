"""Ablations: the grid, its cells one by one or in all, floors, and the figures and tables that come of it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from normpipe.cli.classify import classify
from normpipe.errors import IncompatibleRunError, UsageError

from .small_training import training, write_people, write_protocol, written

pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")
pytest.importorskip("skimage", reason="the package scikit-image is not installed")
pytest.importorskip("matplotlib", reason="the package matplotlib is not installed")

from normpipe.classify.ablation import load_ablation  # isort: skip
from normpipe.classify.ablation_page import tables  # isort: skip
from normpipe.classify.ablation_plots import write_plots  # isort: skip
from normpipe.classify.ablation_run import compare, compared, pending, train_cells  # isort: skip
from normpipe.classify.session import Means  # isort: skip

LNL = '{"kind": "lnl", "patch": 1, "widths": [4, 4], "grid": 2, "region_width": 4, "region_dim": 4}'
ARMS = ["original", "normalized", "both", "twice"]
FEW = {"variants": {"both": {"arm": "both"}, "twice": {"arm": "twice"}}, "contrasts": [["both", "twice"]]}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablated")
    return written(training(write_people(folder / "run"), write_protocol(folder), epochs=1), folder / "small.yaml")


@pytest.fixture
def few(tmp_path):
    path = tmp_path / "variants.yaml"
    path.write_text(yaml.safe_dump(FEW))
    return path


def means(said=None):
    return Means("cpu", (said if said is not None else []).append)


def run(grid, out, said=None):
    found = compared(grid)
    train_cells(grid, pending(grid, out), out, means(said))
    return compare(found, out, means(said))


def content(out):
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    """An ablation of two variants with two seeds, and what it said."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "variants.yaml").write_text(yaml.safe_dump(FEW))
    said = []
    grid = load_ablation(config, [], 2, folder / "variants.yaml", floors=True)
    assert run(grid, folder / "out", said) == folder / "out" / "ablation.md"
    return folder / "out", said


def test_a_norface_training_is_ablated_by_arms_and_mixtures(config):
    grid = load_ablation(config, [], 3, None, floors=True)
    assert list(grid.variants) == [*ARMS, "both-no-input-mixture", "both-no-output-mixture", "both-no-mixtures"]
    assert list(grid.floors) == [f"floor-{arm}" for arm in ARMS]
    assert ("both", "twice") in grid.contrasts
    assert ("floor-both", "floor-twice") in grid.contrasts
    assert {("both", "both-no-mixtures"), ("both", "floor-both")} <= set(grid.contrasts)
    without = grid.variants["both-no-mixtures"].training
    assert (without.arm, without.network.input_mixture, without.network.output_mixture) == ("both", False, False)
    assert [each.seed for each in grid.variants["twice"].trainings.values()] == [0, 1, 2]
    assert len(list(grid.cells())) == 21


def test_a_network_without_mixtures_is_ablated_by_arms_alone(config):
    grid = load_ablation(config, [f"network={LNL}", "seed=5"], 2, None, floors=False)
    assert list(grid.variants) == ARMS
    assert not grid.floors
    assert {seed for _, _, seed in grid.cells()} == {5, 6}


def test_the_page_has_every_variant_floor_and_contrast(done):
    out, _ = done
    page = (out / "ablation.md").read_text()
    for name in ("both", "twice", "floor-both", "floor-twice"):
        assert f"| {name} |" in page
    assert "| both | twice |" in page
    assert "| floor-both | floor-twice |" in page
    assert {path.name for path in (out / "plots").iterdir()} == {"scores.svg", "contrasts.svg", "curves.svg", "confusion.svg"}


def test_the_document_has_what_each_seed_gave_and_what_the_mean_is(done):
    document = json.loads((done[0] / "ablation.json").read_bytes())
    both = document["variants"]["both"]
    value = both["evaluation"]["scores"]["f1"]["overall"]["value"]
    assert np.mean(both["by_seed"]) == pytest.approx(value, abs=1e-5)
    assert len(both["curve"]) == 1
    assert both["parameters"] == document["variants"]["twice"]["parameters"]
    assert np.sum(both["experts"]["input"]) == pytest.approx(1, abs=1e-5)
    difference = document["contrasts"][0]["scores"]["f1"]["overall"]
    other = document["variants"]["twice"]["evaluation"]["scores"]["f1"]["overall"]["value"]
    assert difference["value"] == pytest.approx(value - other, abs=1e-5)
    assert 0 < document["contrasts"][0]["p"]["f1"] <= document["contrasts"][0]["holm"] <= 1


def test_tables_and_plots_are_the_same_from_the_file(done, tmp_path):
    """Keys of the file are sorted: rows and labels must not follow them."""
    out, _ = done
    document = json.loads((out / "ablation.json").read_bytes())
    assert tables(document) == (out / "ablation.md").read_text()
    write_plots(document, tmp_path)
    assert content(tmp_path / "plots") == content(out / "plots")


def test_the_floor_reads_stripes(done):
    """Gradients tell lying stripes from standing ones, so a floor that reads its rows rightly makes no mistake."""
    document = json.loads((done[0] / "ablation.json").read_bytes())
    assert document["floors"]["floor-both"]["evaluation"]["scores"]["f1"]["overall"]["value"] == 1


def test_again_nothing_is_trained_and_the_bytes_are_the_same(done, config):
    out, _ = done
    before, said = content(out), []
    run(load_ablation(config, [], 2, out.parent / "variants.yaml", floors=True), out, said)
    assert content(out) == before
    assert said == []


@pytest.mark.slow
@pytest.mark.long
def test_cells_are_trained_one_by_one_and_in_any_order(done, config, few, tmp_path):
    grid = load_ablation(config, [], 2, few, floors=True)
    for cell in reversed(pending(grid, tmp_path / "out")):
        train_cells(grid, [cell], tmp_path / "out", means())
    assert pending(grid, tmp_path / "out") == []
    compare(compared(grid), tmp_path / "out", means())
    assert content(tmp_path / "out") == content(done[0])


def test_an_unknown_cell_is_told_with_those_that_there_are(config, few, tmp_path):
    grid = load_ablation(config, [], 1, few, floors=False)
    with pytest.raises(UsageError, match=r"--cell both/seed-7: the grid has both/seed-0, twice/seed-0"):
        train_cells(grid, ["both/seed-7"], tmp_path / "out", means())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"variants": {}}, "variants: "),
        ({"variants": {"a b": {}}}, "variants.*a b"),
        ({"variants": {"floor-a": {}}}, "names that begin with floor- are those of floors"),
        ({"variants": {"a": {"seed": 1}}}, "seed is what every variant is trained with several of"),
        ({"variants": {"a": {}}, "contrasts": [["a", "b"]]}, "'b' is no variant; there are a"),
        ({"variants": {"a": {"arms": "both"}}}, "variant a: --set arms"),
        (
            {"variants": {"a": {}, "b": {"protocol_keys": {"kfold.seed": 1}}}},
            "variant b: its protocol is another than",
        ),
    ],
)
def test_a_wrong_file_of_variants_is_refused(config, tmp_path, document, message):
    path = tmp_path / "variants.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UsageError, match=message):
        load_ablation(config, [], 1, path, floors=True)


def test_variants_on_other_rows_are_refused(config, tmp_path):
    """One of the two data sets lacks a person's rows."""

    def without_pair(row):
        if row["subject"] == "p03":
            row.update(status="failed", reason="no_face", normalized=None, original=None)

    fewer = write_people(tmp_path / "fewer", without_pair)
    path = tmp_path / "variants.yaml"
    path.write_text(yaml.safe_dump({"variants": {"all": {}, "fewer": {"data": [str(fewer)]}}}))
    with pytest.raises(
        UsageError, match=r"variant fewer: fold\d tests other rows than in all \(\d+ of its own, \d+ that it has"
    ):
        compared(load_ablation(config, [], 1, path, floors=False))


def test_a_floor_of_other_data_is_refused(done, config, few, tmp_path):
    out, _ = done
    shown = json.loads((out / "floor-both" / "floor.json").read_text())
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    (copied / "floor-both" / "floor.json").write_text(json.dumps({**shown, "rows": "other"}))
    with pytest.raises(IncompatibleRunError, match="floor-both: was begun otherwise: rows"):
        compare(compared(load_ablation(config, [], 2, few, floors=True)), copied, means())


def test_the_command_lists_cells_trains_one_and_does_the_rest(config, few, tmp_path):
    def command(*arguments):
        found = CliRunner().invoke(classify, ["ablate", str(config), "-o", str(tmp_path / "out"), *arguments])
        assert found.exit_code == 0, found.output
        return found.stdout

    common = ("--seeds", "1", "--variants", str(few), "--no-floor")
    assert command(*common, "--cells").split() == ["both/seed-0", "twice/seed-0"]
    command(*common, "--cell", "twice/seed-0")
    assert command(*common, "--cells").split() == ["both/seed-0"]
    assert command(*common).strip().endswith("ablation.md")
    assert command(*common, "--cells") == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_a_killed_ablation_goes_on_to_the_same_bytes(done, config, few, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "normpipe", "classify", "ablate", str(config), "-o", str(out), "--seeds", "2"]
    command += ["--variants", str(few)]
    for delay in (4, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert content(out) == content(done[0])
