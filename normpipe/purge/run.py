"""`normpipe purge` without its command line: the steps of a withdrawal, in the only order that may be cut anywhere.

First `purging.json`, which names all that goes and closes the run to everybody else. Then the manifest, the shards and their
journal, what was reduced, the plan. Then all that was made from the run goes: it can be made again, and until then no figure
tells of rows that are gone. Then the folder is searched; only when nothing is found `purged.json` says so and `purging.json`
goes. Each file is replaced atomically and each step may be repeated, so the same command goes on wherever it was killed.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from normpipe import __version__
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.classify.predicted_rows import PREDICTIONS_FOLDER
from normpipe.config import Pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import PENDING_FOLDER, Journal
from normpipe.engine.lock import is_locked, locked
from normpipe.engine.log import LOG_FILE, RunLog
from normpipe.engine.plan import PLAN_FILE, Plan, read_plan, stored_plan, write_plan
from normpipe.engine.progress import PROGRESS_FILE
from normpipe.engine.renewal import recover
from normpipe.engine.signals import interruptible
from normpipe.engine.summary import RUN_FILE, earlier_rate, summarize, write_summary
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError
from normpipe.purge.finder import Finder
from normpipe.purge.parts import digests_within, held_by, is_sound, rewrite_shard
from normpipe.purge.pending import Pending, read_pending, write_pending
from normpipe.purge.request import Request, WithdrawnRow, find_rows
from normpipe.purge.scan import Proof, long_names, scan
from normpipe.release.keys import spelled
from normpipe.report.sheets import REPORT_FOLDER
from normpipe.shards.atomic import remove_leftovers, write_bytes
from normpipe.shards.commits import JOURNAL_FOLDER, Commit, read_commits, replace_commits
from normpipe.shards.withdrawn import (
    FORMAT_VERSION,
    PURGED_FILE,
    PURGING_FILE,
    from_ranges,
    read_record,
    recorded_rows,
    to_ranges,
)
from normpipe.sources.withdrawn import write_without
from normpipe.stages.faces_table import TRACKS_FOLDER
from normpipe.stages.neutrals import NEUTRALS_FILE, forget_neutrals
from normpipe.stages.pairs_run import ANALYZE_JOURNAL
from normpipe.stages.parts import ANALYSIS_FOLDER, FACES_FOLDER, MANIFEST_FILE, SHARDS_FOLDER
from normpipe.stages.reduction import NEUTRALS_PART, NOTE_FILE, reduced_parts, without_parts, write_note
from normpipe.stages.rerender import analysis_fingerprint, faces_digest

_TABLES = (FACES_FOLDER, SHARDS_FOLDER, ANALYSIS_FOLDER)
_JOURNALS = (JOURNAL_FOLDER, ANALYZE_JOURNAL)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a withdrawal takes, or would take.

    Attributes:
        rows: Manifest rows, with what names them.
        shards: Shards that hold them.
        committed: Of these, those that are done and are rewritten.
        pictures: Encoded pictures that go.
        derived: Folders that were made from the run and go with them.
    """

    rows: tuple[WithdrawnRow, ...] = field(repr=False)
    shards: int
    committed: int
    pictures: int
    derived: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Number of manifest rows."""
        return len(self.rows)

    @property
    def line(self) -> str:
        """In one line, without names."""
        derived = f"; gone with them: {', '.join(f'{each}/' for each in self.derived)}" if self.derived else ""
        return (
            f"{self.frames} rows of {self.shards} shards, {self.committed} of them done, with {self.pictures} pictures{derived}"
        )


@dataclass(frozen=True, slots=True)
class Purged:
    """A withdrawal that is done, and the proof."""

    withdrawal: Withdrawal
    proof: Proof


def survey(out: Path, request: Request) -> Withdrawal:
    """What a withdrawal would take; writes nothing.

    Raises:
        UsageError: `out` is no run's folder, or holds none of that name.
        IncompatibleRunError: a withdrawal was interrupted there.
    """
    _check_run(out)
    return _told(out, _begun(out, request, None))


def purge(out: Path, request: Request, *, date: str | None = None, takeover: bool = False) -> Iterator[Purged]:
    """Withdraw people, after finishing a withdrawal that was interrupted.

    Args:
        out: The run's folder.
        request: Whom; empty to finish only.
        date: Day for the record, YYYY-MM-DD.
        takeover: Take over a lease that stands still.

    Yields:
        Each withdrawal when it is proved: the interrupted one, then the one asked for as far as that was another; none where
        nobody of a standing list is there.

    Raises:
        UsageError: `out` is no run's folder, or holds none of that name, or nobody is named and nothing is to be finished.
        IncompatibleRunError: a live run holds the folder.
        NormpipeError: something was found afterwards; the run stays closed until it is gone and the command was given again.
        Interrupted: SIGINT or SIGTERM; the same command goes on.
    """
    out = out.absolute()  # `.` has no name to tell
    _check_run(out, begun=True)
    with interruptible(), locked(out, takeover):
        pending = read_pending(out)
        if pending is not None:
            yield _finished(out, pending)
            # A person of whom a single sample had gone may be asked for now.
            there = find_rows(out / MANIFEST_FILE, replace(request, standing=True))
            left = request.without(pending.rows)
            still = {spelled(row.subject) for row in there if row.subject is not None}
            request = replace(left, subjects=left.subjects | request.subjects & still)
        elif request.empty:
            raise UsageError(
                f"nobody is named and {out.name} has no withdrawal to finish; add --subject, --sample or --exclude"
            )
        if not request.empty:
            pending = _begun(out, request, date)
            if not pending.rows:
                return
            _check_idle(out, pending.derived)
            write_pending(out, pending)
            yield _finished(out, pending)


def _check_run(out: Path, *, begun: bool = False) -> None:
    plan = stored_plan(out) if begun else read_plan(out)
    if plan is None or not (out / MANIFEST_FILE).is_file():
        raise UsageError(f"{out.absolute().name}: not a run's folder; name the OUT of `normpipe run`")


def _begun(out: Path, request: Request, date: str | None) -> Pending:
    """All that will be needed, read from the run as it is."""
    recorded_rows(out)  # that they cannot be read is said now
    rows = find_rows(out / MANIFEST_FILE, request)
    places = frozenset(row.row for row in rows)
    pictures: set[str] = set()
    contents: set[str] = set()
    before: dict[str, str] = {}
    for commit in _affected(out, places):
        if is_sound(out, commit, places):
            images, sources = digests_within(out, commit, places)
            pictures |= images
            contents |= sources
            before.update({file["path"]: file["sha256"] for file in commit["files"]})
    return Pending(
        tuple(rows), tuple(sorted(pictures)), tuple(sorted(contents)), before, tuple(_derived(out)) if rows else (), date
    )


def _check_idle(out: Path, derived: Sequence[str]) -> None:
    for folder in derived:
        if is_locked(out / folder):
            raise IncompatibleRunError(f"{out.name}/{folder}: something is being written there; wait for it, or stop it")


def _affected(out: Path, places: frozenset[int]) -> Iterator[Commit]:
    """Records of shards that hold some of the rows, of all phases."""
    for folder in _JOURNALS:
        yield from (commit for commit in read_commits(out / folder) if held_by(commit, places))


def _finished(out: Path, pending: Pending) -> Purged:
    """All steps from the first change to the record."""
    told = _told(out, pending)
    _clear(out)
    manifest = write_without(out / MANIFEST_FILE, pending.places | recorded_rows(out), out / MANIFEST_FILE)
    old = stored_plan(out)
    assert old is not None, "looked at before"
    parts = dict(old.fingerprint.parts) | {"manifest": manifest.sha256}
    if (out / NEUTRALS_FILE).is_file():
        people = {(row.dataset, row.subject) for row in pending.rows if row.subject is not None}
        neutrals = forget_neutrals(out / NEUTRALS_FILE, people)
        parts |= {NEUTRALS_PART: neutrals} if NEUTRALS_PART in parts else {}
    new = replace(old, fingerprint=Fingerprint(parts))
    after = _rewrite_journals(out, old, new, pending)
    _note_reduction(out, new)
    write_plan(out, new)
    for folder in pending.derived:
        shutil.rmtree(out / folder, ignore_errors=True)
    _clean_log(out, pending)
    _tell(out, new, told)
    proof = scan(out, pending)
    if proof.findings:
        shown = "; ".join(f"{finding.path}: {finding.what}" for finding in proof.findings[:_SHOWN])
        raise NormpipeError(
            f"{out.name}: {proof.line} ({shown}). Remove these files, or what they hold; then `normpipe purge OUT` finishes"
        )
    _record(out, pending, told, proof, after)
    (out / PURGING_FILE).unlink()
    return Purged(told, proof)


def _told(out: Path, pending: Pending) -> Withdrawal:
    plan = stored_plan(out)
    assert plan is not None, "looked at before"
    shards = {place // plan.shard_size for place in pending.places}
    committed = {Path(path).name for path in pending.before if path.startswith(f"{SHARDS_FOLDER}/")}
    return Withdrawal(pending.rows, len(shards), len(committed), len(pending.pictures), pending.derived)


def _derived(out: Path) -> Iterator[str]:
    """Folders in the run's that were made from it and can be made again."""
    for name in (AUDIT_FOLDER, REPORT_FOLDER):
        if (out / name).is_dir():
            yield name
    for plan in sorted(out.glob(f"*/**/{PLAN_FILE}")):
        folder = plan.parent
        if (folder / PREDICTIONS_FOLDER).is_dir() and not (folder / SHARDS_FOLDER).exists():
            yield folder.relative_to(out).as_posix()


