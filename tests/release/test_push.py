"""A push ends with the whole release there, verified; whatever goes wrong, nobody takes half of it for the whole."""

import logging
import os
import random
import subprocess
import sys
import time
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import fsspec
import pytest
from fixtures.command import normpipe
from fixtures.small_release import contents, write_release

from normpipe.errors import ModelUnavailableError, NormpipeError, UsageError
from normpipe.release.parallel import Halt
from normpipe.release.push import outgoing_files, push
from normpipe.release.remote import open_target
from normpipe.release.sums import SUMS_FILE

pytest.importorskip("moto", reason="needs the dev dependency moto[server]")

from fixtures.s3_server import BUCKET, s3_server

MIB = 1 << 20
LARGE = 9 * MIB  # two parts on S3


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").propagate = False  # hundreds of lines, of no use to whoever reads a failure
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.answered.clear()
    return server


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


class FolderPlace:
    """A folder of this machine."""

    name = "there"

    def __init__(self, folder):
        self.url = folder.as_uri()
        self.folder = folder

    def contents(self):
        return contents(self.folder) if self.folder.exists() else {}

    def put(self, path, content):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)


class MemoryPlace:
    """Stands for every file system of fsspec that normpipe has no code for."""

    def __init__(self):
        self.url = self.name = f"memory://{uuid4().hex}"

    def contents(self):
        files, base = fsspec.core.url_to_fs(self.url)
        return {path.removeprefix(f"{base}/"): files.cat_file(path) for path in files.find(base)}

    def put(self, path, content):
        with fsspec.open(f"{self.url}/{path}", "wb") as file:
            file.write(content)


class S3Place:
    def __init__(self, server):
        self.server = server
        self.prefix = uuid4().hex
        self.url = self.name = f"s3://{BUCKET}/{self.prefix}"

    def contents(self):
        return self.server.objects(self.prefix)

    def put(self, path, content):
        self.server.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{path}", Body=content)


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "folder":
        return FolderPlace(tmp_path / "there")
    return MemoryPlace() if request.param == "memory" else S3Place(request.getfixturevalue("s3"))


def flip(content):
    return bytes([content[0] ^ 1]) + content[1:]


class Broken:
    """A place whose connection breaks after so many files."""

    def __init__(self, target, after):
        self._target = target
        self._left = after

    def __getattr__(self, name):
        return getattr(self._target, name)

    def send(self, file, halt):
        if self._left == 0:
            raise ConnectionResetError
        self._left -= 1
        self._target.send(file, halt)


def test_everything_is_there_in_the_end_and_nothing_else(release, place):
    pushed = push(release, open_target(place.url), jobs=2)
    assert place.contents() == contents(release)
    assert (pushed.files, pushed.sent) == (7, 7)
    assert pushed.sent_bytes == sum(map(len, contents(release).values()))


def test_what_is_there_is_not_sent_again(release, place):
    push(release, open_target(place.url), jobs=2)
    assert push(release, open_target(place.url), jobs=2).sent == 0


@pytest.mark.parametrize("after", range(1, 7))
def test_a_broken_push_looks_unfinished_and_goes_on(release, place, after):
    with pytest.raises(OSError):
        push(release, Broken(open_target(place.url), after), jobs=1)
    assert SUMS_FILE not in place.contents()
    assert "release.json" in place.contents()
    assert push(release, open_target(place.url), jobs=2).sent == 7 - after
    assert place.contents() == contents(release)


@pytest.mark.parametrize("jobs", [1, 4])
def test_of_a_release_that_is_damaged_here_nothing_is_sent(release, place, jobs):
    data = release / "data/train-00000-of-00003.parquet"
    data.write_bytes(flip(data.read_bytes()))
    with pytest.raises(NormpipeError, match=r"train-00000-of-00003\.parquet: its sha256 is not the one in SHA256SUMS"):
        push(release, open_target(place.url), jobs=jobs)
    assert place.contents() == {}


def test_a_file_that_changes_while_others_are_sent_gets_no_name(release, place):
    file = next(file for file in outgoing_files(release) if file.path == "README.md")
    file.source.write_bytes(flip(file.source.read_bytes()))
    with pytest.raises(NormpipeError, match=r"^README\.md: its sha256 is not the one in SHA256SUMS"):
        open_target(place.url).send(file, Halt())
    assert place.contents() == {}


