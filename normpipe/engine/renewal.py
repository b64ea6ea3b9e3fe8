"""Doing a committed shard again without risking what it has.

`--retry-failed` takes shards of which some rows failed for reasons that may have passed. They may not have, and more may be
wrong by now: so the old files are kept under another name until the new ones are committed, and come back unless those are
better. A kill in between is put right by the next run, which finds the kept files and asks the journal which ones are valid.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from normpipe.engine.tasks import OutputFile
from normpipe.shards.atomic import sha256_of

_SUFFIX = ".kept"


class Kept:
    """Files of a shard that is being done again."""

    def __init__(self, out: Path, files: Iterable[OutputFile]) -> None:
        self._targets = [out / file.path for file in files]

    def keep(self) -> None:
        """Give them a second name; those that have one since an earlier attempt are the valid ones."""
        for target in self._targets:
            kept = _kept(target)
            if kept.exists():
                continue
            try:
                kept.hardlink_to(target)
            except OSError:  # a file system without links
                shutil.copy2(target, kept)

    def restore(self) -> None:
        """Put the old files back in their place."""
        for target in self._targets:
            kept = _kept(target)
            if kept.exists():
                kept.replace(target)

    def forget(self) -> None:
        """Drop the old files: the new ones are committed."""
        for target in self._targets:
            _kept(target).unlink(missing_ok=True)


@contextmanager
def kept(out: Path, files: Iterable[OutputFile]) -> Iterator[Kept]:
    """Keep the files of a shard through the block; they come back at its end unless they were forgotten."""
    old = Kept(out, files)
    old.keep()
    try:
        yield old
    finally:
        old.restore()


def recover(out: Path, folders: Iterable[str], committed: Callable[[], Iterable[OutputFile]]) -> None:
    """Put right what killed processes left; call while no shard is being done.

    Args:
        out: The run's folder.
        folders: Subfolders that shards are written to.
        committed: Gives the files of all records, whatever lies in their place now; asked only where something was left.
    """
    found = [path for folder in folders for path in (out / folder).glob(f".*{_SUFFIX}")]
    if not found:
        return
    digests = {out / file.path: file.sha256 for file in committed()}
    for path in found:
        target = path.with_name(path.name[1:].removesuffix(_SUFFIX))
        if sha256_of(path) == digests.get(target):
            path.replace(target)
        else:
            path.unlink()


def _kept(target: Path) -> Path:
    return target.with_name(f".{target.name}{_SUFFIX}")
