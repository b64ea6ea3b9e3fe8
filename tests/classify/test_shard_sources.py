"""Where pairs come from: folders, single files and URLs of either, named in messages without what may be a password."""

import zipfile

import pytest
from fixtures.flaky import FlakyFileSystem

from normpipe.classify.shard_files import ShardFile, shown_root
from normpipe.classify.shard_sources import shard_files
from normpipe.errors import UsageError
from normpipe.sources.root import Root

from .pair_shards import pairs, write_file


@pytest.fixture
def release(tmp_path):
    write_file(tmp_path / "release" / "data" / "b.parquet", pairs(4, 6))
    write_file(tmp_path / "release" / "data" / "a.parquet", pairs(0, 4))
    return tmp_path / "release"


@pytest.fixture(autouse=True)
def steady():
    FlakyFileSystem.begin(one_in=0)


@pytest.mark.parametrize("scheme", ["", "file://", "local://", "flaky://"])
def test_files_come_in_the_order_of_their_names(scheme, release):
    assert list(map(str, shard_files(f"{scheme}{release}"))) == ["release/data/a.parquet", "release/data/b.parquet"]


@pytest.mark.parametrize("scheme", ["", "file://", "flaky://"])
def test_one_file_is_named_with_its_folder(scheme, release):
    (file,) = shard_files(f"{scheme}{release}/data/b.parquet")
    assert str(file) == "data/b.parquet"
    assert file.layout(["original"]).counts.tolist() == [2]


def test_a_folder_may_be_called_like_a_file(release):
    folder = (release / "data").rename(release / "train.parquet")
    for scheme in ("", "flaky://"):
        assert [file.uri for file in shard_files(f"{scheme}{folder}")] == ["a.parquet", "b.parquet"]


def test_files_in_an_archive_are_read(release, tmp_path):
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        for path in sorted(release.rglob("*.parquet")):
            archive.write(path, path.relative_to(release))
    files = shard_files(f"zip://::file://{tmp_path}/release.zip")
    assert list(map(str, files)) == ["release.zip/data/a.parquet", "release.zip/data/b.parquet"]
    (one,) = shard_files(f"zip://data/b.parquet::file://{tmp_path}/release.zip")
    assert one.layout([]).digest == files[1].layout([]).digest


def test_a_query_belongs_to_one_file_and_is_not_told(release):
    signed = (release / "data" / "a.parquet").rename(release / "data" / "a.parquet?signature=secret")
    (file,) = shard_files(f"flaky://{signed}")
    assert file.layout([]).counts.tolist() == [4]
    assert (file.name, str(file)) == ("a.parquet", "data/a.parquet")
    with pytest.raises(UsageError, match=r"^data: a URL with a query is that of one Parquet file; there is none at this one$"):
        shard_files(f"flaky://{release}/data/?signature=secret")


def test_a_query_may_be_that_of_an_archive(release, tmp_path):
    with zipfile.ZipFile(tmp_path / "release.zip?signature=secret", "w") as archive:
        archive.write(release / "data" / "a.parquet", "a.parquet")
    assert list(map(str, shard_files(f"zip://::file://{tmp_path}/release.zip?signature=secret"))) == ["release.zip/a.parquet"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host/sets/release/", "release"),
        ("https://user:secret@host", "host"),
        ("https://user:se?cret@host/", "host"),
        ("https://host/release?token=sec/ret", "release"),
        ("s3://bucket", "bucket"),
        ("hf://datasets/owner/name@main", "name@main"),
        ("zip://data::https://user:secret@host/release.zip?token=secret", "release.zip"),
        ("/home/somebody/release/", "release"),
        ("/home/somebody/who? me@home", "who? me@home"),
        ("file:///home/somebody/release", "release"),
    ],
)
def test_what_messages_call_a_source(url, shown):
    assert shown_root(url) == shown


def test_a_url_that_does_not_answer_is_told():
    FlakyFileSystem.begin(one_in=1, error=lambda: PermissionError("secret"))
    with pytest.raises(UsageError, match=r"^a\.parquet: cannot be reached \(Permission denied\); name the OUT of"):
        shard_files("flaky:///sets/a.parquet")


def test_a_server_that_gives_no_parts_of_files_is_told(monkeypatch):
    def refuse(*_):
        raise ValueError("The HTTP server doesn't appear to support range requests: https://user:secret@host")

    monkeypatch.setattr(Root, "open", refuse)
    with pytest.raises(UsageError, match=r"^release/a\.parquet: the server gives no parts of files; fetch the files"):
        ShardFile(Root("flaky:///release"), "a.parquet", "release").layout([])