def _clear(out: Path) -> None:
    """Remove what killed processes left, and parts without a record: a run would write them anew."""
    for folder in _JOURNALS:
        if (out / folder).is_dir():
            remove_leftovers(out / folder)
    for folder in (*_TABLES, TRACKS_FOLDER, "."):
        remove_leftovers(out / folder)
    commits = [commit for folder in _JOURNALS for commit in read_commits(out / folder)]
    journals = [Journal(out, "", folder) for folder in _JOURNALS]
    recover(out, _TABLES, lambda: [file for journal in journals for file in journal.files()])
    recorded = {file["path"] for commit in commits for file in commit["files"]}
    for folder in _TABLES:
        for path in (out / folder).glob("*"):
            if path.is_file() and path.relative_to(out).as_posix() not in recorded:
                path.unlink()


def _rewrite_journals(out: Path, old: Plan, new: Plan, pending: Pending) -> dict[str, str]:
    """Rewrite the shards that hold the rows, and put all records under the new plan; gives the files' new digests.

    A shard whose files are not those of its record is not done, whatever the record says: files and record go.
    """
    policy = json.loads(new.fingerprint.parts["config.detect.policy"])
    pipeline = Pipeline.model_validate({"detect": {"policy": policy}})
    after: dict[str, str] = {}
    for folder in reversed(_JOURNALS):  # tracks are rewritten beside the analysis
        if not (out / folder).is_dir():
            continue
        one, two = (
            plan.fingerprint if folder == JOURNAL_FOLDER else analysis_fingerprint(plan.fingerprint, pipeline)
            for plan in (old, new)
        )
        commits = []
        for commit in read_commits(out / folder):
            usable = commit["fingerprint"] in (one.digest, two.digest)
            held = bool(held_by(commit, pending.places))
            if usable and (not held or is_sound(out, commit, pending.places)):
                kept = rewrite_shard(out, commit, pending.places) if held else commit
                commits.append(Commit(**{**kept, "fingerprint": two.digest}))
                after.update({file["path"]: file["sha256"] for file in kept["files"] if held})
            else:
                for file in commit["files"]:
                    (out / file["path"]).unlink(missing_ok=True)
        replace_commits(out / folder, commits)
        _renew_pending(Journal(out, one.digest, folder), Journal(out, two.digest, folder), pending.places)
    return after


