"""One data file of a release, read to its last row: is it what it is said to be?"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as PillowImage

from normpipe.records import IMAGE_TYPE, Status
from normpipe.release.digests import row_digests
from normpipe.release.document import ReleasedFile, ReleaseDocument
from normpipe.release.rows import count_labels
from normpipe.release.schema import CLASSES, release_schema
from normpipe.shards.writer import with_metadata

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_NAMED = ("sample_id", "subject", "sequence")
_FORMATS = ("JPEG", "PNG", "WEBP")
"""What a release holds; of a stranger's file Pillow must try no other, for some run programs."""
_BATCH_ROWS = 256
_SHOWN = 5


@dataclass(slots=True)
class FoundRows:
    """What a file holds.

    Attributes:
        problems: In words, without the file's name.
        digests: Of its rows.
        labels: What they are annotated with.
        subjects: Datasets and names of the people in it.
    """

    problems: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    subjects: set[tuple[str | None, str]] = field(default_factory=set)


@dataclass(slots=True)
class _WrongRows:
    """Rows with the same fault: the first, and the others."""

    first: int
    more: set[int] = field(default_factory=set)

    @property
    def others(self) -> str:
        """In words."""
        return f", and {len(self.more)} more" if self.more else ""


def check_rows(path: Path, entry: ReleasedFile, split: str, document: ReleaseDocument) -> FoundRows:
    """Read every row of a file, and decode every picture.

    Args:
        path: Of the file on this machine.
        entry: As release.json tells of it.
        split: Whose rows it holds.
        document: release.json.
    """
    found = FoundRows()
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(file, document, found)
            if found.problems:  # its cells mean something else
                return found
            wrong: dict[str, _WrongRows] = {}
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                _check_batch(batch.replace_schema_metadata(None), split, document, found, wrong)
            found.problems += [f"row {rows.first}: {text}{rows.others}" for text, rows in wrong.items()]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of names of columns
        found.problems.append(f"cannot be read as Parquet after {len(found.digests)} rows ({type(error).__name__})")
        return found
    if len(found.digests) != entry.rows:
        found.problems.append(f"{len(found.digests)} rows, release.json says {entry.rows}")
    return found


def _check_schema(file: pq.ParquetFile, document: ReleaseDocument, found: FoundRows) -> None:
    wanted = with_metadata(release_schema(document.include, document.plain_ids), CLASSES)
    schema = file.schema_arrow
    if not schema.equals(wanted):
        differing = [each.name for each in wanted if each.name not in schema.names or schema.field(each.name) != each]
        more = [name for name in schema.names if name not in wanted.names]
        found.problems.append(f"other columns than declared ({', '.join([*differing, *more]) or 'their order'})")
    elif schema.metadata != wanted.metadata:
        found.problems.append("other metadata than declared")


def _check_batch(
    batch: pa.RecordBatch, split: str, document: ReleaseDocument, found: FoundRows, wrong: dict[str, _WrongRows]
) -> None:
    batch.validate(full=True)
    first = len(found.digests)
    found.digests += row_digests(batch)
    subjects = zip(batch["dataset"].to_pylist(), batch["subject"].to_pylist(), strict=True)
    found.subjects.update((dataset, subject) for dataset, subject in subjects if subject is not None)
    for place, text in _wrong_cells(batch, split, document.plain_ids):
        if text in wrong:
            wrong[text].more.add(first + place)
        elif len(wrong) < _SHOWN:
            wrong[text] = _WrongRows(first + place)
    if not wrong:  # of wrong rows nothing is counted
        count_labels(batch, found.labels)


def _wrong_cells(batch: pa.RecordBatch, split: str, plain_ids: bool) -> Iterator[tuple[int, str]]:
    """Rows that cannot be in such a release, and why."""
    for place, word in enumerate(batch["split"].to_pylist()):
        if word != split:
            yield place, f"is of the split {word}"
    for place, status in enumerate(batch["status"].to_pylist()):
        if status != Status.OK:
            yield place, "failed, and failed rows are not released"
    for name, classes in CLASSES.items():
        for place, number in enumerate(batch[name].to_pylist()):
            if number is not None and not 0 <= number < len(classes):
                yield place, f"{name} is {number}, and there are {len(classes)} classes"
    for name in () if plain_ids else _NAMED:
        values = batch[name].to_pylist()
        named = (place for place, value in enumerate(values) if value is not None and not _PSEUDONYM.fullmatch(value))
        yield from ((place, f"{name} is no pseudonym") for place in named)
    for field_ in batch.schema:
        if field_.type == IMAGE_TYPE:
            yield from _wrong_pictures(batch, field_.name, plain_ids)


def _wrong_pictures(batch: pa.RecordBatch, name: str, plain_ids: bool) -> Iterator[tuple[int, str]]:
    contents, paths = (batch[name].field(each).to_pylist() for each in ("bytes", "path"))
    samples = batch["sample_id"].to_pylist()
    for place, (content, path, sample) in enumerate(zip(contents, paths, samples, strict=True)):
        if not plain_ids and (path is None or not path.startswith(sample)):
            yield place, f"{name} has the file name of another row"
        if content is None or not _decodes(content):
            yield place, f"{name} cannot be decoded"


def _decodes(content: bytes) -> bool:
    try:
        with PillowImage.open(BytesIO(content), formats=_FORMATS) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, struct.error, PillowImage.DecompressionBombError):  # by format and fault
        return False
    return True
