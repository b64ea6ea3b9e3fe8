"""A folder of images and clips becomes a manifest.

sample_id is the URI, with `#` and the frame's index behind it for frames of clips, so it depends on nothing but the file's
place. Rows are sorted by URI (code points), then by frame. A file that has a media name but is broken stays a row: decode will
say why.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from fsspec.utils import glob_translate

from normpipe.errors import UsageError
from normpipe.sources.emotions import EmotionNames
from normpipe.sources.failures import DECODE_ERRORS, FILE_ERRORS
from normpipe.sources.manifest import manifest_table
from normpipe.sources.media import Kind, is_animated, kind_of_name
from normpipe.sources.root import Root
from normpipe.sources.rows import BATCH_ROWS
from normpipe.sources.video import FrameTime, Sampling, open_clip

PATH_FIELDS = ("subject", "sequence", "emotion", "split", "dataset")
_LEVELS = {"parent": 2, "grandparent": 3}
_UNLIMITED = 2**31 - 1
_PLAN, _MANIFEST = "plan.json", "manifest.parquet"  # the marks of a run's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLabels:
    """What the path of a file says about it.

    Attributes:
        levels: Field to "parent" or "grandparent", the folder that holds its value.
        pattern: Regular expression, searched in the URI, with named groups out of PATH_FIELDS; wins over `levels`.
        emotions: Raw emotion to common name, for those that are not known anyway.
        dataset: Name of the dataset, for all rows.
    """

    levels: Mapping[str, str] = field(default_factory=dict)
    pattern: str | None = None
    emotions: Mapping[str, str] = field(default_factory=dict)
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """Outcome of listing a folder.

    Attributes:
        table: In MANIFEST_SCHEMA.
        stills: Rows that are stills.
        clips: Clips whose frames are rows.
        broken: Clips that cannot be decoded; each is one row.
        hidden: Files left out because their name, or a folder's above them, starts with a dot.
        other: Files left out because they are no media by name, or belong to a run's folder.
        unmatched: Files whose path the pattern does not match.
    """

    table: pa.Table
    stills: int
    clips: int
    broken: int
    hidden: int
    other: int
    unmatched: int


def build_folder(
    root: Root,
    *,
    glob: str | None = None,
    kinds: frozenset[Kind] = frozenset({Kind.STILL, Kind.VIDEO}),
    sampling: Sampling | None = None,
    labels: PathLabels | None = None,
) -> FolderManifest:
    """List the media below ROOT.

    Args:
        root: Folder or URL.
        glob: Take only files that match, such as "**/*.mp4" (`*` stays within a folder, `**` does not).
        kinds: Stills, clips, or both.
        sampling: Which frames of clips to take; all by default.
        labels: What to read from paths.

    Raises:
        UsageError: ROOT is no folder or cannot be listed, the pattern is wrong or matches nothing, or an emotion has no common
            name.
    """
    labels = labels or PathLabels()
    sampling = sampling or Sampling()
    pattern = _compiled(labels.pattern)
    emotions = EmotionNames(labels.emotions)
    uris, hidden, other = _media(root, glob)
    rows = _Rows()
    stills = clips = broken = unmatched = 0
    for uri in uris:
        still = _is_still(root, uri)
        if (Kind.STILL if still else Kind.VIDEO) not in kinds:
            other += 1
            continue
        values = _from_path(uri, labels.levels)
        if pattern is not None:
            match = pattern.search(uri)
            unmatched += match is None
            values |= match.groupdict() if match else {}
        values["dataset"] = values.get("dataset") or labels.dataset
        values["emotion_raw"] = values.get("emotion")
        values["emotion"] = emotions.common(values.get("emotion"))
        if still:
            stills += 1
            times = [FrameTime(0, None, None)]
        else:
            clips += 1
            values["sequence"] = values.get("sequence") or uri
            times, sound = clip_times(root, uri, sampling)
            broken += not sound
        for time in times:
            if still:
                rows.add(uri, uri, None, None, None, values)
            else:
                rows.add(frame_id(uri, time.frame), uri, time.frame, time.pts, time.timestamp, values)
    emotions.raise_if_unknown()
    if uris and unmatched == stills + clips and pattern is not None:
        raise UsageError(f"--pattern matches no path, such as {uris[0]!r}")
    return FolderManifest(rows.table(), stills, clips, broken, hidden, other, unmatched)


class _Rows:
    """Rows on their way into a table; Python objects, which take ten times the memory, only of the last ones."""

    def __init__(self) -> None:
        self._columns: dict[str, list[object]] = {
            name: [] for name in ("sample_id", "uri", "frame", "pts", "timestamp", "emotion_raw", *PATH_FIELDS)
        }
        self._tables: list[pa.Table] = []

    def add(
        self,
        sample_id: str,
        uri: str,
        frame: int | None,
        pts: int | None,
        timestamp: float | None,
        values: Mapping[str, str | None],
    ) -> None:
        given = (sample_id, uri, frame, pts, timestamp)
        labels = (values.get(name) for name in ("emotion_raw", *PATH_FIELDS))
        for column, value in zip(self._columns.values(), (*given, *labels), strict=True):
            column.append(value)
        if len(self._columns["uri"]) == BATCH_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables)

    def _flush(self) -> None:
        self._tables.append(manifest_table(self._columns, len(self._columns["uri"])))
        for column in self._columns.values():
            column.clear()


def clip_times(root: Root, uri: str, sampling: Sampling) -> tuple[list[FrameTime], bool]:
    """Frames of a clip to take, and True; frame 0 and False if the clip cannot be decoded at all."""
    times: list[FrameTime] = []
    try:
        with open_clip(root, uri, _UNLIMITED) as clip:
            times.extend(sampling.pick(clip.times()))
    except (*DECODE_ERRORS, *FILE_ERRORS):
        pass  # the frames before the damage are rows
    return (times, True) if times else ([FrameTime(0, None, None)], False)


def frame_id(name: str, frame: int) -> str:
    """sample_id of a clip's frame."""
    return f"{name}#{frame:06d}"


