"""A release in the tools that people load it with: the real ones."""

import os
import re
import subprocess
import sys

import pytest
from fixtures.released import people, released, write_run
from PIL import Image as PillowImage

from normpipe.records import EMOTIONS
from normpipe.release.document import read_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loaded")
    released(write_run(folder / "out"), folder / "drawn-faces-1.0.0", file_bytes=6000)
    return folder / "drawn-faces-1.0.0"


@pytest.fixture(scope="module")
def counts(release):
    return {name: split.rows for name, split in read_release(release).splits.items()}


@pytest.mark.slow
@pytest.mark.parametrize("with_card", [True, False])
def test_datasets_decodes_pairs_and_names_classes(release, counts, tmp_path, monkeypatch, with_card):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = release
    if not with_card:
        folder = tmp_path / "bare"
        (folder / "data").mkdir(parents=True)
        for path in (release / "data").iterdir():
            os.link(path, folder / "data" / path.name)
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in found.items()} == counts
    row = found["train"][0]
    assert isinstance(row["original"], PillowImage.Image)
    assert row["normalized"].size == (16, 16)
    assert found["train"].features["emotion"].names == list(EMOTIONS)
    wanted = [each["emotion"] for each in people() if each["status"] == "ok" and each["split"] == "Train"]
    assert [EMOTIONS[number] for number in found["train"]["emotion"]] == wanted


def test_pandas_reads_it(release, counts):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(release / "data", columns=["sample_id", "emotion"])
    assert len(table) == sum(counts.values())
    assert table["sample_id"].nunique() == len(table)


def test_polars_reads_it(release, counts):
    polars = pytest.importorskip("polars")
    table = polars.scan_parquet(f"{release}/data/train-*.parquet").select("subject", "valence", "original").collect()
    assert table.height == counts["train"]
    assert table["valence"].to_list() == [0.5] * table.height


def test_duckdb_reads_it(release, counts):
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(f"select split, count(*) from '{release}/data/*.parquet' group by split").fetchall()
    assert dict(found) == counts


@pytest.mark.slow
def test_mlcroissant_finds_no_fault_and_reads_rows_and_pictures(release, counts):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.version == "1.0.0"
    for split, rows in counts.items():
        found = list(dataset.records(split))
        assert len(found) == rows
        assert found[0][f"{split}/normalized"].size == (16, 16)


@pytest.mark.slow
def test_the_cards_code_runs_as_it_is_from_the_folder_above(release, tmp_path):
    for name in ("datasets", "pandas", "polars", "duckdb", "mlcroissant"):
        pytest.importorskip(name)
    code = re.search(r"```python\n(.*?)```", (release / "README.md").read_text(), re.DOTALL)[1]
    code += "assert len(record) and rows[0]['sample_id'] == record['train/sample_id'].decode()\n"
    places = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "CROISSANT_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=release.parent,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
