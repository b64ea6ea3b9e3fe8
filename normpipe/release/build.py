"""`normpipe release build`: from finished runs to a folder that can be published.

Whatever a run's notes, or those of the release before, can refuse is refused before the first byte is written; a damaged part
when its turn has come, so that it is read from the disk once. All is written to a draft within RELEASE.part, which one build
holds at a time; the draft becomes RELEASE by one renaming when it is whole and every run is still what it was read as. So a
build that was killed is never taken for a release, and the same command takes up its finished files.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from normpipe import __version__
from normpipe.audit.document import Document, document_bytes
from normpipe.engine.lock import locked
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError
from normpipe.release.audits import audit_path, figure_path, passed_on
from normpipe.release.card import CARD_FILE, SHEET_PATH, card_text, shows_pictures
from normpipe.release.compare import compare
from normpipe.release.croissant import CROISSANT_FILE, croissant_bytes
from normpipe.release.document import (
    DATE_PATTERN,
    DRAFT_MARK,
    NAME_PATTERN,
    RELEASE_FILE,
    VERSION_PATTERN,
    ReleaseDocument,
    release_bytes,
    write_release,
)
from normpipe.release.figures import audit_figures
from normpipe.release.files import DATA_FOLDER, DataFile, Source, WrittenFile, plan_files, write_file
from normpipe.release.gates import opened_gates
from normpipe.release.licence import LICENCE_FILE, licence_text
from normpipe.release.parallel import Halt, in_parallel
from normpipe.release.previous import check_returned, read_previous
from normpipe.release.reader import ReleaseFolder, open_release
from normpipe.release.request import Request, described
from normpipe.release.runs import PartChecks, SourceRun, check_unchanged
from normpipe.release.schema import pictures, release_schema
from normpipe.release.selection import NOBODY, Limits, Selection, Withdrawals, select
from normpipe.release.sheet import draw_sheet
from normpipe.release.sums import SUMS_FILE, sums_bytes
from normpipe.release.terms import gaps
from normpipe.release.withdrawals import matches
from normpipe.release.words import counted
from normpipe.shards.atomic import write_bytes

Note = Callable[[str], None]
"""Told of every step, in a line."""

_DRAFT = "draft"
_ROOM = 1.05


def release_date(given: str | None) -> str:
    """The date of a release: the one given, that of SOURCE_DATE_EPOCH, or today's in UTC.

    Raises:
        UsageError: it is no date.
    """
    if given is not None:
        try:
            date.fromisoformat(given)
        except ValueError as error:
            raise UsageError(f"--date {given}: write YYYY-MM-DD") from error
        if not re.fullmatch(DATE_PATTERN, given):
            raise UsageError(f"--date {given}: write YYYY-MM-DD")
        return given
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH={epoch}: seconds since 1970 are wanted") from error


def check_request(name: str, version: str) -> None:
    """Make sure that a release can be called so.

    Raises:
        UsageError: name or version is of another form.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--name {name}: letters, digits, `.`, `_` and `-`, at most 96, a letter or digit first")
    if not re.fullmatch(VERSION_PATTERN, version):
        raise UsageError(f"--version {version}: write three numbers, such as 1.0.0")


def check_target(target: Path, runs: Sequence[SourceRun]) -> None:
    """Make sure that nothing is overwritten.

    Raises:
        UsageError: there is something already, or no folder for it, or the target lies in a run.
    """
    if target.exists():
        raise UsageError(f"{target.name}: there is something already; name a new folder")
    place = target.resolve()
    if not place.parent.is_dir():
        why = f"a file; name a folder to put {place.name} in" if place.parent.exists() else "not there; make it first"
        raise UsageError(f"{place.parent.name}: {why}")
    for run in runs:
        if place.is_relative_to(run.out):
            raise UsageError(f"{target.name}: lies in the run {run.out.name}; name a folder elsewhere")


def build(
    runs: Sequence[SourceRun], target: Path, request: Request, *, jobs: int = 1, note: Note = lambda _: None
) -> ReleaseDocument:
    """Build a release.

    Args:
        runs: What it is made of, in this order.
        target: Folder that appears when all is done.
        request: What is wanted.
        jobs: Files that are written at once.
        note: Told of every step.

    Returns:
        Its release.json.

    Raises:
        UsageError: a gate is closed, a run is damaged or was changed meanwhile, nothing is left to release, the target is
            taken, or the release before does not go with this one.
        IncompatibleRunError: another build of the same target is at work, or a withdrawal from a run.
        NormpipeError: the disk is full or cannot be written, or a file of the release before is damaged.
    """
    check_request(request.name, request.version)
    check_target(target, runs)
    options = request.options
    previous = read_previous(request)
    overrides = opened_gates(runs, request.terms, options.include, options.allowed)
    for warning in _warnings(request, previous, overrides):
        note(f"warning: {warning}")
    earlier = NOBODY if previous is None else Withdrawals.told(previous)
    selection = select(runs, Limits(options.minimum, options.maximum), request.withdrawals, request.names, earlier)
    for line in matches(request.listed, request.terms, request.names, selection.withdrawn):
        note(line)
    check_returned(selection.returned, request, previous)
    request = replace(request, withdrawals=request.withdrawals | earlier)
    schema = release_schema(options.include, options.ids == "plain")
    source = Source(runs, selection, schema, request.names, PartChecks(runs))
    files = plan_files(source, options.file_bytes)
    part = target.with_name(f"{target.name}.part")
    draft = part / _DRAFT
    try:
        _check_room(target, files, selection, runs)
        with _held(part):
            check_target(target, runs)  # another build may have made it since
            _begin(part, files, runs, request)
            try:
                written = _write_files(source, files, part, jobs, note)
            except (UsageError, OSError):
                check_unchanged(runs)  # a part that was replaced cannot be read as it was
                raise
            document = described(runs, selection, request, list(overrides), written)
            if request.previous is not None:
                document = _with_changes(draft, document, request.previous)
            digests = _describe(draft, runs, document)
            write_bytes(draft / SUMS_FILE, sums_bytes(digests))
            check_unchanged(runs)
            draft.rename(target)
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise NormpipeError(
            f"{target.name} cannot be written ({error.strerror}); the same command goes on from there"
        ) from error
    return document


