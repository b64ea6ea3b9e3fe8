"""A remote file system that fails now and then gives what a local disk gives; one that fails for good says so at once."""

import errno
import http.client
import io
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.clips import write_video
from fixtures.flaky import FlakyFileSystem
from PIL import Image

from normpipe.batches import FrameRef
from normpipe.config import Decode
from normpipe.errors import UsageError
from normpipe.records import Failure, Reason
from normpipe.sources import retries
from normpipe.sources.failures import DECODE_ERRORS, decode_failure
from normpipe.sources.folder import build_folder
from normpipe.sources.manifest import check_manifest, frame_refs
from normpipe.sources.retries import ResumingFile, retried
from normpipe.sources.root import Root, existing_root
from normpipe.sources.video import open_clip
from normpipe.stages.decode import decode

ATTEMPTS = 6


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_PAUSES", (0.0,) * (ATTEMPTS - 1))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty stills in eight folders, an animation, two clips."""
    folder = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0)
    for number in range(40):
        path = folder / f"{number % 8}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    # Noise does not compress: the clips are read in many pieces.
    write_video(folder / "a.mp4", 60, gop=6, options={"crf": "1"}, size=(320, 240))
    write_video(folder / "b.mkv", 60, gop=6, options={"crf": "1"}, size=(320, 240))
    return folder


class Failing:
    """Fails some times, then gives 7."""

    def __init__(self, times: int, error: Callable[[], Exception]) -> None:
        self.calls = 0
        self._times = times
        self._error = error

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error()
        return 7


@pytest.mark.parametrize(
    "error",
    [OSError, ConnectionResetError, TimeoutError, lambda: OSError(errno.EIO, "x"), lambda: http.client.IncompleteRead(b"")],
)
def test_what_may_pass_is_tried_again(error: Callable[[], Exception]) -> None:
    assert retried(Failing(ATTEMPTS - 1, error)) == 7
    with pytest.raises(OSError, match=r"^\[Errno \d+\]"):
        retried(Failing(ATTEMPTS, error))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lambda: FileNotFoundError("s3://bucket/a.jpg"), FileNotFoundError),
        (PermissionError, PermissionError),
        (IsADirectoryError, IsADirectoryError),
        (NotADirectoryError, NotADirectoryError),
        (lambda: OSError(errno.ENAMETOOLONG, "x"), OSError),
    ],
)
def test_a_fact_is_reported_at_once(error: Callable[[], Exception], expected: type[OSError]) -> None:
    failing = Failing(1, error)
    with pytest.raises(expected) as caught:
        retried(failing)
    assert failing.calls == 1
    assert "bucket" not in str(caught.value)


