"""A run as a release sees it: its plan, what its journal holds, and its audit."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.audit.document import Document, at, read_document
from normpipe.engine.journal import Journal, ShardRecord, altered_files
from normpipe.engine.plan import Plan, read_plan
from normpipe.errors import UsageError
from normpipe.shards.reader import committed_parts

_AUDIT_FOLDER = "audit"
_SHARDS = "shards"


@dataclass(frozen=True, slots=True)
class SourceRun:
    """A run to release.

    Attributes:
        number: Which of the release's runs, from 1: what its files call it, since folders' names may tell who is in them.
        out: Its folder.
        plan: Its plan.
        records: Of its committed shards, in order.
        audit: audit.json, None where there is none.
    """

    number: int
    out: Path
    plan: Plan
    records: tuple[ShardRecord, ...]
    audit: Document | None

    @property
    def complete(self) -> bool:
        """Whether every shard is committed."""
        return len(self.records) == len(self.plan.shards)

    @property
    def parts(self) -> list[Path]:
        """Files of the pairs, in order."""
        return [self.out / _SHARDS / f"{record.shard.name}.parquet" for record in self.records]

    @property
    def frames(self) -> int:
        """Input rows of the committed shards."""
        return sum(record.shard.rows for record in self.records)

    @property
    def rows(self) -> int:
        """Output rows."""
        return sum(record.result.rows for record in self.records)

    @property
    def ok(self) -> int:
        """Rows that succeeded."""
        return sum(record.result.ok for record in self.records)

    @property
    def failed(self) -> dict[str, int]:
        """Rows that did not, by reason."""
        failed: Counter[str] = Counter()
        for record in self.records:
            failed.update({reason.value: count for reason, count in record.result.failed.items()})
        return dict(sorted(failed.items()))

    @property
    def content(self) -> str:
        """Hex digest over the digests of all parts, as the audit writes it."""
        files = (file.sha256 for record in self.records for file in record.result.files)
        return hashlib.sha256("".join(files).encode()).hexdigest()

    @property
    def audited(self) -> bool:
        """Whether the audit is of these very pictures."""
        return self.audit is not None and at(self.audit, "run", "content") == self.content


def read_runs(folders: Sequence[Path]) -> list[SourceRun]:
    """Read what the runs' folders say of themselves.

    Raises:
        UsageError: one is not a run's folder, is named twice, or has no committed shard.
        IncompatibleRunError: a plan or a journal cannot be understood.
    """
    runs = []
    for number, folder in enumerate(folders, 1):
        out = folder.resolve()  # `.` has no name to tell
        plan = read_plan(out)
        if plan is None:
            raise UsageError(f"{out.name}: not a run's folder (it has no plan.json); name the OUT of `normpipe run`")
        committed_parts(out)  # refuses what must not be read
        records = Journal(out, plan.fingerprint.digest).committed(plan.shards)
        if not records:
            raise UsageError(f"{out.name}: nothing of this run is done yet; finish it first")
        runs.append(SourceRun(number, out, plan, tuple(records), read_document(out / _AUDIT_FOLDER)))
    if len({run.out for run in runs}) < len(runs):
        raise UsageError("a run is named twice; name each once")
    return runs


def check_unchanged(runs: Sequence[SourceRun]) -> None:
    """Make sure that the runs' folders still hold what was read of them.

    Raises:
        UsageError: people were withdrawn from one since, or more of it is done.
        IncompatibleRunError: a withdrawal is at work there.
    """
    for run in runs:
        now = read_runs([run.out])[0]
        if (now.plan.fingerprint.digest, now.content) != (run.plan.fingerprint.digest, run.content):
            raise UsageError(
                f"{run.out.name}: was changed while the release was built (people withdrawn, or more rows done); give the same "
                "command again"
            )


class PartChecks:
    """Makes sure that parts are those that the journals tell of: what is damaged must not become a release with good sums."""

    def __init__(self, runs: Sequence[SourceRun]) -> None:
        self._runs = runs
        self._parts = [run.parts for run in runs]
        self._sound: set[tuple[int, int]] = set()

    def check(self, run: int, part: int) -> Path:
        """The part's path, its content read and hashed if that was not done before.

        Raises:
            UsageError: it is another file.
        """
        source = self._runs[run]
        if (run, part) not in self._sound:
            file = next(altered_files(source.out, [source.records[part]], {_SHARDS}), None)
            if file is not None:
                raise UsageError(
                    f"{source.out.name}: {file} is not the file that the journal tells of; delete it and finish the run again"
                )
            self._sound.add((run, part))
        return self._parts[run][part]