def _warnings(request: Request, previous: ReleaseDocument | None, overrides: Mapping[str, str]) -> Iterator[str]:
    """What is done all the same, and ought to be known."""
    for flag, what in overrides.items():
        yield f"{flag} passes over: {what}"
    yield from gaps(request.terms.values())
    if previous is not None and previous.name != request.name:
        yield f"--previous is a version of {previous.name}, not of {request.name}"


def _check_room(target: Path, files: Sequence[DataFile], selection: Selection, runs: Sequence[SourceRun]) -> None:
    """Refuse at once what would fill the disk: the release holds no more than the runs' share of it."""
    rows = sum(run.ok for run in runs)
    share = sum(selection.rows.values()) / max(rows, 1)
    size = sum(part.stat().st_size for run in runs for part in run.parts) * share * _ROOM
    free = shutil.disk_usage(target.resolve().parent).free
    if files and size > free:
        raise UsageError(f"{target.name}: takes up to {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free there; make room")


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """The folder, made if it is not there, for one build at a time: of two, one would take the other's files for its own."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(part))
        except IncompatibleRunError as error:
            raise IncompatibleRunError(
                f"{part.name}: another build is writing there; wait for it or name another -o "
                f"(if it is dead, delete {part.name})"
            ) from error
        yield


def _begin(part: Path, files: Sequence[DataFile], runs: Sequence[SourceRun], request: Request) -> None:
    """Make the draft, or take up the one that the same build left: its data files, and nothing that others put there."""
    told = {
        "normpipe": __version__,
        "request": request.options.model_dump(mode="json", exclude={"changes"}),
        "withdrawals": [sorted(request.withdrawals.subjects), sorted(request.withdrawals.samples)],
        "key": request.names.check,
        "runs": [[run.plan.fingerprint.digest, run.content] for run in runs],
    }
    mark = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest().encode()
    draft, build_file = part / _DRAFT, part / DRAFT_MARK
    notes = build_file.parent
    if not build_file.is_file() or build_file.read_bytes() != mark:
        for folder in (notes, draft):
            if folder.exists():
                shutil.rmtree(folder)
    for folder in (notes, draft / DATA_FOLDER):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(build_file, mark)
    _clear(draft, {DATA_FOLDER})
    _clear(draft / DATA_FOLDER, {Path(file.path).name for file in files})


def _clear(folder: Path, kept: Collection[str]) -> None:
    """Delete all but the names that are kept."""
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_files(source: Source, files: Sequence[DataFile], part: Path, jobs: int, note: Note) -> list[WrittenFile]:
    """Write all data files, several at once; the first error, or an interruption, ends the others at their next file."""
    halt = Halt()

    def write(file: DataFile) -> WrittenFile:
        halt.check()
        done = write_file(source, file, part / _DRAFT, (part / DRAFT_MARK).parent)
        note(f"{file.path}: {counted(done.entry.rows, 'row')}, {done.entry.size / 1e6:.1f} MB")
        return done

    return in_parallel(write, files, jobs, halt)


def _with_changes(draft: Path, document: ReleaseDocument, previous: ReleaseFolder) -> ReleaseDocument:
    """The document with a change log.

    Raises:
        UsageError: the version does not say how much has changed; what is written stays, for the same command with another one.
    """
    write_release(draft, document)
    found = compare(previous, open_release(str(draft.resolve())))
    if not found.keeps_rule:
        raise UsageError(
            f"--version {document.version}: the changes since {found.before} ask for a {found.step.name.lower()} step; give "
            f"--version {found.least_version} (the same -o goes on from {draft.parent.name}; with another -o, delete that)"
        )
    log = "\n".join(part for part in (found.log_line(document.date), document.options.changes) if part)
    return document.model_copy(update={"options": document.options.model_copy(update={"changes": log})})


def _describe(draft: Path, runs: Sequence[SourceRun], document: ReleaseDocument) -> dict[str, str]:
    """Write everything but the data; the digests of all that was written, by path, those of the data as they were noted."""
    digests = {file.path: file.sha256 for file in document.files}
    for path, content in _descriptions(draft, runs, document):
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        digests[path] = write_bytes(draft / path, content).sha256
    return digests


def _descriptions(draft: Path, runs: Sequence[SourceRun], document: ReleaseDocument) -> Iterator[tuple[str, bytes]]:
    """Path and content of all files but the data."""
    audits: dict[int, Document] = {}
    for run in runs:
        if run.audit is not None and run.audited:
            audits[run.number] = passed_on(run.audit)
            yield audit_path(run.number), document_bytes(audits[run.number])
            for name, drawing in audit_figures(audits[run.number], run.number).items():
                yield figure_path(run.number, name), drawing.encode()
    if shows_pictures(document):
        yield SHEET_PATH, draw_sheet([draft / file.path for file in document.files], pictures(document.include))
    yield RELEASE_FILE, release_bytes(document)
    yield LICENCE_FILE, licence_text(document.name, document.sources).encode()
    yield CROISSANT_FILE, croissant_bytes(document)
    yield CARD_FILE, card_text(document, audits).encode()
