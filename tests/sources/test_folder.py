"""A folder becomes rows: stable ids, sorted, nothing lost, and what is left out is counted."""

from pathlib import Path

import pytest
from fixtures.clips import write_video
from PIL import Image

from normpipe.errors import UsageError
from normpipe.sources.folder import PathLabels, build_folder
from normpipe.sources.media import Kind
from normpipe.sources.root import Root
from normpipe.sources.video import Sampling


def _touch(folder: Path, *names: str) -> Root:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return Root(str(folder))


def test_rows_are_sorted_by_code_point_and_named_by_path(tmp_path: Path) -> None:
    root = _touch(tmp_path, "b.jpg", "a/z.png", "a/z.jpg", "Z.jpeg", "é.JPG", "a-b/x.webp")
    table = build_folder(root).table
    assert table["sample_id"].to_pylist() == ["Z.jpeg", "a-b/x.webp", "a/z.jpg", "a/z.png", "b.jpg", "é.JPG"]
    assert table["uri"].to_pylist() == table["sample_id"].to_pylist()
    assert table["frame"].null_count == 6


def test_the_same_folder_gives_the_same_table(tmp_path: Path) -> None:
    names = ["b.jpg", "a.jpg", "c/d.jpg"]
    first = build_folder(_touch(tmp_path / "1", *names)).table
    second = build_folder(_touch(tmp_path / "2", *reversed(names))).table
    assert first.equals(second)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    built = build_folder(_touch(tmp_path, "a.jpg", ".b.jpg", ".cache/c.jpg", "labels.csv", "Thumbs.db", "a.txt"))
    assert (built.stills, built.hidden, built.other) == (1, 2, 3)
    assert built.table["uri"].to_pylist() == ["a.jpg"]


def test_clips_become_one_row_per_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "b.mp4", 5)
    _touch(tmp_path, "a.jpg", "c.mkv")
    built = build_folder(Root(str(tmp_path)))
    table = built.table
    assert table["sample_id"].to_pylist() == ["a.jpg", *[f"b.mp4#00000{index}" for index in range(5)], "c.mkv#000000"]
    assert table["frame"].to_pylist() == [None, 0, 1, 2, 3, 4, 0]
    assert table["sequence"].to_pylist() == [None, *["b.mp4"] * 5, "c.mkv"]
    assert table["timestamp"].to_pylist()[1:6] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert len(set(table["pts"].to_pylist()[1:6])) == 5
    assert (built.stills, built.clips, built.broken) == (1, 2, 1)


def test_sampling_keeps_the_clips_own_indices(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 25)
    root = Root(str(tmp_path))
    assert build_folder(root, sampling=Sampling(stride=10)).table["frame"].to_pylist() == [0, 10, 20]
    assert build_folder(root, sampling=Sampling(rate=5)).table["frame"].to_pylist() == [0, 5, 10, 15, 20]


def test_animations_are_told_from_stills(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    for suffix in ("gif", "webp", "png", "avif"):
        frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], duration=50)
        frames[0].save(tmp_path / f"still.{suffix}")
    built = build_folder(Root(str(tmp_path)))
    assert (built.stills, built.clips) == (4, 4)
    assert built.table["sample_id"].to_pylist()[:3] == ["moving.avif#000000", "moving.avif#000001", "moving.avif#000002"]
    only = build_folder(Root(str(tmp_path)), kinds=frozenset({Kind.VIDEO}))
    assert (only.stills, only.clips, only.other) == (0, 4, 4)


def test_globs_choose_files(tmp_path: Path) -> None:
    root = _touch(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg", "x/d.png")
    assert build_folder(root, glob="*.jpg").table["uri"].to_pylist() == ["a.jpg"]
    assert build_folder(root, glob="**/*.jpg").table["uri"].to_pylist() == ["a.jpg", "x/b.jpg", "x/y/c.jpg"]
    assert build_folder(root, glob="x/?.*").table["uri"].to_pylist() == ["x/b.jpg", "x/d.png"]


def test_folders_give_labels(tmp_path: Path) -> None:
    root = _touch(tmp_path, "train/Happy/1.jpg", "test/sadness/2.jpg", "3.jpg")
    labels = PathLabels(levels={"emotion": "parent", "split": "grandparent"}, dataset="raf")
    table = build_folder(root, labels=labels).table
    assert table["emotion"].to_pylist() == [None, "sadness", "happiness"]
    assert table["emotion_raw"].to_pylist() == [None, "sadness", "Happy"]
    assert table["split"].to_pylist() == [None, "test", "train"]
    assert table["dataset"].to_pylist() == ["raf"] * 3


def test_a_pattern_gives_labels(tmp_path: Path) -> None:
    root = _touch(tmp_path, "S005/001/S005_001_01.png", "S010/002/S010_002_14.png", "notes.png")
    built = build_folder(root, labels=PathLabels(pattern=r"(?P<subject>S\d+)/(?P<sequence>\d+)/"))
    assert built.table["subject"].to_pylist() == ["S005", "S010", None]
    assert built.table["sequence"].to_pylist() == ["001", "002", None]
    assert built.unmatched == 1


def test_unknown_emotions_are_listed_and_can_be_mapped(tmp_path: Path) -> None:
    root = _touch(tmp_path, "calm/1.jpg", "calm/2.jpg", "3/3.jpg", "fear/4.jpg")
    with pytest.raises(UsageError, match=r"'3' \(1\), 'calm' \(2\)"):
        build_folder(root, labels=PathLabels(levels={"emotion": "parent"}))
    table = build_folder(root, labels=PathLabels(levels={"emotion": "parent"}, emotions={"3": "anger", "calm": ""})).table
    assert table["emotion"].to_pylist() == ["anger", None, None, "fear"]
    with pytest.raises(UsageError, match="'rage' is none of neutral"):
        build_folder(root, labels=PathLabels(emotions={"3": "rage"}))


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", "missing"),
        ("(?P<age>x)", "name its groups"),
        ("a+", "name its groups"),
        ("(?P<subject>Q)", "matches no path, such as 'a.jpg'"),
    ],
)
def test_wrong_patterns_are_one_clear_line(tmp_path: Path, pattern: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build_folder(_touch(tmp_path, "a.jpg"), labels=PathLabels(pattern=pattern))


def test_a_missing_root_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ROOT is no folder"):
        build_folder(Root(str(tmp_path / "none")))


def test_what_a_run_wrote_below_its_input_is_no_input(tmp_path: Path) -> None:
    names = ["a.jpg", "out/plan.json", "out/manifest.parquet", "out/report/sample.png", "outer/b.jpg", "plan.json"]
    built = build_folder(_touch(tmp_path, *names))
    assert built.table["uri"].to_pylist() == ["a.jpg", "outer/b.jpg"]
