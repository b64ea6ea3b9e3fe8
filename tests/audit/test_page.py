"""The page: what it says is what audit.json says, hostile input is harmless, nothing is fetched; and a browser draws it."""

import re

import numpy as np
import pytest
from fixtures.audited import QUICK, audited, finished
from fixtures.pages import parsed

from normpipe.audit.document import at, figure_at, items, write_document
from normpipe.audit.page import write_page
from normpipe.audit.plan import plan_audit
from normpipe.audit.scoreboard import read_others
from normpipe.config import Gates
from normpipe.errors import IncompatibleRunError, UsageError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished audit of drawn people, with gates."""
    out = finished(tmp_path_factory.mktemp("page"), people=20)
    return audited(out, QUICK, Gates(max_identity_auc=0.55, min_expression_correlation=0.1))


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text().split("</style>")[1]))


def test_the_questions_come_in_their_order(done):
    text = text_of(done.page)
    questions = ("Is the person gone?", "Is the expression still there?", "Pose and background", "Who loses?", "does not prove")
    places = [text.rindex(question) for question in questions]
    assert places == sorted(places)
    assert "Normalized faces remain personal data" in text


def test_it_says_what_the_document_says(done):
    text = text_of(done.page)
    for each in items(done.document, "findings", "identity", "attacks"):
        found = figure_at(each, "result", "auc")
        assert f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})" in text
    kept = figure_at(done.document, "findings", "expression", "displacement", "whole", "correlation")
    assert f"{kept.value:.2f} ({kept.low:.2f} to {kept.high:.2f})" in text
    assert text.count("gates.max_identity_auc=0.55 missed: not measurable, no face embedding was given") == 1
    assert text.count("gates.min_expression_correlation=0.1 passed") == 1
    assert at(done.document, "run", "fingerprint") in text


def test_nothing_points_outside_the_folder(done):
    links = parsed(done.page)
    assert "script" not in links.tags
    assert set(links.links) == {"data:,", "expression.png", "pose.png"}  # no embedding was given: no sheet of likeness
    assert all((done.page.parent / link).is_file() for link in links.links if link.endswith(".png"))
    assert not re.search(r"https?://|@import|url\(", done.page.read_text())


def test_hostile_names_stay_text(done):
    evil = '"><script>alert(1)</script>'
    changed = {**done.document, "producer": evil, "instruments": {evil: evil}}
    page = write_page(plan_audit(done.page.parents[1], QUICK), changed, ())
    assert "script" not in parsed(page).tags
    assert "&lt;script&gt;" in page.read_text()


def test_it_names_no_path_and_numbers_people(done, tmp_path_factory):
    assert str(tmp_path_factory.getbasetemp()) not in done.page.read_text()
    assert "p000" not in done.page.read_text()


@pytest.fixture
def other(done, tmp_path):
    """Another audited run of the same rows."""
    folder = tmp_path / "other" / "audit"
    folder.mkdir(parents=True)

    def write(**changes):
        run = {**at(done.document, "run"), **changes}
        write_document(folder, {**done.document, "run": run})
        return folder.parent

    return write


def test_runs_of_the_same_rows_stand_on_every_board(done, other):
    plan = plan_audit(done.page.parents[1], QUICK)
    folder = other(configuration={"normalize.normalizer": '"mine"', "normalize.detail": "1.0"})
    page = write_page(plan, done.document, read_others(done.document, (folder,)))
    boards = page.read_text().split("<figure")[-2:]
    assert ["landmarks" in boards[0], "macro-F1" in boards[1]] == [True, True]
    for board in boards:
        assert board.count("<circle") == 3  # both runs, and the originals
        assert "2. mine" in board  # equal figures: by name, and their numbers stand apart
        assert len(set(re.findall(r'class="name" x="[^"]+" y="([^"]+)"', board))) == 3


def test_what_does_not_compare_is_refused(done, other, tmp_path):
    with pytest.raises(IncompatibleRunError, match="--compare other: audited on other rows"):
        read_others(done.document, (other(manifest="another"),))
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="--compare bare: not audited"):
        read_others(done.document, (tmp_path / "bare",))


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_draws_the_dots_and_nothing_is_wider_than_the_page(browser, done, width):
    picture = browser(done.page.as_uri(), width, 3000)
    assert picture.shape[1] == width
    blue = (np.abs(picture.astype(int) - (63, 110, 168)) <= 2).all(axis=2)
    assert blue.sum() > 500
    margin = picture[:, -8:]
    assert (margin == margin[0, 0]).all()