def _renew_pending(old: Journal, new: Journal, places: frozenset[int]) -> None:
    """What was noted of shards that are pending; of those that held the rows, nothing."""
    noted = {**old.postponed(), **new.postponed()}
    for path in (new.out / new.folder / PENDING_FOLDER).glob("*"):
        path.unlink()
    for record in noted.values():
        if places.isdisjoint(range(record.shard.start, record.shard.stop)):
            new.postpone(record)


def _note_reduction(out: Path, new: Plan) -> None:
    """What was reduced stays so: the note says that it was from the faces that are left."""
    (out / NOTE_FILE).unlink(missing_ok=True)
    whole = without_parts(new)
    policy = json.loads(new.fingerprint.parts["config.detect.policy"])
    analysis = analysis_fingerprint(whole.fingerprint, Pipeline.model_validate({"detect": {"policy": policy}}))
    records = Journal(out, analysis.digest, ANALYZE_JOURNAL).committed(new.shards)
    if reduced_parts(new) and len(records) == len(new.shards):
        write_note(out, whole, faces_digest(records), reduced_parts(new))


def _clean_log(out: Path, pending: Pending) -> None:
    """Drop lines of the log that hold a name. It tells of row numbers; but errors that it quotes might say more."""
    log = out / LOG_FILE
    if not log.is_file():
        return
    finder = Finder(long_names(pending))
    lines = log.read_bytes().splitlines(keepends=True)
    left = [line for line in lines if not finder.found(line)]
    if len(left) < len(lines):
        write_bytes(log, b"".join(left))


def _tell(out: Path, plan: Plan, told: Withdrawal) -> None:
    """The summary and the log, as they are now."""
    (out / PROGRESS_FILE).unlink(missing_ok=True)
    summary = summarize(plan, Journal(out, plan.fingerprint.digest), earlier_rate(out))
    if (out / RUN_FILE).exists():
        write_summary(out, summary)
    RunLog(out).write("withdrawn", f"{told.frames} rows of {told.shards} shards")


def _record(out: Path, pending: Pending, told: Withdrawal, proof: Proof, after: dict[str, str]) -> None:
    """purged.json. A withdrawal that is recorded twice, since it was killed before its last step, stands there once."""
    found = read_record(out)
    places = to_ranges(pending.places)
    earlier = found.get("withdrawals", [])
    assert isinstance(earlier, list)
    withdrawal = {
        "date": pending.date,
        "rows": places,
        "pictures": told.pictures,
        "files": {path: {"before": digest, "after": after.get(path)} for path, digest in sorted(pending.before.items())},
        "removed": list(told.derived),
        "proof": {
            "files": proof.files,
            "bytes": proof.size,
            "values": proof.values,
            "names": proof.names,
            "names_by_value_alone": proof.short,
            "pictures": proof.pictures,
            "equal_pictures_of_other_rows": proof.equal,
            "found": len(proof.findings),
        },
    }
    withdrawals = [*(each for each in earlier if each["rows"] != places), withdrawal]
    document = {
        "format_version": FORMAT_VERSION,
        "producer": f"normpipe {__version__}",
        "rows": to_ranges({row for each in withdrawals for row in from_ranges(each["rows"])}),
        "withdrawals": withdrawals,
    }
    write_bytes(out / PURGED_FILE, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())