@pytest.mark.parametrize("spoil", [lambda data: data.unlink(), lambda data: data.with_name("more").touch()])
def test_a_folder_that_its_sums_do_not_describe_is_not_pushed(release, place, spoil):
    spoil(release / "data/train-00000-of-00003.parquet")
    with pytest.raises(UsageError, match=SUMS_FILE):
        push(release, open_target(place.url), jobs=1)
    assert place.contents() == {}


@pytest.mark.parametrize("finished", [True, False])
def test_another_release_is_not_mixed_with_this_one(release, place, tmp_path, finished):
    other = write_release(tmp_path / "other", version="1.1.0")
    target = open_target(place.url)
    if finished:
        push(other, target, jobs=2)
    else:
        with pytest.raises(OSError):
            push(other, Broken(target, 3), jobs=1)
    before = place.contents()
    with pytest.raises(UsageError, match=f"^{place.name}: another release, or files of none, are there"):
        push(release, open_target(place.url), jobs=2)
    assert place.contents() == before


@pytest.mark.parametrize("path", ["README.md", "notes.txt"])
def test_a_place_that_holds_anything_else_is_left_alone(release, place, path):
    place.put(path, b"mine")
    with pytest.raises(UsageError, match=f"^{place.name}: "):
        push(release, open_target(place.url), jobs=2)
    assert place.contents() == {path: b"mine"}


def test_a_truncated_file_is_sent_again(release, place):
    push(release, open_target(place.url), jobs=2)
    place.put("README.md", b"---")
    assert push(release, open_target(place.url), jobs=2).sent == 1
    assert place.contents() == contents(release)


def test_a_flipped_byte_is_found_by_reading_back(release, place):
    push(release, open_target(place.url), jobs=2)
    place.put("README.md", flip((release / "README.md").read_bytes()))
    pushed = push(release, open_target(place.url), jobs=2)
    assert (pushed.sent, pushed.sized > 0) == (0, True)  # only its size was compared, which is said
    pushed = push(release, open_target(place.url), jobs=2, check=True)
    assert (pushed.sent, pushed.sized) == (1, 0)
    assert place.contents() == contents(release)


def test_a_new_signature_follows_a_finished_push(release, place):
    push(release, open_target(place.url), jobs=2)
    for signature in (b"s" * 64, b"t" * 64):
        (release / "SHA256SUMS.sig").write_bytes(signature)
        assert push(release, open_target(place.url), jobs=2).sent == 1
        assert place.contents() == contents(release)


@pytest.mark.parametrize("leftover", [".README.md.part", ".README.md.0a1b2c3d.part"])
def test_what_a_killed_push_left_is_removed(release, tmp_path, leftover):
    place = MemoryPlace() if leftover.count(".") == 3 else FolderPlace(tmp_path / "there")
    place.put(leftover, b"ha")
    push(release, open_target(place.url), jobs=2)
    assert place.contents() == contents(release)


def test_s3_gets_the_name_of_the_release_first_and_its_sums_last(release, s3):
    place = S3Place(s3)
    push(release, open_target(place.url), jobs=4)
    written = [unquote(urlsplit(target).path).removeprefix(f"/{BUCKET}/{place.prefix}/") for target in s3.writes()]
    assert (written[0], written[-1]) == ("release.json", SUMS_FILE)
    assert sorted(written) == sorted(contents(release))


def test_s3_keeps_the_sha256_of_what_it_got_in_parts(tmp_path, s3):
    release, place = write_release(tmp_path / "large", data=(LARGE,)), S3Place(s3)
    assert push(release, open_target(place.url), jobs=2).sized == 0
    assert place.contents() == contents(release)
    assert s3.open_uploads(place.prefix) == {}


def test_s3_keeps_no_parts_of_a_file_that_was_wrong(tmp_path, s3):
    release, place = write_release(tmp_path / "large", data=(LARGE,)), S3Place(s3)
    data = release / "data/train-00000-of-00001.parquet"
    data.write_bytes(flip(data.read_bytes()))
    file = next(file for file in outgoing_files(release) if file.source == data)
    with pytest.raises(NormpipeError, match="its sha256"):
        open_target(place.url).send(file, Halt())
    assert s3.open_uploads(place.prefix) == {}


