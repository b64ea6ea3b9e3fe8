"""INPUT of the run command, whatever it is (manifest, folder, glob, single file), becomes a manifest and its ROOT."""

import re
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.sources.folder import build_folder
from normpipe.sources.manifest import FileSource, ManifestSource, TableSource
from normpipe.sources.media import Kind, kind_of_name
from normpipe.sources.root import Root, is_remote
from normpipe.sources.rows import TABLE_SUFFIXES
from normpipe.sources.video import Sampling

_WILDCARD = re.compile(r"[*?\[]")


def manifest_for_input(
    location: str, root: Root | None = None, *, sampling: Sampling | None = None
) -> tuple[ManifestSource, Root]:
    """Manifest of an input, and where its files lie.

    Args:
        location: A manifest file, a folder or fsspec URL, a single image or clip, or a glob such as "photos/**/*.jpg".
        root: ROOT of a manifest; by default the folder that the manifest lies in. For media, ROOT is the folder itself, or the
            fixed part of the glob, and may not be given.
        sampling: Which frames of clips to take; all by default, and not used for a manifest.

    Returns:
        The rows, and ROOT. A manifest is not read yet: its problems, or that it has no rows, show when its batches are read.

    Raises:
        UsageError: there is no such input, or it holds no media.
    """
    path = Path(location)
    if not is_remote(location) and path.is_file():
        if path.suffix.lower() in TABLE_SUFFIXES:
            return FileSource(path), root or Root(str(path.parent))
        if kind_of_name(path.name) is Kind.OTHER:
            raise UsageError(
                f"{path.name}: neither a manifest ({', '.join(sorted(TABLE_SUFFIXES))}) nor an image or video by its name"
            )
        glob = re.sub(r"([*?\[])", r"[\1]", path.name)
        found = Root(str(path.parent))
    elif not is_remote(location) and path.is_dir():
        glob, found = None, Root(location)
    elif _WILDCARD.search(location):
        folder, glob = _split_glob(location)
        found = Root(folder)
    elif is_remote(location):
        glob, found = None, Root(location)
    else:
        raise UsageError(f"INPUT {path.name!r}: no such file or folder")
    if root is not None:
        raise UsageError("--root belongs to a manifest; for a folder, file or glob, ROOT is INPUT's own folder")
    table = build_folder(found, glob=glob, sampling=sampling).table
    if table.num_rows == 0:
        raise UsageError("INPUT: no image or video by its name (hidden files are left out)")
    return TableSource(table), found


def _split_glob(location: str) -> tuple[str, str]:
    """Fixed folder and pattern of a glob."""
    first = _WILDCARD.search(location)
    assert first is not None
    folder, _, _ = location[: first.start()].rpartition("/")
    return folder or ("/" if location.startswith("/") else "."), location[len(folder) :].lstrip("/")