def _media(root: Root, glob: str | None) -> tuple[list[str], int, int]:
    """Sorted URIs of visible media files, and how many hidden and other files there are."""
    wanted = re.compile(glob_translate(glob)).match if glob else None
    uris: list[str] = []
    runs = {_PLAN: set[str](), _MANIFEST: set[str]()}
    hidden = other = 0
    try:
        if not root.exists_as_folder():
            raise UsageError("ROOT is no folder: name an existing folder or URL")
        for uri in root.walk():
            folder, _, name = uri.rpartition("/")
            if folder and name in runs:
                runs[name].add(f"{folder}/")
            if uri.startswith(".") or "/." in uri:
                hidden += 1
            elif kind_of_name(uri) is Kind.OTHER or (wanted is not None and not wanted(uri)):
                other += 1
            else:
                uris.append(uri)
    except OSError as error:
        raise UsageError(f"ROOT: a folder cannot be listed ({error.strerror or 'transfer failed'})") from error
    # What a run wrote below its own input, such as the report's pictures, is no input.
    written = tuple(runs[_PLAN] & runs[_MANIFEST])
    kept = [uri for uri in uris if not uri.startswith(written)]
    return sorted(kept), hidden, other + len(uris) - len(kept)


def _is_still(root: Root, uri: str) -> bool:
    kind = kind_of_name(uri)
    if kind is not Kind.ANIMATION:
        return kind is Kind.STILL
    try:
        return not is_animated(root, uri)
    except FILE_ERRORS:
        return True


def _from_path(uri: str, levels: Mapping[str, str]) -> dict[str, str | None]:
    parts = uri.split("/")
    return {name: parts[-_LEVELS[level]] if len(parts) >= _LEVELS[level] else None for name, level in levels.items()}


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--pattern {pattern}: {error}") from error
    unknown = sorted(set(compiled.groupindex) - set(PATH_FIELDS))
    if unknown or not compiled.groupindex:
        raise UsageError(f"--pattern {pattern}: name its groups (?P<name>...) out of {', '.join(PATH_FIELDS)}")
    return compiled
