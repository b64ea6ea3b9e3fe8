"""A pull ends with the whole release in the folder, verified, and whatever a stranger serves, with nothing anywhere else."""

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from hashlib import sha256

import pytest
from fixtures.command import normpipe
from fixtures.small_release import contents, write_release, write_sums

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.pull import MARKER_FILE, pull
from normpipe.release.remote import open_remote
from normpipe.release.sums import SUMS_FILE

DATA = "data/train-00000-of-00003.parquet"


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pulled"


class Broken:
    """A place whose connection breaks after so many files, SHA256SUMS among them."""

    def __init__(self, source, after):
        self._source = source
        self._left = after
        self.name = source.name

    def sizes(self):
        return self._source.sizes()

    def open(self, path):
        if self._left == 0:
            raise ConnectionResetError
        self._left -= 1
        return self._source.open(path)


def fetch(release, folder, jobs=2):
    return pull(open_remote(str(release)), folder, jobs)


def test_everything_is_in_the_folder_in_the_end_and_nothing_else(release, folder):
    pulled = fetch(release, folder)
    assert contents(folder) == contents(release)
    assert (pulled.files, pulled.fetched, pulled.signed) == (7, 7, False)


def test_what_is_there_is_not_fetched_again(release, folder):
    fetch(release, folder)
    assert fetch(release, folder).fetched == 0


@pytest.mark.parametrize("after", range(1, 6))
def test_a_broken_pull_looks_unfinished_and_goes_on(release, folder, after):
    with pytest.raises(ConnectionResetError):
        pull(Broken(open_remote(str(release)), after), folder, jobs=1)
    assert SUMS_FILE not in contents(folder)
    assert fetch(release, folder).fetched == 7 - (after - 1)
    assert contents(folder) == contents(release)


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(bytes(file.stat().st_size))])
def test_a_folder_that_was_damaged_is_mended(release, folder, spoil):
    fetch(release, folder)
    spoil(folder / DATA)
    assert fetch(release, folder).fetched == 1
    assert contents(folder) == contents(release)


@pytest.mark.parametrize(
    "change", [lambda content: content[:-1], lambda content: content + b"x", lambda content: b"y" + content[1:]]
)
def test_a_file_that_is_not_what_the_sums_say_gets_no_name(release, folder, change):
    (release / DATA).write_bytes(change((release / DATA).read_bytes()))
    with pytest.raises(NormpipeError, match=f"^{DATA}: what was read has not the sha256 of {SUMS_FILE}"):
        fetch(release, folder)
    assert not {DATA, SUMS_FILE} & contents(folder).keys()


def test_what_the_sums_do_not_name_is_refused(release, folder):
    (release / "data/setup.py").write_text("import this\n")
    with pytest.raises(UsageError, match=r"^release: holds files that SHA256SUMS does not name \('data/setup.py'\)$"):
        fetch(release, folder)
    assert not folder.exists()


def test_what_the_sums_name_must_be_there(release, folder):
    (release / DATA).unlink()
    with pytest.raises(NormpipeError, match=f"^{DATA}: {SUMS_FILE} names it, but it is not there"):
        fetch(release, folder)
    assert not folder.exists()


def test_an_unfinished_release_is_none(release, folder):
    (release / SUMS_FILE).unlink()
    with pytest.raises(UsageError, match=r"^release: no SHA256SUMS is there; this is no release, or its push is not finished"):
        fetch(release, folder)


@pytest.mark.parametrize("path", ["../outside", "/outside", "data/../../outside", "..", "data\\..\\..\\outside"])
def test_hostile_names_reach_nothing_outside_the_folder(release, folder, tmp_path, path):
    (tmp_path / "outside").write_bytes(b"mine")
    lines = (release / SUMS_FILE).read_bytes() + f"{sha256(b'theirs').hexdigest()}  {path}\n".encode()
    (release / SUMS_FILE).write_bytes(b"".join(sorted(lines.splitlines(keepends=True), key=lambda line: line[66:])))
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"^{SUMS_FILE}: "):
        fetch(release, folder)
    assert contents(tmp_path) == before


