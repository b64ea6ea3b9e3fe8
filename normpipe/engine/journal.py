"""The journal: one JSON record per committed shard, written last and atomically.

A shard is done when its record is there, carries the plan's fingerprint, and its files have the recorded sizes. The scheduler
remembers nothing that matters; whatever dies, this folder says what is left to do.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from normpipe.engine.tasks import OutputFile, Shard, ShardResult
from normpipe.records import Reason
from normpipe.shards.atomic import write_bytes

JOURNAL_FOLDER = "journal"


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A committed shard: which one, under which fingerprint digest, with what result."""

    shard: Shard
    fingerprint: str
    result: ShardResult


@dataclass(frozen=True, slots=True)
class Journal:
    """The records of one run.

    Attributes:
        out: The run's folder.
        fingerprint: Digest that records must carry to count.
    """

    out: Path
    fingerprint: str

    def commit(self, shard: Shard, result: ShardResult) -> ShardRecord:
        """Write the record; from now on the shard is done."""
        record = ShardRecord(shard, self.fingerprint, result)
        write_bytes(self._path(shard), _to_json(record))
        return record

    def is_empty(self) -> bool:
        """Whether no shard was ever committed, under any fingerprint."""
        return not any((self.out / JOURNAL_FOLDER).glob("part-*.json"))

    def withdraw(self, shard: Shard) -> None:
        """Take a record back before its shard is rewritten."""
        self._path(shard).unlink(missing_ok=True)

    def committed(self, shards: list[Shard]) -> list[ShardRecord]:
        """Records of those shards that are done, in order; a damaged record or a file of another size counts as not done."""
        records = (self._read(shard) for shard in shards)
        return [record for record in records if record is not None and self._holds(record)]

    def _path(self, shard: Shard) -> Path:
        return self.out / JOURNAL_FOLDER / f"{shard.name}.json"

    def _read(self, shard: Shard) -> ShardRecord | None:
        try:
            record = _from_json(self._path(shard).read_bytes())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return record if record.shard == shard else None

    def _holds(self, record: ShardRecord) -> bool:
        if record.fingerprint != self.fingerprint:
            return False
        return all(_size(self.out / file.path) == file.size for file in record.result.files)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _to_json(record: ShardRecord) -> bytes:
    shard, result = record.shard, record.result
    document = {
        "index": shard.index,
        "start": shard.start,
        "stop": shard.stop,
        "fingerprint": record.fingerprint,
        "files": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in result.files],
        "rows": result.rows,
        "ok": result.ok,
        "failed": {reason.value: count for reason, count in sorted(result.failed.items())},
        "seconds_by_stage": {stage: round(seconds, 6) for stage, seconds in result.seconds_by_stage.items()},
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _from_json(content: bytes) -> ShardRecord:
    document = json.loads(content)
    return ShardRecord(
        shard=Shard(int(document["index"]), int(document["start"]), int(document["stop"])),
        fingerprint=str(document["fingerprint"]),
        result=ShardResult(
            files=tuple(OutputFile(str(f["path"]), str(f["sha256"]), int(f["size"])) for f in document["files"]),
            rows=int(document["rows"]),
            ok=int(document["ok"]),
            failed={Reason(reason): int(count) for reason, count in document["failed"].items()},
            seconds_by_stage={str(stage): float(seconds) for stage, seconds in document["seconds_by_stage"].items()},
        ),
    )
