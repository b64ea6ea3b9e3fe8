"""A resume beside shards made from other files is refused; files that merely moved are not other files."""

import hashlib
import os
import shutil
import time

import pytest
from fixtures.puppets import puppet_models, write_stills
from fixtures.runs import executed, planned, run

from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.tasks import Shard, ShardResult
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.sources.manifest import manifest_table, write_manifest
from normpipe.sources.root import Root
from normpipe.stages.source_check import check_sources, sources_digest

SCENES = [{"red": (20 + 9 * step, 30, 40)} for step in range(10)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    write_stills(folder, SCENES)
    return folder


def go(photos, out, *settings, **options):
    return executed(planned(photos, out, "shard_size=4", *settings, build=puppet_models), **options)


def touched(path):
    """The same bytes in another file."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def test_a_replaced_photo_refuses_and_is_named(photos, tmp_path):
    go(photos, tmp_path / "out")
    for number in (2, 5):
        (photos / f"photos-{number:03d}.png").write_bytes((photos / "photos-009.png").read_bytes())
    with pytest.raises(IncompatibleRunError, match=r"2 samples .* \(photos-002.png, photos-005.png\)"):
        go(photos, tmp_path / "out")


def test_ids_are_hashed_when_asked_and_at_most_five_are_named(photos, tmp_path):
    go(photos, tmp_path / "out")
    for number in range(8):
        (photos / f"photos-{number:03d}.png").write_bytes((photos / "photos-009.png").read_bytes())
    with pytest.raises(IncompatibleRunError, match="8 samples") as refused:
        go(photos, tmp_path / "out", hash_ids=True)
    message = str(refused.value)
    assert "photos-0" not in message
    assert hashlib.sha256(b"photos-000.png").hexdigest()[:12] in message
    assert message.count(", ") >= 5
    assert hashlib.sha256(b"photos-005.png").hexdigest()[:12] not in message


def test_same_bytes_in_another_file_go_on_and_are_not_read_again(photos, tmp_path, monkeypatch):
    go(photos, tmp_path / "out")
    touched(photos / "photos-003.png")
    assert go(photos, tmp_path / "out").complete
    monkeypatch.setattr("normpipe.stages.source_check.content_sha256", forbidden)
    assert go(photos, tmp_path / "out").complete


def test_a_dataset_that_was_copied_goes_on(photos, tmp_path):
    go(photos, tmp_path / "out")
    shutil.copytree(photos, tmp_path / "copy")
    shutil.rmtree(photos)
    (tmp_path / "copy").rename(photos)
    assert go(photos, tmp_path / "out").complete


def test_nothing_is_read_where_nothing_changed(photos, tmp_path, monkeypatch):
    go(photos, tmp_path / "out")
    monkeypatch.setattr("normpipe.stages.source_check.content_sha256", forbidden)
    assert go(photos, tmp_path / "out").complete


def test_a_photo_that_is_gone_is_no_difference_once_its_shard_is_done(photos, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("sample_id,uri\n" + "".join(f"{n},photos-{n:03d}.png\n" for n in range(10)))
    settings = {"build": puppet_models, "root": photos}
    assert run(table, tmp_path / "out", "shard_size=4", **settings).complete
    (photos / "photos-001.png").unlink()
    assert run(table, tmp_path / "out", "shard_size=4", **settings).complete


def test_a_photo_of_a_pending_shard_may_be_replaced(photos, tmp_path):
    out = tmp_path / "out"
    go(photos, out)
    (out / "shards" / "part-00002.parquet").unlink()
    (photos / "photos-009.png").write_bytes((photos / "photos-000.png").read_bytes())
    assert go(photos, out).complete


def test_without_root_nothing_pending_can_be_done_and_the_run_says_so(photos, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("sample_id,uri\n" + "".join(f"{n},photos-{n:03d}.png\n" for n in range(10)))
    with pytest.raises(UsageError, match="ROOT: the folder of the source files is not there"):
        run(table, tmp_path / "out", build=puppet_models, root=tmp_path / "gone")


def test_the_analysis_of_two_phases_is_checked_too(photos, tmp_path):
    go(photos, tmp_path / "out", "detect.policy=track")
    (photos / "photos-002.png").write_bytes((photos / "photos-009.png").read_bytes())
    with pytest.raises(IncompatibleRunError, match=r"photos-002.png"):
        go(photos, tmp_path / "out", "detect.policy=track")


def test_digest_counts_a_file_once_and_sees_any_change(photos):
    root = Root(str(photos))
    uris = ["photos-000.png", "photos-001.png"]
    digest = sources_digest(root, uris)
    assert sources_digest(root, [*uris, *uris]) == digest
    touched(photos / "photos-001.png")
    assert sources_digest(root, uris) != digest
    assert sources_digest(root, ["none.png"]) != sources_digest(root, ["other.png"])


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_about_a_second(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    uris = [f"{number // 1000:03d}/{number:06d}.jpg" for number in range(100_000)]
    for folder in {uri[:3] for uri in uris}:
        (photos / folder).mkdir()
    for uri in uris:
        os.close(os.open(photos / uri, os.O_CREAT))
    write_manifest(manifest_table({"sample_id": uris, "uri": uris}, len(uris)), out / "manifest.parquet")
    journal, root = Journal(out, "0"), Root(str(photos))
    shards = [Shard(index, start, min(start + 2048, len(uris))) for index, start in enumerate(range(0, len(uris), 2048))]
    records = [
        ShardRecord(shard, "0", ShardResult((), 0, 0, sources=sources_digest(root, uris[shard.start : shard.stop])))
        for shard in shards
    ]
    started = time.monotonic()
    check_sources(root, out / "manifest.parquet", journal, records, forbidden, hash_ids=False)
    assert time.monotonic() - started < 3  # a machine that is shared


def forbidden(*_: object) -> None:
    raise AssertionError("files are read although nothing changed")
