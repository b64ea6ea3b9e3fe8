"""The normalizer in a whole run, as a shell starts it."""

import shutil

import pytest
from fixtures.command import normpipe
from fixtures.runs import digests

from normpipe.shards.reader import iter_rows

from .tiny import tiny

PORTRAITS = ("A000014", "A000022", "A000055")


@pytest.fixture
def photos(shared, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PORTRAITS:
        shutil.copy(shared / "data" / "congress-portraits" / f"{name}.jpg", folder)
    (folder / "Empty.jpg").write_bytes(b"")
    return folder


def command(photos, out, weights, *more):
    settings = ("size=64", f"normalize.weights={weights}", "normalize.batch=4", "shard_size=2", "encode.format=png", *more)
    return ("run", photos, out, "--normalizer", "norface", *(word for setting in settings for word in ("--set", setting)))


@pytest.mark.slow
def test_one_and_two_workers_write_the_same_bytes(photos, saved, tmp_path, capsys):
    for name, workers in (("one", 1), ("two", 2)):
        code, out, err = normpipe(capsys, *command(photos, tmp_path / name, saved), "--workers", workers)
        assert code == 0, err
        assert "4 rows, 3 ok, 1 failed (empty_file 1)" in out
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    pictures = [row["normalized"]["bytes"] for row in iter_rows(tmp_path / "one") if row["normalized"]]
    assert len(set(pictures)) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.slow
def test_weights_that_cannot_be_used_are_one_line_and_no_shard(photos, copied, tmp_path, capsys):
    file = copied / "decoder" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    code, _, err = normpipe(capsys, *command(photos, tmp_path / "out", copied))
    assert (code, err.strip().count("\n")) == (2, 0)
    assert "weights copy: decoder/diffusion_pytorch_model.safetensors is damaged; get it again" in err
    assert not (tmp_path / "out").exists()

    file.write_bytes(whole)
    tiny(dim=8).merger.save_pretrained(copied / "merger")  # found only when the network is put together
    code, _, err = normpipe(capsys, *command(photos, tmp_path / "out", copied))
    assert code == 2
    assert err.count("weights copy: encoder, merger and decoder are of different networks; save them together") == 1
    assert "Traceback" not in err
    assert not list((tmp_path / "out").glob("shards/*"))
