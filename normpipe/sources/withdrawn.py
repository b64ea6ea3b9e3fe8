"""A run's manifest without the rows that were withdrawn, and a user's manifest brought to the same.

The run's own copy has placeholders in their places. Whoever resumes gives the manifest that the run began with, or one that the
people were removed from: both must come to the same rows and so to the same digest, without any word of who they were. So the
given rows are laid beside those of the run, by their ids and in order: where the run has placeholders, given rows are passed
over, as many as there are places.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.records import MANIFEST_SCHEMA
from normpipe.shards.reader import open_part
from normpipe.shards.withdrawn import placeholder
from normpipe.sources.manifest import StoredManifest, store_rows

_BATCH_ROWS = 16_384


def write_without(manifest: Path, withdrawn: Collection[int], target: Path) -> StoredManifest:
    """Write a manifest with placeholders in the place of some rows, atomically.

    Args:
        manifest: In its canonical form.
        withdrawn: Rows that go.
        target: The file; may be `manifest` itself.
    """
    with open_part(manifest) as file:
        keep = np.ones(file.metadata.num_rows, np.bool_)
    places = np.array(sorted(withdrawn), np.int64)
    keep[places] = False
    return store_rows(_merged(manifest, keep, places), target)


def laid_beside(
    given: StoredManifest, known: Path, withdrawn: Collection[int], target: Path, *, limited: bool = False
) -> StoredManifest:
    """A user's manifest as the run has it, placeholders included; as it is where it is another one.

    Args:
        given: The user's, in its canonical form.
        known: The run's copy.
        withdrawn: Its rows that are placeholders.
        target: File to write.
        limited: Whether the run takes the first rows only, and so more have moved up than it has.
    """
    places = np.array(sorted(withdrawn), np.int64)
    keep = _kept(given, known, places, limited)
    return given if keep is None else store_rows(_merged(given.path, keep, places), target)


def _kept(given: StoredManifest, known: Path, places: NDArray[np.int64], limited: bool) -> NDArray[np.bool_] | None:
    """(given rows,) which of them the run has; None where it has others. Ids are unique, so the first match is the only one."""
    keep = np.zeros(given.rows, np.bool_)
    withdrawn = set(places.tolist())
    ids = enumerate(_ids(given.path))
    spare = 0
    last = -1
    for row, sample_id in enumerate(_ids(known)):
        if row in withdrawn:
            spare += 1
            continue
        for last, candidate in ids:  # noqa: B007  # the last one counts after the loop
            if candidate == sample_id:
                break
            if spare == 0:
                return None
            spare -= 1
        else:
            return None
        keep[last] = True
        spare = 0
    return keep if limited or given.rows - last - 1 <= spare else None


def _merged(manifest: Path, keep: NDArray[np.bool_], places: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """The rows that are kept, in order, with placeholders in between, so that these stand in their places."""
    before = places - np.arange(len(places))  # kept rows before each placeholder
    start = done = 0
    with open_part(manifest) as file:
        first = 0
        for batch in file.iter_batches(_BATCH_ROWS):
            kept = batch.filter(pa.array(keep[first : first + batch.num_rows]))
            first += batch.num_rows
            done += kept.num_rows
            count = int(np.searchsorted(before, done))  # of all placeholders, those before the last row kept so far
            yield from _woven(kept, places[start:count], done - kept.num_rows + start)
            start = count
    yield _placeholders(places[start:].tolist())


def _woven(rows: pa.RecordBatch, places: NDArray[np.int64], first: int) -> Iterator[pa.RecordBatch]:
    """Rows and placeholders as one batch that begins at manifest row `first`."""
    order = np.arange(rows.num_rows + len(places))
    held = np.isin(order, places - first)
    order[~held] = np.arange(rows.num_rows)
    order[held] = rows.num_rows + np.arange(len(places))
    both = pa.Table.from_batches([rows.replace_schema_metadata(None), _placeholders(places.tolist())])
    yield from both.take(pa.array(order)).combine_chunks().to_batches()


def _placeholders(places: Sequence[int]) -> pa.RecordBatch:
    names = pa.array([placeholder(place) for place in places], pa.string())
    arrays = [names if field.name in ("sample_id", "uri") else pa.nulls(len(places), field.type) for field in MANIFEST_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=MANIFEST_SCHEMA)


def _ids(manifest: Path) -> Iterator[str]:
    with open_part(manifest) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["sample_id"]):
            yield from batch["sample_id"].to_pylist()
