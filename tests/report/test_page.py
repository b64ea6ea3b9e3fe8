"""The page: right figures, hostile input harmless, no network, same bytes; and a browser's word that it renders."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fixtures.pages import parsed

from normpipe.errors import UsageError
from normpipe.records import Reason
from normpipe.report.page import REASON_MEANINGS, write_report
from normpipe.report.sheets import SheetOptions
from normpipe.sources.root import Root

from .conftest import Row, Run


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text().split("</style>")[1]))


ROWS = [Row(f"s{i}") for i in range(6)] + [Row("d1", Reason.NO_FACE), Row("d2", Reason.NO_FACE), Row("v", Reason.VANISHED)]


def test_headline_numbers_and_reasons(write_run):
    summary = {"frames_per_second": 1234.56, "committed": 1, "seconds_by_stage": {"decode": 1.0, "normalize": 3.0}}
    text = text_of(write_report(write_run(Run(ROWS, summary=summary)), None, SheetOptions()))
    assert "Rows 9" in text
    assert "Normalized 6 66.7 %" in text
    assert "Failed 3" in text
    assert "1,234.6 frames/s" in text
    assert f"no_face 2 22.2 % {REASON_MEANINGS[Reason.NO_FACE]}" in text
    assert "--retry-failed" in text
    assert "decode 1.0 s · 25.0 %" in text


def test_nobody_is_sent_after_what_was_withdrawn(write_run):
    out = write_run(Run([Row("ok"), Row("withdrawn-00000001", Reason.WITHDRAWN)]))
    page = write_report(out, None, SheetOptions()).read_text()
    assert "Nothing." in page
    assert "Look at the file" not in page


def test_every_reason_is_explained():
    assert set(REASON_MEANINGS) == set(Reason)


def test_an_unfinished_run_says_so_and_needs_no_summary(write_run):
    out = write_run(Run(ROWS, summary={"committed": 1}))
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(plan | {"shards": 4}))
    assert "1 of 4 shards" in text_of(write_report(out, None, SheetOptions()))
    (out / "run.json").unlink()
    assert "Rows 9" in text_of(write_report(out, None, SheetOptions()))


def test_configuration_and_fingerprint_are_shown(write_run):
    text = text_of(write_report(write_run(Run(ROWS, parts={"encode.quality": "92"})), None, SheetOptions()))
    assert "encode.quality 92" in text
    assert "ab" * 32 in text


def test_nothing_points_outside_the_folder(write_run):
    page = write_report(write_run(Run(ROWS)), None, SheetOptions())
    links = parsed(page)
    assert "script" not in links.tags
    assert set(links.links) == {"data:,", "sample.png", "lowest.png", "failures.png"}
    assert all((page.parent / link).is_file() for link in links.links if link.endswith(".png"))
    assert not re.search(r"https?://|@import|url\(", page.read_text())


def test_hostile_names_stay_text(write_run):
    evil = '"><script>alert(1)</script><img src=http://example.org/x>'
    page = write_report(write_run(Run([Row(evil)], parts={evil: evil})), None, SheetOptions())
    assert "script" not in parsed(page).tags
    assert "&lt;script&gt;" in page.read_text()


def test_no_path_of_the_machine_and_no_id_when_hashed(write_run, tmp_path):
    page = write_report(write_run(Run([Row("subject-7")])), Root(str(tmp_path / "root")), SheetOptions(hash_ids=True))
    assert str(tmp_path) not in page.read_text()
    assert "subject-7" not in page.read_text()


def test_the_same_run_gives_the_same_page(write_run):
    out = write_run(Run(ROWS))
    first = write_report(out, None, SheetOptions()).read_bytes()
    assert write_report(out, None, SheetOptions()).read_bytes() == first


@pytest.mark.parametrize(
    "rows", [[], [Row("x", Reason.EMPTY_FILE)], [Row("only", score=None)]], ids=["empty", "all failed", "one"]
)
def test_small_runs_have_a_page(write_run, rows):
    parsed(write_report(write_run(Run(rows)), None, SheetOptions()))


def test_a_damaged_summary_is_named(write_run):
    out = write_run(Run(ROWS))
    (out / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json"):
        write_report(out, None, SheetOptions())


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_renders_the_page_from_disk(browser, write_run, tmp_path, width):
    page = write_report(write_run(Run(ROWS)), Root(str(tmp_path / "root")), SheetOptions())
    picture = browser(page.as_uri(), width, 2400)
    assert picture.shape[1] == width
    sheet_ground = (np.abs(picture.astype(int) - (38, 39, 41)) <= 1).all(axis=2)
    assert sheet_ground.mean() > 0.05  # the sheets are drawn
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    margin = picture[:, -8:]
    assert (margin == margin[0, 0]).all()  # nothing is wider than the page


def test_a_browser_asks_for_the_page_and_its_pictures_and_gets_them(browser, write_run, tmp_path):
    page = write_report(write_run(Run(ROWS)), Root(str(tmp_path / "root")), SheetOptions())
    answers = {}

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            answers[self.path] = int(code)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=page.parent))
    with server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        try:
            browser(f"http://127.0.0.1:{server.server_port}/index.html", 1280, 1000)
        finally:
            server.shutdown()
    assert answers == dict.fromkeys(["/index.html", "/sample.png", "/lowest.png", "/failures.png"], 200)
