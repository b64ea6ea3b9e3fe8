"""On resume: are the source files of the shards that are done still those that were read?

Every committed shard remembers a digest over what the file system says of its files (size, times, inode). Asking that again
reads no file and is quick; where it differs, for a replaced photo as for a copied dataset, the files are hashed and compared
with the digests in the committed tables, and only another content counts. A shard whose files merely moved gets the new
digest, so that the next resume is quick again. A file that is gone is no difference: its shard is done.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

from normpipe.engine.journal import Journal, ShardRecord
from normpipe.errors import IncompatibleRunError, UsageError, shown_sample
from normpipe.shards.reader import open_part, read_slice
from normpipe.sources.root import Root
from normpipe.stages.decode import content_sha256

_THREADS = 8
_SHOWN = 5
_SHARDS_AT_ONCE = 64


def sources_digest(root: Root, uris: Sequence[str]) -> str:
    """Hex digest over the names and states of files, each counted once; a file that is not there has no state."""
    unique = list(dict.fromkeys(uris))
    return _digest(unique, root.stat_keys(unique))


def check_sources(
    root: Root, manifest: Path, journal: Journal, records: Sequence[ShardRecord], note: Callable[[str], None], hash_ids: bool
) -> None:
    """Refuse to go on beside shards made from other files than those that are there now.

    Args:
        root: Where the files are.
        manifest: The run's copy of the manifest.
        journal: Takes the new digests of files that moved.
        records: Committed shards, in order.
        note: Told before files are read.
        hash_ids: Whether the message names samples by hash.

    Raises:
        IncompatibleRunError: files have other contents now; naming some of the samples.
    """
    told = False
    changed: list[str] = []
    shards = _uris(manifest, records)
    while batch := list(zip(range(_SHARDS_AT_ONCE), shards, strict=False)):
        # One query for many shards, since threads cost more than a shard's few files.
        groups = [(record, list(dict.fromkeys(uris))) for _, (record, uris) in batch]
        keys = iter(root.stat_keys(list(chain.from_iterable(uris for _, uris in groups))))
        for record, uris in groups:
            digest = _digest(uris, [next(keys) for _ in uris])
            if digest == record.result.sources:
                continue
            if not told:
                note("source files were moved or changed since they were processed: comparing their contents")
                told = True
            different = _changed_samples(root, manifest, journal.out, record)
            changed += different
            if not different:
                journal.commit(record.shard, replace(record.result, sources=digest))
    if changed:
        shown = ", ".join(shown_sample(sample_id, hash_ids) for sample_id in changed[:_SHOWN])
        raise IncompatibleRunError(
            f"{journal.out.name}: the source files of {len(changed)} samples that are done have been replaced "
            f"({shown}{', ...' if len(changed) > _SHOWN else ''}); put the old files back to resume, or give another OUT"
        )


def _uris(manifest: Path, records: Sequence[ShardRecord]) -> Iterator[tuple[ShardRecord, list[str]]]:
    """The uris of each record's rows, in one pass over one column."""
    with open_part(manifest) as file:
        batches = file.iter_batches(columns=["uri"])
        column: list[str] = []
        first = 0  # manifest row of the column's first entry
        for record in records:
            while first + len(column) < record.shard.stop:
                keep = min(max(record.shard.start - first, 0), len(column))
                column, first = column[keep:] + next(batches)["uri"].to_pylist(), first + keep
            yield record, column[record.shard.start - first : record.shard.stop - first]


def _changed_samples(root: Root, manifest: Path, out: Path, record: ShardRecord) -> list[str]:
    """Ids of a shard's samples whose file has another content than the first of the shard's tables says."""
    with open_part(out / record.result.files[0].path) as file:
        table = file.read(columns=["sample_id", "content_sha256"])
    known = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    rows = read_slice(manifest, record.shard.start, record.shard.stop)
    samples = defaultdict(list)
    for sample_id, uri in zip(rows["sample_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
        if known.get(sample_id) is not None:
            samples[uri].append(sample_id)
    with ThreadPoolExecutor(_THREADS) as pool:
        contents = dict(zip(samples, pool.map(lambda uri: _content(root, uri), samples), strict=True))
    return [
        sample_id
        for uri, sample_ids in samples.items()
        for sample_id in sample_ids
        if contents[uri] not in (None, known[sample_id])
    ]


def _content(root: Root, uri: str) -> str | None:
    try:
        return content_sha256(root, uri)
    except (OSError, UsageError):
        return None


def _digest(uris: Sequence[str], keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(f"{key} {uri}" for uri, key in zip(uris, keys, strict=True)).encode()).hexdigest()
