"""Rows of a run become rows of a release: chosen, renamed, stripped of what leads back, digested.

Each step keeps the order. Pictures that need no stripping are not copied.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.records import IMAGE_TYPE, LABEL_SCHEMA
from normpipe.release.digests import binary_views, row_digests
from normpipe.release.keys import Kind, Names
from normpipe.release.schema import CLASSES, class_numbers
from normpipe.release.strip import Stripper
from normpipe.shards.export import safe_name

_SUFFIXES = {b"\xff"[0]: "jpg", b"\x89"[0]: "png", b"R"[0]: "webp"}
"""By a file's first byte: what is neither was refused before."""
_REMEMBERED = 10_000
_KINDS = {"sample_id": Kind.SAMPLE, "subject": Kind.SUBJECT, "sequence": Kind.SEQUENCE}


@dataclass(slots=True)
class Renderer:
    """Makes rows of one split. One for each file, since it counts.

    Attributes:
        schema: Of the release.
        split: Name of the split.
        names: Pseudonyms.
        digests: Of the rows made so far.
        labels: What they are annotated with.
    """

    schema: pa.Schema
    split: str
    names: Names
    digests: list[bytes] = field(default_factory=list)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    _stripper: Stripper = field(default_factory=Stripper)
    _made: dict[str, dict[tuple[str | None, str], str]] = field(default_factory=dict)

    def rows(self, batch: pa.RecordBatch, chosen: NDArray[np.bool_]) -> pa.RecordBatch:
        """The chosen rows of a batch of PAIRS_SCHEMA, as the release holds them.

        Raises:
            UsageError: a picture is damaged, or an emotion has no common name.
        """
        taken = batch if chosen.all() else batch.filter(pa.array(chosen))
        released = {name: self._renamed(taken, name) for name in _KINDS}
        stems = self._stems(taken, released["sample_id"])
        columns = [self._column(taken, each, released, stems) for each in self.schema]
        made = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        self.digests += row_digests(made)
        count_labels(made, self.labels)
        return made

    def _column(self, batch: pa.RecordBatch, wanted: pa.Field, released: dict[str, pa.Array], stems: list[str]) -> pa.Array:
        name = wanted.name
        if name in released:
            return released[name]
        if name == "split":
            return pa.repeat(pa.scalar(self.split, pa.string()), batch.num_rows)
        if name in CLASSES:
            return class_numbers(batch[name], CLASSES[name])
        return self._images(batch[name], stems) if wanted.type == IMAGE_TYPE else batch[name]

    def _images(self, column: pa.Array, stems: list[str]) -> pa.Array:
        contents = self._stripper.column(column.field("bytes"))
        data, places = binary_views(contents)
        paths = [f"{stem}.{_SUFFIXES[data[start]]}" for stem, start in zip(stems, places, strict=False)]
        return pa.StructArray.from_arrays([contents, pa.array(paths, pa.string())], fields=list(IMAGE_TYPE))

    def _renamed(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if self.names.key is None:
            return batch[name]
        kind, made = _KINDS[name], self._made.setdefault(name, {})
        if len(made) > _REMEMBERED or kind is Kind.SAMPLE:
            made.clear()  # people and clips come again, samples do not
        values = []
        for pair in zip(batch["dataset"].to_pylist(), batch[name].to_pylist(), strict=True):
            dataset, value = pair
            if value is not None and pair not in made:
                made[pair] = self.names.released(kind, dataset, value)
            values.append(None if value is None else made[pair])
        return pa.array(values, pa.string())

    def _stems(self, batch: pa.RecordBatch, samples: pa.Array) -> list[str]:
        """Names of the pictures' files, without their ending."""
        faces = batch["face_index"].to_pylist()
        pairs = zip(samples.to_pylist(), faces, strict=True)
        if self.names.key is None:
            return [safe_name({"sample_id": sample, "face_index": face}) for sample, face in pairs]
        return [sample if face is None else f"{sample}-{face}" for sample, face in pairs]


def count_labels(batch: pa.RecordBatch, counts: dict[str, Counter[str]]) -> None:
    """Add a release's rows to the counts of its label columns, by value; numbers that are no classes count as "annotated"."""
    for name in LABEL_SCHEMA.names:
        if name not in batch.schema.names or batch[name].null_count == batch.num_rows:
            continue
        column, kept = batch[name], counts.setdefault(name, Counter())
        if name in CLASSES or pa.types.is_integer(column.type) or pa.types.is_string(column.type):
            for each in pc.value_counts(column).to_pylist():
                value = each["values"]
                if value is not None:
                    kept[CLASSES[name][value] if name in CLASSES else str(value)] += each["counts"]
        else:
            kept["annotated"] += batch.num_rows - column.null_count
