"""docs/reproduce.md as its reader runs it: every script and command, on stand-ins of the data sets, until the figure is read.

Pictures are drawn and few, and a training is one epoch long: what is proved is that the way leads there, not how far.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fixtures import stand_ins
from fixtures.command import normpipe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduce.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

LAID_OUT = {
    "BP4D": stand_ins.write_bp4d,
    "BP4D+": stand_ins.write_bp4d_plus,
    "DISFA": stand_ins.write_disfa,
    "RAF-DB": stand_ins.write_raf_db,
    "AffectNet": stand_ins.write_affectnet,
}
SMALL = {
    ("run",): ("--workers", "1"),
    ("classify", "train"): (
        *("--device", "cpu", "--set", "epochs=1", "--set", "batch=32", "--set", "precision=float32"),
        *("--set", "workers=0", "--set", "draws=0"),
    ),
}
"""What is added to commands, so that they are done on a CPU in seconds."""


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def commands(name: str) -> list[list[str]]:
    lines = [
        line for kind, block in BLOCK.findall(section(name)) if not kind for line in block.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line) for line in lines if line.startswith(("python ", "normpipe "))]


def follow(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lay the data set out and do what its section says, here."""
    if name in LAID_OUT:
        LAID_OUT[name](Path(name))
    for kind, block in BLOCK.findall(PAGE):
        if kind == "python":
            Path(block.split()[1]).write_text(block)
    for program, *words in commands(name):
        if program == "python":
            subprocess.run([sys.executable, *words], check=True)
        else:
            added = next((more for start, more in SMALL.items() if tuple(words[: len(start)]) == start), ())
            code, said, told = normpipe(capsys, *words, *added)
            assert code == 0, f"{' '.join(words)}\n{said}\n{told}"


def read(out: str, *keys: str) -> object:
    found = json.loads((Path("trained") / out / "scores.json").read_text())
    for key in keys:
        found = found[key]
    return found


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder with the pipelines beside, as the page asks for; skips where packages are missing."""
    for package in ("torch", "accelerate", "diffusers"):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_section_with_data_has_a_stand_in():
    told = re.findall(r"^normpipe manifest build table (\S+)/", PAGE, re.MULTILINE)
    assert set(told) == set(LAID_OUT)
    assert {name for name in LAID_OUT if commands(name)} == set(LAID_OUT)


def test_every_figure_of_the_table_has_its_training():
    told = re.findall(r"\| `([a-z0-9-]+)` \| `(trained/\S+)` \|$", PAGE, re.MULTILINE)
    trained = [words for name in LAID_OUT for words in commands(name) if words[1:3] == ["classify", "train"]]
    assert len(told) == 7
    for protocol, out in told:
        assert sum({out, f"protocol={protocol}"} <= set(words) for words in trained) == 1


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_bp4d_disfa_and_one_to_the_other(workplace, capsys):
    follow("BP4D", capsys)
    rows = pq.read_table("bp4d.parquet")
    assert (rows.num_rows, rows["au_occurrence_24"].null_count) == (41, 10)
    assert (pc.max(rows["au_intensity_12"]).as_py(), rows["au_intensity_06"].null_count) == (3, 10)
    assert read("bp4d-au", "test", "best", "scores", "f1", "overall", "value") >= 0
    assert read("bp4d-intensity", "test", "best", "scores").keys() >= {"icc", "mse", "mae"}
    follow("DISFA", capsys)
    assert pq.read_table("disfa.parquet")["frame"].to_pylist() == [0, 1] * 27
    assert read("disfa-au", "test", "best", "scores", "f1", "by_label", "AU12", "value") >= 0
    assert read("disfa-intensity", "test", "best", "scores", "mae", "overall", "value") >= 0
    assert read("bp4d-disfa", "test", "last", "scores", "f1", "overall", "value") >= 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bp4d_plus(workplace, capsys):
    follow("BP4D+", capsys)
    rows = pq.read_table("bp4d-plus.parquet")
    assert rows.num_rows == 140
    assert rows["au_occurrence_12"].to_pylist()[:3] == [1, 0, 0]
    assert read("bp4d-plus-au", "test", "best", "scores", "f1", "overall", "value") >= 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_raf_db_affectnet_and_lnl(workplace, capsys):
    follow("RAF-DB", capsys)
    emotions = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
    assert pq.read_table("raf-db.parquet")["emotion"].to_pylist() == emotions * 4
    assert read("raf-db", "test", "best", "scores", "accuracy", "overall", "value") >= 0
    follow("AffectNet", capsys)
    rows = pq.read_table("affectnet.parquet")
    assert pc.value_counts(rows["split"]).to_pylist() == [{"values": "train", "counts": 24}, {"values": "val", "counts": 8}]
    assert rows["arousal"].drop_null().unique().to_pylist() == [0.25]
    assert read("affectnet-8", "test", "best", "scores", "accuracy", "overall", "value") >= 0
    follow("LNL", capsys)
    assert read("lnl-raf-db", "test", "best", "scores", "accuracy", "overall", "value") >= 0