def test_s3_uploads_of_others_are_left_alone(release, s3):
    place = S3Place(s3)
    for key in ("elsewhere", "README.md"):
        s3.client.create_multipart_upload(Bucket=BUCKET, Key=f"{place.prefix}/{key}")
    push(release, open_target(place.url), jobs=1)
    assert list(s3.open_uploads(place.prefix)) == ["elsewhere"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "URL: "),
        ("hf://owner/name", "hf://owner/name: "),
        ("hf://datasets/name", "hf://datasets/name: "),
        ("nothing://me:secret@x", "nothing://x: "),
        ("simplecache::s3://me:secret@x/y", "y: "),
    ],
)
def test_addresses_that_mean_nothing_are_told_without_secrets(url, told):
    with pytest.raises(UsageError, match=f"^{told}") as caught:
        open_target(url)
    assert "secret" not in str(caught.value)


def test_folders_are_called_by_their_names(release, tmp_path):
    with pytest.raises(UsageError, match=r"^x: the folder above it is not there$"):
        push(release, open_target(str(tmp_path / "away" / "x")), jobs=1)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^file: a file of that name is there$"):
        push(release, open_target((tmp_path / "file").as_uri()), jobs=1)
    (release / "more").touch()
    with pytest.raises(UsageError, match=r"^release: holds files that SHA256SUMS does not name \('more'\)$"):
        push(release, open_target(str(tmp_path / "x")), jobs=1)


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ModelUnavailableError, match=r"^gs:// needs a package that is not installed: pip install gcsfs$"):
        open_target("gs://bucket/x")


def test_web_addresses_take_no_files(release):
    pytest.importorskip("aiohttp")
    with pytest.raises(UsageError, match="read only"):
        push(release, open_target("http://127.0.0.1:9/x"), jobs=1)


def test_the_release_is_no_place_to_push_it_to(release):
    with pytest.raises(UsageError, match="lies in the release itself"):
        push(release, open_target(str(release / "data")), jobs=1)


def test_a_place_that_cannot_be_reached_is_one_line_without_secrets(release, capsys, monkeypatch):
    monkeypatch.setattr("normpipe.sources.retries._PAUSES", (0.0,))
    code, out, err = normpipe(capsys, "release", "push", release, "ftp://me:secret@127.0.0.1:9/x")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ftp://127.0.0.1:9/x: cannot be reached or written (Connection refused)")
    assert "secret" not in err


def test_the_command_says_what_it_did(release, tmp_path, capsys):
    code, out, err = normpipe(capsys, "release", "push", release, tmp_path / "there")
    assert (code, out) == (0, f"there: 7 files, 7 of them sent ({sum(map(len, contents(release).values()))} bytes); "
                              "all verified, 7 of them by size only (--check reads them back)\n")  # fmt: skip
    assert "README.md: sent, 37 bytes\n" in err
    assert contents(tmp_path / "there") == contents(release)


def wait_for(reached, timeout=60.0):
    end = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def settled(s3):
    """When requests of a dead client have ended."""
    seen = -1
    while seen != len(s3.answered):
        seen = len(s3.answered)
        time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.timeout(600)
def test_a_push_to_s3_that_is_killed_five_times_sends_nothing_complete_twice(tmp_path, s3, seed):
    release, place, dice = write_release(tmp_path / "large", data=(20 * MIB,) * 10 + (3000,)), S3Place(s3), random.Random(seed)
    expected = contents(release)
    command = [sys.executable, "-m", "normpipe", "release", "push", str(release), place.url, "--jobs", "2"]
    complete = []  # how much had been answered by then, the objects, the parts
    for _ in range(5):
        start, more = len(s3.writes()), dice.randint(1, 3)
        process = subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL)
        wait_for(lambda: len(s3.writes()) >= start + more or process.poll() is not None)  # noqa: B023 - within the turn
        time.sleep(dice.uniform(0, 0.05))  # into the middle of something
        process.kill()
        process.wait()
        settled(s3)
        there = place.contents()
        assert SUMS_FILE not in there, "the draw left nothing to interrupt"
        assert there.items() <= expected.items(), "a file is whole or absent"
        complete.append((len(s3.answered), set(there), s3.open_uploads(place.prefix)))
    subprocess.run(command, env={**os.environ}, check=True, capture_output=True)
    assert place.contents() == expected
    assert s3.open_uploads(place.prefix) == {}
    assert any(parts for _, _, parts in complete), "no draw broke a large file off"
    for answered, objects, parts in complete:
        for method, target, _ in s3.answered[answered:]:
            url = urlsplit(target)
            path = unquote(url.path).removeprefix(f"/{BUCKET}/{place.prefix}/")
            if method == "PUT":
                assert path not in objects
                assert not [part for part in parts.get(path, []) if url.query.endswith(f"partNumber={part}")]
