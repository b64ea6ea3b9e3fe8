"""Contact sheets: grid, columns, captions, same bytes."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from normpipe.records import Reason
from normpipe.report.rows import SheetRow, Source
from normpipe.report.sheets import SheetOptions, draw_sheet, shown_id, write_contact_sheets
from normpipe.sources.root import Root

from .conftest import Row, Run


def sheet_row(sample_id="a", reason=None, source=None, face_index=0, fill=(200, 40, 40)):
    image = None if reason else np.full((64, 64, 3), fill, np.uint8)
    return SheetRow(sample_id, face_index, reason, image, image, {"normalized_score": 0.9}, None, None, source)


def test_one_sheet_per_choice_and_none_for_an_empty_one(write_run):
    out = write_run(Run([Row(f"s{i}") for i in range(5)]))
    written = write_contact_sheets(out, None, SheetOptions(count=3))
    assert sorted(written) == ["lowest", "sample"]
    assert all(path.parent == out / "report" and path.is_file() for path in written.values())


def test_a_stale_sheet_does_not_survive(write_run):
    rows = [Row("a"), Row("b", Reason.NO_FACE)]
    out = write_run(Run(rows))
    assert "failures" in write_contact_sheets(out, None, SheetOptions())
    write_run(Run(rows[:1]))
    assert "failures" not in write_contact_sheets(out, None, SheetOptions())
    assert not (out / "report" / "failures.png").exists()


def test_the_same_run_gives_the_same_bytes(write_run, tmp_path):
    out = write_run(Run([Row(f"s{i}") for i in range(9)]))
    root = Root(str(tmp_path / "root"))
    first = {name: path.read_bytes() for name, path in write_contact_sheets(out, root, SheetOptions()).items()}
    second = {name: path.read_bytes() for name, path in write_contact_sheets(out, root, SheetOptions()).items()}
    assert first == second


def test_at_most_count_rows_are_drawn(write_run):
    out = write_run(Run([Row(f"s{i}") for i in range(30)]))
    few = write_contact_sheets(out, None, SheetOptions(count=3))["sample"]
    few_height = PillowImage.open(few).height
    many = write_contact_sheets(out, None, SheetOptions(count=30))["sample"]
    assert PillowImage.open(many).height > 5 * few_height


def test_tiles_show_the_pictures_in_an_even_grid():
    sheet = draw_sheet("Title", [sheet_row() for _ in range(4)])
    red = (sheet == (200, 40, 40)).all(axis=2)
    columns, rows = np.flatnonzero(red.any(axis=0)), np.flatnonzero(red.any(axis=1))
    widths = np.diff(np.flatnonzero(np.diff(red.any(axis=0).astype(int)) != 0))[::2]
    heights = np.diff(np.flatnonzero(np.diff(red.any(axis=1).astype(int)) != 0))[::2]
    assert len(widths) == 6  # three cards of two tiles
    assert len(heights) == 2
    assert len({*widths.tolist(), *heights.tolist()}) == 1
    assert columns[0] == sheet.shape[1] - 1 - columns[-1] or abs(columns[0] - (sheet.shape[1] - 1 - columns[-1])) < 6
    assert rows[-1] < sheet.shape[0] - 40


def test_the_source_column_appears_only_when_a_source_could_be_read():
    blue = Source(np.full((30, 60, 3), (20, 30, 220), np.uint8), 1.0)
    with_source = draw_sheet("T", [sheet_row(source=blue), sheet_row()])
    without = draw_sheet("T", [sheet_row(), sheet_row()])
    assert (with_source == (20, 30, 220)).all(axis=2).any()
    assert not (without == (20, 30, 220)).all(axis=2).any()


def test_box_and_outline_lie_where_the_face_is():
    picture = Source(np.zeros((100, 100, 3), np.uint8), 0.5)
    landmarks = np.full((468, 2), 100.0, np.float32)
    row = SheetRow("a", 0, None, None, None, {}, np.array([20, 40, 180, 160], np.float32), landmarks, picture)
    sheet = draw_sheet("T", [row])
    marked = (np.abs(sheet.astype(int) - (120, 220, 255)) < 40).all(axis=2)
    ys, xs = np.nonzero(marked)
    black = (sheet == 0).all(axis=2) | marked
    tile_y, tile_x = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
    side = len(tile_x)
    assert (xs.min() - tile_x[0]) / side == pytest.approx(0.1, abs=0.02)
    assert (xs.max() - tile_x[0]) / side == pytest.approx(0.9, abs=0.02)
    assert (ys.min() - tile_y[0]) / side == pytest.approx(0.2, abs=0.02)
    assert (ys.max() - tile_y[0]) / side == pytest.approx(0.8, abs=0.02)


def test_a_sheet_of_failures_without_any_picture_still_has_its_cards():
    sheet = draw_sheet("Failures", [sheet_row(reason=Reason.TRUNCATED), sheet_row(reason=Reason.NO_FACE)])
    assert (sheet == (240, 170, 110)).all(axis=2).any()  # the reason is written


@pytest.mark.parametrize("sample_id", ["x" * 500, "névé/\u4e2d\u6587.jpg", "a\nb\tc", "\u202egpj.exe", "<b>", ""])
def test_captions_take_any_id(sample_id):
    row = sheet_row(sample_id)
    assert shown_id(row, hash_ids=False).isprintable()
    assert draw_sheet("T", [row]).shape == draw_sheet("T", [sheet_row()]).shape


def test_long_ids_stay_inside_their_card():
    long, short = (draw_sheet("T", [sheet_row(name), sheet_row("b"), sheet_row("c")]) for name in ("i" * 400, "i"))
    difference = np.flatnonzero((long != short).any(axis=(0, 2)))
    assert difference.max() < 32 + (1320 - 2 * 32 - 2 * 40) // 3


def test_hashed_ids_tell_rows_apart_and_hide_their_names():
    first, second = (shown_id(sheet_row(name), hash_ids=True) for name in ("subject-7/smile", "subject-8/smile"))
    assert first != second
    assert "subject" not in first


def test_faces_of_one_frame_are_told_apart():
    assert shown_id(sheet_row("a", face_index=2), hash_ids=False) == "a · face 2"
    assert shown_id(sheet_row("a", face_index=0), hash_ids=False) == "a"
