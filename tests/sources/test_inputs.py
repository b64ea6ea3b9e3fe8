"""INPUT may be a manifest, a folder, a glob or a single file."""

from pathlib import Path

import pyarrow as pa
import pytest
from fixtures.clips import write_video
from PIL import Image

from normpipe.errors import UsageError
from normpipe.records import MANIFEST_SCHEMA
from normpipe.sources import Root, manifest_for_input
from normpipe.sources.manifest import write_manifest


def _read(location: str, root: Root | None = None) -> tuple[pa.Table, Root]:
    source, found = manifest_for_input(location, root)
    return pa.Table.from_batches(source.batches(), MANIFEST_SCHEMA), found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "x").mkdir(parents=True)
    for name in ("a.jpg", "x/b.jpg", "x/[c].png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_a_folder(photos: Path) -> None:
    table, root = _read(str(photos))
    assert table["uri"].to_pylist() == ["a.jpg", "x/[c].png", "x/b.jpg"]
    assert all(root.exists(uri) for uri in table["uri"].to_pylist())


def test_a_glob(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, root = _read(f"{photos}/**/*.jpg")
    assert table["uri"].to_pylist() == ["a.jpg", "x/b.jpg"]
    assert root.exists("x/b.jpg")
    monkeypatch.chdir(photos / "x")
    table, root = _read("*.jpg")
    assert table["uri"].to_pylist() == ["b.jpg"]
    assert root.exists("b.jpg")


def test_a_single_file_whatever_its_name(photos: Path) -> None:
    table, root = _read(str(photos / "x" / "[c].png"))
    assert table["uri"].to_pylist() == ["[c].png"]
    assert root.exists("[c].png")
    clip = write_video(photos / "v.mp4", 4)
    assert _read(str(clip))[0].num_rows == 4


def test_a_manifest_with_and_without_root(photos: Path, tmp_path: Path) -> None:
    table, _ = _read(str(photos))
    write_manifest(table, photos / "m.parquet")
    write_manifest(table, tmp_path / "m.parquet")
    again, root = _read(str(photos / "m.parquet"))
    assert again.equals(table)
    assert root.exists("a.jpg")
    _, root = _read(str(tmp_path / "m.parquet"), Root(str(photos)))
    assert root.exists("a.jpg")


def test_what_is_no_input_is_one_clear_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.csv").write_text("sample_id,uri\n")
    for location, complaint in {
        "none": "no such file or folder",
        "notes.txt": "neither a manifest",
        "empty": "no image or video",
        "photos/*.mp4": "no image or video",
    }.items():
        with pytest.raises(UsageError, match=complaint) as caught:
            manifest_for_input(str(tmp_path / location))
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(UsageError, match="--root belongs to a manifest"):
        manifest_for_input(str(photos), Root(str(photos)))
