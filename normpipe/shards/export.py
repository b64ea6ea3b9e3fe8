"""Pairs as plain files: a folder of pictures with one table of labels, or WebDataset tar files.

File names come from sample ids, made safe for every file system; rows without pictures stand in the table with empty names.
Equal runs export to equal bytes.
"""

import codecs
import csv
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.records import IMAGE_TYPE, PAIRS_SCHEMA
from normpipe.shards.atomic import AtomicFile
from normpipe.shards.reader import committed_parts, iter_part, iter_rows

Row = Mapping[str, object]

_IMAGES = tuple(field.name for field in PAIRS_SCHEMA if field.type == IMAGE_TYPE)
_LABELS = tuple(name for name in PAIRS_SCHEMA.names if name not in _IMAGES)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_UNSAFE_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
_SUFFIXES = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))


def export_folder(out: Path, target: Path) -> int:
    """Write `original/` and `normalized/` pictures and labels.csv, which names them.

    Args:
        out: Folder of a run.
        target: Folder to create; it may exist, empty.

    Returns:
        Number of pairs; rows without pictures are not counted.

    Raises:
        UsageError: `out` is not a run, or `target` has content.
    """
    committed_parts(out)
    _create(target)
    for image in _IMAGES:
        (target / image).mkdir()
    count = 0
    with AtomicFile(target / "labels.csv") as file:
        table = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        table.writerow([*_IMAGES, *_LABELS])
        for row in iter_rows(out):
            names = []
            for image in _IMAGES:
                content = image_bytes(row, image)
                name = "" if content is None else f"{image}/{safe_name(row)}.{_suffix(content)}"
                if content is not None:
                    (target / name).write_bytes(content)
                names.append(name)
            count += all(names)
            table.writerow([*names, *(_cell(row[label]) for label in _LABELS)])
    return count


def export_webdataset(out: Path, target: Path) -> int:
    """Write one tar file per part: KEY.original.EXT, KEY.normalized.EXT and KEY.json with all other columns that are not null.

    Args and errors as in `export_folder`.

    Returns:
        Number of samples; rows without a normalized image are left out.
    """
    parts = committed_parts(out)
    _create(target)
    count = 0
    for part in parts:
        with AtomicFile(target / f"{part.stem}.tar") as file, tarfile.open(fileobj=file, mode="w|") as tar:
            for row in iter_part(part):
                members = _members(row)
                for name, content in members:
                    tar.addfile(_plain(name, len(content)), io.BytesIO(content))
                count += bool(members)
    return count


def safe_name(row: Row) -> str:
    """A file name for a row, unique within a run: the sample id as it is where every file system takes it, hashed where not.

    The letters' case does not make a name unique everywhere, so an id with capitals keeps its hash too, unless it has no small
    letters.
    """
    sample_id, index = str(row["sample_id"]), row["face_index"]
    name = sample_id
    plain = _SAFE.fullmatch(sample_id) and (sample_id == sample_id.lower() or sample_id == sample_id.upper())
    if not plain:
        digest = hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        name = f"{_UNSAFE_CHARACTER.sub('_', sample_id)[-80:].lstrip('_-')}-{digest}"
    return name if index is None else f"{name}-{index}"


def image_bytes(row: Row, column: str) -> bytes | None:
    """Encoded image of a row, None where there is none."""
    image = row[column]
    if not isinstance(image, dict):
        return None
    content = image["bytes"]
    return content if isinstance(content, bytes) else None


def _members(row: Row) -> list[tuple[str, bytes]]:
    pictures = {image: image_bytes(row, image) for image in _IMAGES}
    if any(content is None for content in pictures.values()):
        return []
    key = safe_name(row)
    members = [(f"{key}.{image}.{_suffix(content)}", content) for image, content in pictures.items() if content is not None]
    labels = {label: row[label] for label in _LABELS if row[label] is not None}
    return [*members, (f"{key}.json", json.dumps(labels, ensure_ascii=False).encode())]


def _plain(name: str, size: int) -> tarfile.TarInfo:
    """A member that tells no time and no owner."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else value


def _suffix(content: bytes) -> str:
    return next(suffix for magic, suffix in _SUFFIXES if content.startswith(magic))


def _create(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise UsageError(f"{target.name}: not empty; name a new folder")
    except OSError as error:
        raise UsageError(f"{target.name}: cannot be written ({error.strerror})") from error