def test_a_fault_of_the_program_is_no_failed_transfer() -> None:
    failing = Failing(1, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        retried(failing)
    assert failing.calls == 1


def test_errors_of_backends_become_os_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiohttp raises them, which is not installed here: no OSError, and the server's answer in `status`."""
    aiohttp = types.ModuleType("aiohttp")

    class ClientError(Exception):
        def __init__(self, status: int | None) -> None:
            super().__init__("https://host/bucket/a.jpg")
            self.status = status

    aiohttp.ClientError = ClientError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiohttp", aiohttp)
    transient = {None: OSError, 503: OSError, 408: TimeoutError}
    for status, kind in {**transient, 403: PermissionError, 404: FileNotFoundError}.items():
        failing = Failing(ATTEMPTS, lambda status=status: ClientError(status))
        with pytest.raises(kind) as caught:
            retried(failing)
        assert type(caught.value) is kind
        assert failing.calls == (ATTEMPTS if status in transient else 1)
        assert "host" not in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_a_file_reads_on_where_it_was(tmp_path: Path, seed: int) -> None:
    content = np.random.default_rng(seed).bytes(100_000)
    (tmp_path / "x").write_bytes(content)
    FlakyFileSystem.begin(seed, one_in=20)
    chance, plain = random.Random(seed), io.BytesIO(content)
    with ResumingFile(lambda: FlakyFileSystem().open(str(tmp_path / "x"))) as file:  # type: ignore[arg-type, return-value]
        for _ in range(200):
            if chance.random() < 0.3:
                where = chance.choice([(chance.randrange(100_000), 0), (chance.randrange(50), 1), (-chance.randrange(99), 2)])
                assert file.seek(*where) == plain.seek(*where)
            size = chance.choice([0, 1, 100, 5000, -1])
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
    failures = FlakyFileSystem.failures
    assert min(failures["read"], failures["open"] + failures["seek"]) > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_flaky_root_gives_what_the_disk_gives(media: Path, seed: int) -> None:
    FlakyFileSystem.begin(seed)
    local, flaky = Root(str(media)), Root(f"flaky://{media}")
    table = build_folder(flaky).table
    assert table.equals(build_folder(local).table)
    assert sorted(flaky.walk()) == sorted(local.walk())
    assert flaky.exists_as_folder()
    assert all(flaky.exists(uri) for uri in local.walk())
    refs = frame_refs(table)
    random.Random(seed).shuffle(refs)  # so that clips are sought in
    for far, near in zip(decode(refs, flaky, Decode()), decode(refs, local, Decode()), strict=True):
        assert isinstance(far.image, np.ndarray)
        assert np.array_equal(far.image, near.image)
        assert far.content_sha256 == near.content_sha256
    assert FlakyFileSystem.failures.total() > 20
    failures = FlakyFileSystem.failures
    assert min(failures["open"], failures["read"], failures["info"] + failures["ls"]) > 0


@pytest.mark.parametrize(("uri", "frame"), [("0/0.jpg", None), ("moving.gif", 1), ("a.mp4", 40), ("b.mkv", 40)])
@pytest.mark.parametrize(("error", "reason"), [(ConnectionResetError, Reason.IO_ERROR), (TimeoutError, Reason.TIMEOUT)])
def test_a_root_that_is_gone_is_no_damaged_file(
    media: Path, uri: str, frame: int | None, error: type[OSError], reason: Reason, capfd: pytest.CaptureFixture[str]
) -> None:
    FlakyFileSystem.begin(one_in=1, error=error)
    (result,) = decode([FrameRef("s", uri, frame, None, None)], Root(f"flaky://{media}"), Decode())
    assert isinstance(result.image, Failure)
    assert result.image.reason is reason
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("uri", ["moving.gif", "a.mp4", "b.mkv"])
def test_a_clip_whose_root_goes_and_comes_back(media: Path, uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The frames while it is gone fail for the environment; those after it are the same as ever."""
    FlakyFileSystem.begin(one_in=0)
    near = open_clip(Root(str(media)), uri, 10**8)
    with near, open_clip(Root(f"flaky://{media}"), uri, 10**8) as far:
        assert np.array_equal(far.read(0, None), near.read(0, None))
        FlakyFileSystem.begin(one_in=1)
        failures = []
        for frame in (59, 1) if uri != "moving.gif" else (2, 1):
            try:
                far.read(frame, None)
            except DECODE_ERRORS as error:
                failures.append(decode_failure(error).reason)
        assert set(failures) <= {Reason.IO_ERROR}  # what is buffered needs no transfer
        FlakyFileSystem.begin(one_in=0)
        for frame in (2, 0, 1):
            assert np.array_equal(far.read(frame, None), near.read(frame, None))
    assert failures or uri == "moving.gif"
    assert capfd.readouterr().err == ""


def test_a_missing_file_costs_one_call(media: Path) -> None:
    FlakyFileSystem.begin(one_in=0)
    root = Root(f"flaky://{media}")
    for read in (root.read, root.open):
        FlakyFileSystem.calls.clear()
        with pytest.raises(FileNotFoundError):
            read("none.jpg")
        assert FlakyFileSystem.calls.total() == 1
    FlakyFileSystem.calls.clear()
    assert not root.exists("none.jpg")
    assert FlakyFileSystem.calls.total() == 1


def test_a_root_that_cannot_be_listed_is_one_clear_line(media: Path, tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_text("sample_id,uri\na,0/0.jpg\nb,0/none.jpg\n")
    root = Root(f"flaky://{media}")
    FlakyFileSystem.begin(one_in=0)
    assert check_manifest(table, root).first == [(3, "uri: there is no file '0/none.jpg' below ROOT")]
    FlakyFileSystem.begin(one_in=1)
    for call in (lambda: check_manifest(table, root), lambda: build_folder(root), lambda: existing_root(root.url)):
        with pytest.raises(UsageError, match="cannot be"):
            call()
