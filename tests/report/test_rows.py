"""The rows that a sheet draws, with and without their sources."""

import numpy as np
import pytest

from normpipe.errors import UsageError
from normpipe.records import Reason
from normpipe.report.rows import read_rows
from normpipe.report.survey import RowAddress
from normpipe.sources.root import Root

from .conftest import Row, Run, drawn_face

FIRST, SECOND = RowAddress("part-00000", 0), RowAddress("part-00000", 1)


def test_images_and_scores_are_those_of_the_row(write_run):
    out = write_run(Run([Row("a"), Row("b", score=0.5, sharpness=12.0)]))
    row = read_rows(out, [SECOND])[SECOND]
    assert row.sample_id == "b"
    np.testing.assert_array_equal(row.original, drawn_face(1))
    np.testing.assert_array_equal(row.normalized, drawn_face(0))
    assert row.measures["normalized_score"] == pytest.approx(0.5)
    assert row.measures["sharpness"] == pytest.approx(12.0)
    assert row.source is None


def test_a_failed_row_has_its_reason_and_no_images(write_run):
    out = write_run(Run([Row("a", Reason.TRUNCATED)]))
    row = read_rows(out, [FIRST])[FIRST]
    assert row.reason is Reason.TRUNCATED
    assert row.original is row.normalized is row.box is None
    assert row.measures == {}


def test_sources_come_from_the_manifest_with_the_faces_outline(write_run, tmp_path):
    out = write_run(Run([Row("a"), Row("b", uri="renamed picture.png")]))
    row = read_rows(out, [SECOND], Root(str(tmp_path / "root")))[SECOND]
    np.testing.assert_array_equal(row.source.image, drawn_face(1))
    assert row.source.scale == 1.0
    assert row.landmarks.shape == (468, 2)


def test_large_sources_are_reduced_and_say_by_how_much(write_run, tmp_path):
    import cv2

    out = write_run(Run([Row("a")]))
    cv2.imwrite(str(tmp_path / "root" / "picture-0.png"), drawn_face(0, 2048))
    source = read_rows(out, [FIRST], Root(str(tmp_path / "root")))[FIRST].source
    assert source.image.shape == (512, 512, 3)
    assert source.scale == 0.25


@pytest.mark.parametrize("uri", ["../secret.png", "/etc/passwd", "missing.png"])
def test_what_cannot_be_read_below_root_is_left_out(write_run, tmp_path, uri):
    out = write_run(Run([Row("a", uri=uri, writes_source=False)]))
    assert read_rows(out, [FIRST], Root(str(tmp_path / "root")))[FIRST].source is None


def test_a_missing_manifest_is_named(write_run, tmp_path):
    out = write_run(Run([Row("a")]))
    (out / "manifest.parquet").unlink()
    with pytest.raises(UsageError, match=r"manifest\.parquet"):
        read_rows(out, [FIRST], Root(str(tmp_path / "root")))


def test_an_unreadable_root_leaves_the_sources_out(write_run, tmp_path):
    out = write_run(Run([Row("a")]))
    assert read_rows(out, [FIRST], Root(str(tmp_path / "nowhere")))[FIRST].source is None