class Endless:
    """A place that lists a file of ten bytes and never ends sending it."""

    def __init__(self, source):
        self._source = source
        self.read = 0
        self.name = source.name

    def sizes(self):
        return self._source.sizes()

    def open(self, path):
        if path != DATA:
            return self._source.open(path)
        place = self

        class Zeros:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def read(self, size):
                place.read += size
                return bytes(size)

        return Zeros()


def test_nothing_is_read_further_than_it_is_said_to_be_long(release, folder):
    source = Endless(open_remote(str(release)))
    with pytest.raises(NormpipeError, match=f"^{DATA}: "):
        pull(source, folder, jobs=1)
    assert source.read <= 2 << 20


def test_links_in_the_folder_are_not_followed(release, folder, tmp_path):
    fetch(release, folder)
    elsewhere = tmp_path / "elsewhere"
    (folder / "data").rename(elsewhere)
    (folder / "data").symlink_to(elsewhere)
    (elsewhere / "train-00000-of-00003.parquet").write_bytes(b"mine")
    before = contents(elsewhere)
    with pytest.raises(UsageError, match=r"^pulled: data is a link"):
        fetch(release, folder)
    assert contents(elsewhere) == before


def test_a_link_in_place_of_a_file_is_replaced_and_not_written_through(release, folder, tmp_path):
    fetch(release, folder)
    (tmp_path / "mine").write_bytes(b"mine")
    (folder / DATA).unlink()
    (folder / DATA).symlink_to(tmp_path / "mine")
    fetch(release, folder)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert contents(folder) == contents(release)


@pytest.mark.parametrize("path", ["README.md", "notes.txt", MARKER_FILE])
def test_a_folder_that_holds_anything_else_is_left_alone(release, folder, path):
    folder.mkdir()
    (folder / path).write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"^pulled: holds other files, or another release"):
        fetch(release, folder)
    assert contents(folder) == {path: b"mine"}


@pytest.mark.parametrize("finished", [True, False])
def test_another_release_is_not_mixed_with_this_one(release, folder, tmp_path, finished):
    other = write_release(tmp_path / "other", version="1.1.0")
    if finished:
        fetch(other, folder)
    else:
        with pytest.raises(ConnectionResetError):
            pull(Broken(open_remote(str(other)), 3), folder, jobs=1)
    before = contents(folder)
    with pytest.raises(UsageError, match=r"^pulled: holds other files, or another release"):
        fetch(release, folder)
    assert contents(folder) == before


def test_files_added_to_a_pulled_release_are_told(release, folder):
    fetch(release, folder)
    (folder / "notes.txt").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"^pulled: holds files that SHA256SUMS does not name \('notes.txt'\)$"):
        fetch(release, folder)


@pytest.fixture
def web(release):
    """Serves the release without saying what else there is."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=release)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_web_server_needs_no_listing(web, release, folder):
    pytest.importorskip("aiohttp")
    assert pull(open_remote(web), folder, jobs=2).fetched == 7
    assert contents(folder) == contents(release)


def test_the_command_says_what_it_did(release, folder, capsys):
    code, out, err = normpipe(capsys, "release", "pull", release.as_uri(), folder)
    size = sum(map(len, contents(release).values()))
    assert (code, out) == (0, f"pulled: 7 files, 7 of them fetched ({size} bytes); all verified; not signed\n")
    assert "README.md: fetched, 37 bytes\n" in err


@pytest.mark.slow
def test_a_pull_that_is_killed_goes_on(tmp_path, folder):
    release = write_release(tmp_path / "large", data=(60 << 20,) * 4)
    write_sums(release)
    command = [sys.executable, "-m", "normpipe", "release", "pull", str(release), str(folder), "--jobs", "1"]
    kept = 0
    for count in (1, 3):
        process = subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL)
        while len(list(folder.rglob("*.parquet"))) < count and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
        there = {path: content for path, content in contents(folder).items() if not path.endswith(".part")}
        there.pop(MARKER_FILE)
        assert there.items() <= contents(release).items()
        assert SUMS_FILE not in there
        kept = len(there)
    done = fetch(release, folder)
    assert done.fetched == done.files - kept
    assert contents(folder) == contents(release)
