"""ROOT: any file name survives the way through a manifest, and no URI leads out."""

import os
import pickle
import zipfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.sources.root import NotAFileError, Root, path_to_uri, uri_to_path

NAMES = [
    b"plain.jpg",
    b"two words.jpg",
    b"line\nbreak.jpg",
    "лицо/面.jpg".encode(),
    b"caf\xe9.jpg",
    b"100%.jpg",
    b"a%20b.jpg",
    b"a%E9.jpg",
    b"%25.jpg",
]


@given(
    st.binary(min_size=1, max_size=40).filter(
        lambda name: b"\0" not in name and not name.startswith(b"/") and b".." not in name
    )
)
def test_every_name_has_a_uri_and_comes_back(name: bytes) -> None:
    uri = path_to_uri(os.fsdecode(name))
    uri.encode("utf-8")
    assert os.fsencode(uri_to_path(uri)) == name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda name: "%" not in name))
def test_a_unicode_name_is_its_own_uri(name: str) -> None:
    assert path_to_uri(name) == name


@pytest.mark.parametrize(
    ("path", "uri"), [("100%.jpg", "100%.jpg"), ("a%20b", "a%20b"), ("a%E9", "a%25E9"), (os.fsdecode(b"\xe9"), "%E9")]
)
def test_only_what_must_be_is_escaped(path: str, uri: str) -> None:
    assert path_to_uri(path) == uri


def test_files_are_found_and_read_by_any_name(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]))
    root = Root(str(tmp_path))
    contents = {root.read(uri) for uri in root.walk()}
    assert contents == {bytes([number]) for number in range(len(NAMES))}
    assert all(root.exists(uri) for uri in root.walk())
    assert not root.exists("nothing.jpg")


@pytest.mark.parametrize("uri", ["", "/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/..", "nul\0.jpg"])
def test_a_uri_that_leads_out_is_refused(tmp_path: Path, uri: str) -> None:
    for read in (Root(str(tmp_path)).read, Root(str(tmp_path)).exists, Root("memory://x").exists):
        with pytest.raises(UsageError, match="below ROOT"):
            read(uri)


def test_two_dots_in_a_name_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a..b.jpg").write_bytes(b"x")
    assert Root(str(tmp_path)).read("a..b.jpg") == b"x"


def test_links_that_lead_back_do_not_loop(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert sorted(Root(str(tmp_path)).walk()) == ["a/x.jpg", "b/x.jpg"]


def test_a_remote_root_reads_alike(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/set/a.jpg": b"a", "/set/b c/д.jpg": b"b"})
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("a.jpg", b"a")
        content.writestr("b c/д.jpg", b"b")
    for url in ("memory://set", f"zip://::{archive}"):
        root = pickle.loads(pickle.dumps(Root(url)))
        assert sorted(root.walk()) == ["a.jpg", "b c/д.jpg"]
        assert root.read("b c/д.jpg") == b"b"
        assert root.exists("a.jpg")
        assert not root.exists("b c")
        assert root.local_path("a.jpg") is None
        with root.open("a.jpg") as file:
            assert file.seek(0, 2) == 1
        with pytest.raises(FileNotFoundError):
            root.read("none.jpg")


def test_file_urls_are_local(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    root = Root(f"file://{tmp_path}")
    assert root.is_local
    assert root.local_path("a.jpg") == tmp_path / "a.jpg"
    assert root.exists_as_folder()
    assert not Root(str(tmp_path / "a.jpg")).exists_as_folder()


def test_an_unknown_kind_of_url_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match="no file system"):
        Root("nonsense://x").read("a.jpg")


def test_keys_change_with_the_file_and_nothing_else(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    root = Root(str(tmp_path))
    uris = [f"{number}.jpg" for number in range(200)]
    before = root.stat_keys(uris)
    assert before == [root.stat_key(uri) for uri in uris]
    assert len(set(before)) == 200  # each has its own inode
    (tmp_path / "7.jpg").write_bytes(b"y")
    (tmp_path / "8.jpg").unlink()
    after = root.stat_keys([*uris, "../x"])
    assert [place for place in range(200) if before[place] != after[place]] == [7, 8]
    assert after[8] == after[200] == ""


def test_keys_of_remote_files() -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/keys/a.jpg": b"a", "/keys/b.jpg": b"b"})
    root = Root("memory://keys")
    before = root.stat_keys(["a.jpg", "b.jpg", "c.jpg"])
    files.pipe({"/keys/b.jpg": b"bb"})
    after = root.stat_keys(["a.jpg", "b.jpg", "c.jpg"])
    assert before[0] == after[0] != ""
    assert before[1] != after[1]
    assert before[2] == after[2] == ""


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(NotAFileError):
            Root(str(tmp_path)).open(name)


def test_a_link_that_leads_to_itself_is_listed_like_a_file(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert list(Root(str(tmp_path)).walk()) == ["loop.jpg"]
