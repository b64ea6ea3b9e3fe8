"""Pictures that kill or hang their process: their rows say so, all others are as ever."""

import hashlib

import pyarrow.parquet as pq
import pytest
from fixtures.runs import digests

from faults import command
from normpipe.shards.reader import iter_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def rows_but(out, spared):
    """Content of all rows of other pictures."""
    return {row["sample_id"]: row for row in iter_rows(out) if row["sample_id"] not in spared}


@pytest.fixture(scope="module")
def few(case, tmp_path_factory):
    """A manifest of one row per photo, and its undisturbed rows."""
    folder = tmp_path_factory.mktemp("few")
    manifest = folder / "few.csv"
    lines = [f"one{number:02d},photo{number:02d}.jpg" for number in range(24)]
    manifest.write_text("\n".join(["sample_id,uri", *lines]) + "\n")
    code, text = command.run(manifest, folder / "out", "--root", case.photos, "--shard-size", 8)
    assert code == 0, text
    return manifest, folder / "out"


@pytest.mark.parametrize(("variable", "reason"), [("KILLING", "poison"), ("HANGING", "timeout")])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_that_takes_its_process_along(case, few, tmp_path, plugins, workers, variable, reason):
    manifest, whole = few
    victim = hashlib.sha256((case.photos / "photo11.jpg").read_bytes()).hexdigest()
    out = tmp_path / "out"
    code, text = command.run(
        manifest,
        out,
        *("--root", case.photos, "--shard-size", 8, "--workers", workers, "--set", "execution.deadline=6"),
        extra={**plugins, variable: victim},
    )
    assert code == 0, text
    assert f"{reason} 1" in text
    assert "Traceback" not in text
    assert reason in (out / "run.log").read_text()
    found = {row["sample_id"]: (row["status"], row["reason"]) for row in iter_rows(out)}
    assert found.pop("one11") == ("failed", reason)
    assert set(found.values()) == {("ok", None)}
    assert rows_but(out, {"one11"}) == rows_but(whole, {"one11"})
    faces = pq.read_table(out / "faces" / "part-00001.parquet")
    assert faces["sample_id"].to_pylist() == [f"one{number:02d}" for number in range(8, 16)]

    code, text = command.run(manifest, out, "--root", case.photos, "--shard-size", 8, "--retry-failed")
    assert code == 0, text
    assert digests(out) == digests(whole)
