"""The journal: what says which shards are done, which are not, and why not.

A shard is done when its record is there, carries the plan's fingerprint, and its files have the recorded sizes. The scheduler
remembers nothing that matters; whatever dies, this folder says what is left to do. How records of committed shards lie on disk
is known to shards.commits; a shard that a run had to leave pending has a file of its own in `pending/`, which counts attempts.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from normpipe.engine.tasks import OutputFile, Shard, ShardResult
from normpipe.records import Reason
from normpipe.shards import commits
from normpipe.shards.atomic import remove_leftovers, sha256_of, write_bytes
from normpipe.shards.commits import JOURNAL_FOLDER, Commit, CommittedFile

PENDING_FOLDER = "pending"

_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A committed shard: which one, under which fingerprint digest, with what result."""

    shard: Shard
    fingerprint: str
    result: ShardResult


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A shard that a run tried and left pending.

    Attributes:
        shard: Which one.
        attempts: Runs that finished it and held it back for the rows in `failed`.
        failed: Rows that may pass when tried again, by reason; empty when the shard could not be finished.
        message: Why it could not be finished, if so; free of ids and paths.
    """

    shard: Shard
    attempts: int
    failed: dict[Reason, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """The records of one run, or of one phase of it.

    Attributes:
        out: The run's folder.
        fingerprint: Digest that records must carry to count.
        folder: Where the records lie in `out`.
    """

    out: Path
    fingerprint: str
    folder: str = JOURNAL_FOLDER

    def open(self) -> None:
        """Make the folders and clear what killed writers left; call once, before any writer is alive."""
        for folder in (self._folder, self._pending_folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)

    def commit(self, shard: Shard, result: ShardResult) -> ShardRecord:
        """Write the record; from now on the shard is done."""
        record = ShardRecord(shard, self.fingerprint, result)
        commits.write_commit(self._folder, _to_commit(record))
        return record

    def is_empty(self) -> bool:
        """Whether no shard was ever committed, under any fingerprint."""
        return not commits.committed_names(self._folder)

    def files(self) -> list[OutputFile]:
        """Files of all records under any fingerprint, whether they are there or not."""
        return [
            OutputFile(file["path"], file["sha256"], file["size"])
            for one in commits.read_commits(self._folder)
            for file in one["files"]
        ]

    def compact(self) -> None:
        """Gather the records in one file; for the one process that directs the run."""
        commits.compact(self._folder)

    def committed(self, shards: Sequence[Shard]) -> list[ShardRecord]:
        """Records of those shards that are done, in order; a damaged record or a file of another size counts as not done.

        Raises:
            NormpipeError: the file of gathered records is damaged.
        """
        wanted = {(shard.index, shard.start, shard.stop): shard for shard in shards}
        out = str(self.out)
        records = []
        for commit in commits.read_commits(self._folder):
            shard = wanted.get((commit["index"], commit["start"], commit["stop"]))
            if shard and commit["fingerprint"] == self.fingerprint and _holds(out, commit):
                record = _from_commit(commit, shard)
                records += [] if record is None else [record]
        return records

    def postpone(self, record: PendingRecord) -> None:
        """Note why a shard is left pending."""
        shard = record.shard
        document = {
            "index": shard.index,
            "start": shard.start,
            "stop": shard.stop,
            "fingerprint": self.fingerprint,
            "attempts": record.attempts,
            "failed": _to_counts(record.failed),
            "message": record.message,
        }
        write_bytes(self._pending_folder / f"{shard.name}.json", (json.dumps(document, indent=2) + "\n").encode())

    def settle(self, shard: Shard) -> None:
        """Forget what was noted of a shard that is done now."""
        (self._pending_folder / f"{shard.name}.json").unlink(missing_ok=True)

    def postponed(self) -> dict[int, PendingRecord]:
        """What runs under this fingerprint noted of shards that they left pending, by shard number, in order."""
        records = {}
        for path in self._pending_folder.glob("part-*.json"):
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
                document = json.loads(path.read_bytes())
                if document["fingerprint"] == self.fingerprint:
                    shard = Shard(int(document["index"]), int(document["start"]), int(document["stop"]))
                    failed = {Reason(reason): int(count) for reason, count in document["failed"].items()}
                    records[shard.index] = PendingRecord(shard, int(document["attempts"]), failed, str(document["message"]))
        return dict(sorted(records.items()))

    @property
    def _folder(self) -> Path:
        return self.out / self.folder

    @property
    def _pending_folder(self) -> Path:
        return self._folder / PENDING_FOLDER


def altered_files(out: Path, records: Iterable[ShardRecord], folders: Collection[str]) -> Iterator[str]:
    """Paths of the records' files in some of the run's folders whose content is not what was committed; reads them all."""
    for record in records:
        for file in record.result.files:
            if file.path.partition("/")[0] in folders and sha256_of(out / file.path) != file.sha256:
                yield file.path


def _holds(out: str, commit: Commit) -> bool:
    """Whether the files are there with their sizes. With plain strings: paths as objects take longer than the system does."""
    try:
        return all(os.stat(f"{out}/{file['path']}").st_size == file["size"] for file in commit["files"])  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False


def _to_commit(record: ShardRecord) -> Commit:
    shard, result = record.shard, record.result
    return Commit(
        index=shard.index,
        start=shard.start,
        stop=shard.stop,
        fingerprint=record.fingerprint,
        files=[CommittedFile(path=file.path, sha256=file.sha256, size=file.size) for file in result.files],
        rows=result.rows,
        ok=result.ok,
        failed=_to_counts(result.failed),
        seconds_by_stage={stage: round(seconds, 6) for stage, seconds in result.seconds_by_stage.items()},
        sources=result.sources,
    )


def _from_commit(commit: Commit, shard: Shard) -> ShardRecord | None:
    try:
        failed = {_REASONS[reason]: count for reason, count in commit["failed"].items()}
    except KeyError:
        return None
    return ShardRecord(
        shard=shard,
        fingerprint=commit["fingerprint"],
        result=ShardResult(
            files=tuple(OutputFile(file["path"], file["sha256"], file["size"]) for file in commit["files"]),
            rows=commit["rows"],
            ok=commit["ok"],
            failed=failed,
            seconds_by_stage=commit["seconds_by_stage"],
            sources=commit["sources"],
        ),
    )


def _to_counts(failed: dict[Reason, int]) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(failed.items())}
