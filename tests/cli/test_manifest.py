"""`normpipe manifest`: what a user types, what comes back, and the exit codes."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fixtures.clips import write_video
from PIL import Image

from normpipe.cli import cli, main
from normpipe.sources.manifest import read_manifest


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("train/happy/1.jpg", "test/sad/2.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    write_video(tmp_path / "data" / "clip.mp4", 10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["manifest", *arguments])


def test_build_folder_writes_a_manifest_and_says_what_is_in_it(dataset: Path) -> None:
    (dataset / "data" / ".hidden.jpg").write_bytes(b"")
    result = _run(
        "build",
        "folder",
        "data",
        "-o",
        "m.parquet",
        "--emotion-from",
        "parent",
        "--split-from",
        "grandparent",
        "--stride",
        "5",
        "--emotion",
        "data=",
    )
    assert result.exit_code == 0, result.output
    assert "m.parquet: 4 rows" in result.output
    assert "2 stills, 2 frames of 1 clips" in result.output
    assert "1 hidden files" in result.output
    table = read_manifest(dataset / "m.parquet")
    assert table["emotion"].to_pylist() == [None, None, "sadness", "happiness"]
    assert table["split"].to_pylist() == [None, None, "test", "train"]


def test_build_video_leaves_stills_out(dataset: Path) -> None:
    assert _run("build", "video", "data", "-o", "v.parquet", "--fps", "5").exit_code == 0
    assert read_manifest(dataset / "v.parquet")["frame"].to_pylist() == [0, 5]


def test_build_table_maps_columns(dataset: Path) -> None:
    (dataset / "labels.csv").write_text("path,who,AU12,age\ntrain/happy/1.jpg,7,9,30\ntest/sad/2.jpg,8,1,40\n")
    result = _run(
        "build",
        "table",
        "data",
        "--table",
        "labels.csv",
        "-o",
        "t.parquet",
        "--map",
        "path=uri",
        "--map",
        "who=subject",
        "--map",
        "AU12=au_occurrence_12",
        "--missing",
        "9",
    )
    assert result.exit_code == 0, result.output
    assert "columns not used: age" in result.output
    assert read_manifest(dataset / "t.parquet")["au_occurrence_12"].to_pylist() == [None, 1]


def test_builds_are_byte_identical(dataset: Path) -> None:
    for name in ("1.parquet", "2.parquet"):
        assert _run("build", "folder", "data", "-o", name).exit_code == 0
    assert (dataset / "1.parquet").read_bytes() == (dataset / "2.parquet").read_bytes()


def test_show_summarizes(dataset: Path) -> None:
    _run("build", "folder", "data", "-o", "m.parquet", "--emotion-from", "parent", "--emotion", "data=", "--dataset", "mine")
    output = _run("show", "m.parquet", "-n", "2").output
    for text in ("12", "10 of 1 clips", "mine 12", "emotion", "16.7%", "happiness 1, sadness 1", "clip.mp4#000000"):
        assert text in output


def test_check_finds_what_is_wrong_and_exits_with_2(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset / "m.csv").write_text("sample_id,uri,emotion\na,train/happy/1.jpg,happiness\na,gone.jpg,glee\n")
    monkeypatch.setattr("sys.argv", ["normpipe", "manifest", "check", "m.csv", "--root", "data"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: m.csv: 3 problems"
    assert [line.split(":")[:2] for line in lines[1:]] == [
        ["  line 3", " emotion"],
        ["  line 3", " sample_id"],
        ["  line 3", " uri"],
    ]


def test_check_passes_a_good_manifest(dataset: Path) -> None:
    _run("build", "folder", "data", "-o", "m.parquet")
    result = _run("check", "m.parquet", "--root", "data")
    assert (result.exit_code, result.output) == (0, "m.parquet: ok\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "folder", "none", "-o", "m.parquet"),
        ("build", "folder", "data/train/happy", "-o", "none/m.parquet"),
        ("build", "video", "data/train", "-o", "m.parquet"),
        ("build", "folder", "data", "-o", "m.parquet", "--stride", "2", "--fps", "5"),
        ("build", "folder", "data", "-o", "m.parquet", "--emotion", "happy"),
        ("show", "none.parquet"),
        ("check", "none.csv"),
        ("check", "data/clip.mp4"),
    ],
)
def test_mistakes_are_usage_errors_without_paths(dataset: Path, arguments: tuple[str, ...]) -> None:
    result = _run(*arguments)
    assert getattr(result.exception, "exit_code", None) == 2, result.output
    assert str(dataset) not in str(result.exception)


@pytest.mark.parametrize(
    "command", [["build", "folder"], ["build", "video"], ["build", "table"], ["show"], ["check"], ["build"]]
)
def test_every_help_has_an_example(command: list[str]) -> None:
    result = _run(*command, "--help")
    assert result.exit_code == 0
    assert "Example: normpipe manifest" in result.output
