"""Where pair shards come from: the files of a finished run, of a folder or of a URL, in the order of their names.

Of a run the journal tells which files are done; anywhere else every Parquet file is taken for pairs, but hidden ones.
"""

import errno
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from normpipe.classify.shard_files import ShardFile, shown_root
from normpipe.engine.journal import Journal
from normpipe.engine.plan import PLAN_FILE, read_plan
from normpipe.errors import UsageError
from normpipe.release.document import DRAFT_MARK, RELEASE_FILE
from normpipe.release.sums import SUMS_FILE
from normpipe.sources.root import Root, is_remote, named_path, path_to_uri
from normpipe.stages.parts import SHARDS_FOLDER

ADVICE = "name the OUT of `normpipe run`, or a folder or URL of Parquet files"

_SUFFIX = ".parquet"
_NUMBERED = re.compile(r"(?P<series>[^/]+)-\d{5}-of-(?P<count>\d{5})\.parquet$")
"""How the files of a release, and of most data sets of a hub, say how many they are."""


def run_folder(source: str) -> Path | None:
    """The OUT of a run on this machine if a source is one, or its shards/; else None."""
    if is_remote(source):
        return None
    folder = named_path(source).absolute()  # `.` has no name to tell
    if folder.name == SHARDS_FOLDER and (folder.parent / PLAN_FILE).is_file():
        return folder.parent  # whether they are all there is said beside them
    return folder if (folder / PLAN_FILE).is_file() else None


def shard_files(source: str, *, partial: bool = False) -> list[ShardFile]:
    """The files of one source, in the order of their names.

    Args:
        source: The OUT of a run, a folder or fsspec URL of Parquet files, or one such file.
        partial: Take what is committed of a run that is not finished.

    Raises:
        UsageError: the source is none, is not finished or has no files.
        IncompatibleRunError: a run's plan or journal is damaged.
    """
    if is_remote(source):
        return _remote_files(source)
    run, path = run_folder(source), named_path(source).absolute()
    if run is not None:
        return _committed_files(run, partial)
    if path.suffix == _SUFFIX and path.is_file():
        return [ShardFile(Root(str(path.parent)), path_to_uri(path.name), path.parent.name)]
    if not path.is_dir():
        raise UsageError(f"{path.name}: no such folder; {ADVICE}")
    return _parquet_files(str(path))


def _committed_files(out: Path, partial: bool) -> list[ShardFile]:
    plan = read_plan(out)
    assert plan is not None
    records = Journal(out, plan.fingerprint.digest).committed(plan.shards)
    if len(records) < len(plan.shards) and not partial:
        raise UsageError(f"{out.name}: the run is not finished ({len(records)} of {len(plan.shards)} shards); finish it first")
    if not records:
        raise UsageError(f"{out.name}: no shard of the run is done; go on with it first")
    return [ShardFile(Root(str(out)), f"{SHARDS_FOLDER}/{record.shard.name}{_SUFFIX}", out.name) for record in records]


def _remote_files(url: str) -> list[ShardFile]:
    """Of a URL, which may be that of one file; what follows a `?` in it is that file's alone."""
    first, chain, others = url.partition("::")
    address, mark, query = first.partition("?")
    above, _, name = address.rpartition("/")
    root, uri = Root(f"{above}/{chain}{others}"), path_to_uri(f"{name}{mark}{query}")
    try:
        if name.endswith(_SUFFIX) and root.exists(uri):
            return [ShardFile(root, uri, shown_root(root.url))]
    except OSError as error:
        raise UsageError(f"{name}: cannot be reached ({os.strerror(error.errno or errno.EIO)}); {ADVICE}") from error
    if mark:
        raise UsageError(f"{shown_root(url)}: a URL with a query is that of one Parquet file; there is none at this one")
    return _parquet_files(url)


def _parquet_files(url: str) -> list[ShardFile]:
    root, name = Root(url), shown_root(url)
    try:
        found = sorted(root.walk())
    except OSError as error:
        raise UsageError(f"{name}: cannot be listed; {ADVICE}") from error
    if PLAN_FILE in found:
        raise UsageError(f"{name}: a run at a URL does not tell whether it is finished; if it is, name its {SHARDS_FOLDER}/")
    uris = [uri for uri in found if uri.endswith(_SUFFIX) and not _is_hidden(uri)]
    if not uris:
        raise UsageError(f"{name}: holds no Parquet files; {ADVICE}")
    _check_whole(name, found, uris)
    return [ShardFile(root, uri, name) for uri in uris]


def _check_whole(name: str, found: Collection[str], uris: Sequence[str]) -> None:
    """A release that is built, pushed or pulled only in part has less to learn from and does not look it.

    Raises:
        UsageError: files are missing.
    """
    if DRAFT_MARK in found or (RELEASE_FILE in found and SUMS_FILE not in found):
        raise UsageError(f"{name}: a release that is not finished; finish its build, push or pull first")
    numbered = [match for uri in uris if (match := _NUMBERED.search(uri))]
    for series, count in sorted({(match["series"], match["count"]) for match in numbered}):
        there = sum((match["series"], match["count"]) == (series, count) for match in numbered)
        if there < int(count):
            raise UsageError(
                f"{name}: {there} of the {int(count)} files {series}-*-of-{count}{_SUFFIX} are there; fetch the others"
            )


def _is_hidden(uri: str) -> bool:
    return any(part.startswith(".") for part in uri.split("/"))
