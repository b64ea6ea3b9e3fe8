"""SHA256SUMS is written in one way, read in one way, and names nothing outside the release."""

import hashlib
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.release.sums import MOST_BYTES, SUMS_FILE, parse_sums, path_problem, read_sums, sums_bytes
from normpipe.sources.root import Root

_A, _B = "a" * 64, "b" * 64
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_PATHS = st.text(min_size=1, max_size=30).filter(lambda path: path_problem(path) is None)


def line(path, digest=_A):
    return f"{digest}  {path}\n".encode()


def test_the_form_is_that_of_sha256sum(tmp_path):
    files = {"README.md": b"card", "data/train-00000-of-00001.parquet": b"rows", "audit/run 1.json": b"{}"}
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    (tmp_path / SUMS_FILE).write_bytes(sums_bytes(digests))
    assert read_sums(tmp_path).digests == digests
    assert read_sums(Root(tmp_path.as_uri())) == read_sums(tmp_path)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", SUMS_FILE], cwd=tmp_path, check=True, capture_output=True)


def test_lines_are_sorted_by_path():
    assert sums_bytes({"b": _A, "a/z": _B}) == line("a/z", _B) + line("b")


@given(st.dictionaries(_PATHS, _DIGESTS, min_size=1, max_size=8))
def test_what_is_written_is_read_and_nothing_else_reads_the_same(digests):
    try:
        content = sums_bytes(digests)
    except UsageError:  # two names that are one file somewhere
        return
    read = parse_sums(content)
    assert read.digests == digests
    assert sums_bytes(read.digests) == content


@given(
    st.binary(max_size=300)
    | st.lists(st.tuples(_DIGESTS, st.text(max_size=20)), max_size=5).map(
        lambda pairs: "".join(f"{digest}  {path}\n" for digest, path in pairs).encode("utf-8", "surrogatepass")
    )
)
def test_any_bytes_are_read_as_written_or_refused_in_one_line(content):
    try:
        assert sums_bytes(parse_sums(content).digests) == content
    except UsageError as error:
        said = str(error)
        assert re.fullmatch(f"{SUMS_FILE}.*", said)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "data", "C:", "\\", "~", "a\0b", " x", "x."]), max_size=5).map("/".join))
def test_no_name_leaves_the_folder(tmp_path_factory, path):
    if path_problem(path) is None:
        base = tmp_path_factory.getbasetemp()
        assert (base / path).resolve().is_relative_to(base)
        assert (base / path).resolve() != base


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "a/", ".", "..", "a\\..\\x", "\\\\host\\x", "C:/x", "a\0", "a\rb",
        "a\u202eb", " a", "a ", "a.", ".hidden", "a/.b.part", SUMS_FILE, "SHA256SUMS.sig", "sha256sums", "x" * 256,
        "a/" * 500 + "b",
    ],
)  # fmt: skip
def test_hostile_names_are_refused(path):
    with pytest.raises(UsageError):
        parse_sums(line(path))
    with pytest.raises(UsageError):
        sums_bytes({path: _A})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        line("a")[:-1],  # cut off
        line("a") + b"\n",
        line("a") + line("a"),
        line("a") + line("a", _B),
        line("b") + line("a"),  # not sorted
        line("A") + line("a"),  # one file on some systems
        line("caf\u00e9") + line("cafe\u0301"),
        line("a") + line("a/b"),
        line("a", _A.upper()),
        line("a", _A[:-1]),
        line("a").replace(b"  ", b" *"),
        b"\\" + line("a"),
        line("a").replace(b"\n", b"\r\n"),
        _A.encode() + b"  \xff\n",
        line("a") * (MOST_BYTES // 60),
    ],
)
def test_every_other_form_is_refused(content):
    with pytest.raises(UsageError, match=f"^{SUMS_FILE}"):
        parse_sums(content)


def test_a_folder_without_sums_is_no_release(tmp_path):
    with pytest.raises(UsageError, match="not there; this is no release"):
        read_sums(tmp_path)
    with pytest.raises(UsageError, match="not there; this is no release"):
        read_sums(tmp_path / "absent")
