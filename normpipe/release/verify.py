"""`normpipe release verify`: is this folder the release that it says it is?

Sums show that no byte has changed since they were written; whoever changes a file can write new sums too. So all that is said
twice is compared as well: rows with release.json, release.json with the card, with Croissant, with the audits. A signature of
the sums (kept apart) says who wrote them.

What is wrong is told once: of a file that is not the one that was released, nothing else is looked at, and no count that its
rows are part of.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.audits import FIGURES_FOLDER, audit_path
from normpipe.release.bytes_check import Listed, byte_problems, place_problems
from normpipe.release.card import CARD_FILE, SHEET_PATH, shows_pictures
from normpipe.release.croissant import CROISSANT_FILE
from normpipe.release.data_check import FoundRows, check_rows
from normpipe.release.digests import split_digest
from normpipe.release.document import RELEASE_FILE, OtherFormatError, ReleaseDocument, parse_release
from normpipe.release.licence import LICENCE_FILE
from normpipe.release.parallel import Halt, in_parallel
from normpipe.release.reader import Read, ReleaseFolder
from normpipe.release.signature import read_public_key, verify_signature
from normpipe.release.sums import SIGNATURE_FILE, SUMS_FILE, parse_sums
from normpipe.release.text_check import text_problems
from normpipe.release.words import counted

_HUB_FILES = {".gitattributes"}
_TEXTS = {CARD_FILE, CROISSANT_FILE, LICENCE_FILE, RELEASE_FILE, SUMS_FILE, SIGNATURE_FILE}

Note = Callable[[str], None]


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        rows: Of the data files that were read.
        files: Of the release, SHA256SUMS and its signature included.
        problems: In words, each with the file's name first.
        signature: What is wrong with the signature that was asked for; one of the problems.
        signed: Whether there is a signature.
    """

    rows: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)
    signature: str | None = None
    signed: bool = False

    @property
    def conclusion(self) -> str:
        """What the problems come to, if there are any."""
        count = counted(len(self.problems), "problem")
        if self.problems != [self.signature]:
            return f"{count}: this is not the release that was built"
        if not self.signed:
            return f"{count}: the release is as it was built, but not signed"
        return f"{count}: this is not a release that was signed with that key"


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file that was read, and its rows if it is a data file whose rows count."""

    read: Read
    rows: FoundRows | None


def verify(
    folder: ReleaseFolder,
    *,
    jobs: int = 1,
    content: bool = False,
    public_key: Path | None = None,
    note: Note = lambda _: None,
) -> Verdict:
    """Hold a release against all that it says of itself.

    Args:
        folder: Where it lies.
        jobs: Files that are read at once.
        content: Judge data files by what their rows hold and not by their bytes, which another version of the Parquet library
            writes differently.
        public_key: Whose signature it must have; None leaves a signature unread.
        note: Told of every data file, and of what is not looked at.

    Raises:
        UsageError: it is no release at all, one of another version of the format, or the key is none.
    """
    key = None if public_key is None else read_public_key(public_key)
    found = _files(folder)
    links = _links_out(folder, found)
    there = {path: size for path, size in found.items() if path not in links}
    verdict = Verdict(files=len(found), signed=SIGNATURE_FILE in there)
    sums = _sums(folder, there, verdict)
    document = _document(folder, there, sums, verdict)
    if key is not None and SUMS_FILE in there:
        _check_signature(folder, key, verdict)
    elif key is None and verdict.signed:
        note("signed; give --public-key FILE to check by whom")
    if document is None:
        note(f"{RELEASE_FILE}: not the one that was released, so rows and texts are not held against it")
    listed = Listed(sums, {} if document is None else {file.path: file for file in document.files})
    verdict.problems += place_problems(listed, found.keys() - {SUMS_FILE, SIGNATURE_FILE})
    named = {*listed.paths, SUMS_FILE, SIGNATURE_FILE}
    verdict.problems += [
        f"{path}: a link out of the release, which must hold the file itself" for path in links if path in named
    ]
    if document is not None:
        verdict.problems += _foreign_problems(document, there.keys() & listed.paths)
    checked = _read(folder, document, listed, sorted(listed.paths & there.keys()), jobs, content, note)
    by_rows = set(listed.data) if content else set[str]()
    wrong = {path: each.read for path, each in checked.items() if not (path in by_rows or listed.is_right(path, each.read))}
    verdict.problems += byte_problems(listed, wrong)
    rows = {path: each.rows for path, each in checked.items() if each.rows is not None}
    if document is not None:
        verdict.problems += _row_problems(document, rows)
        verdict.problems += _text_problems(folder, document, there, {*wrong, *(listed.paths - there.keys())})
    verdict.rows = sum(len(each.digests) for each in rows.values())
    return verdict


def _files(folder: ReleaseFolder) -> dict[str, int]:
    """Sizes of all files but those of the place itself."""
    try:
        found = folder.files()
    except FileNotFoundError:
        return {}
    return {path: size for path, size in found.items() if folder.local or path not in _HUB_FILES}


def _links_out(folder: ReleaseFolder, paths: Collection[str]) -> list[str]:
    """Files that lie elsewhere: what they hold can change, and goes no way with the release."""
    root = Path(folder.root).resolve()
    return [path for path in sorted(paths) if folder.local and not (root / path).resolve().is_relative_to(root)]


def _foreign_problems(document: ReleaseDocument, listed: Collection[str]) -> Iterator[str]:
    """Files that are listed, and of which nothing else in the release tells: whoever put them there had new sums written."""
    numbers = {source.run.number for source in document.sources if source.audit is not None}
    own = {*_TEXTS, *(file.path for file in document.files), *map(audit_path, numbers)}
    own |= {SHEET_PATH} if shows_pictures(document) else set()
    figure = re.compile(rf"{FIGURES_FOLDER}/run-({'|'.join(map(str, numbers))})-[a-z]+\.svg")
    for path in sorted({*listed} - own):
        if not (numbers and figure.fullmatch(path)):
            yield f"{path}: no file of a release, though {SUMS_FILE} lists it"


def _sums(folder: ReleaseFolder, there: Collection[str], verdict: Verdict) -> Mapping[str, str] | None:
    if SUMS_FILE not in there:
        verdict.problems.append(f"{SUMS_FILE}: missing")
        return None
    try:
        return parse_sums(folder.content(SUMS_FILE)).digests
    except UsageError as error:
        verdict.problems.append(str(error))
        return None


def _document(
    folder: ReleaseFolder, there: Collection[str], sums: Mapping[str, str] | None, verdict: Verdict
) -> ReleaseDocument | None:
    """release.json; None where it is not the one that SHA256SUMS lists, or says nothing."""
    if RELEASE_FILE not in there:
        if RELEASE_FILE not in (sums or ()):
            raise UsageError(f"{folder.name}: not a release (it has no {RELEASE_FILE})")
        return None
    content = folder.content(RELEASE_FILE)
    digest = hashlib.sha256(content).hexdigest()
    if sums is not None and sums.get(RELEASE_FILE, digest) != digest:
        return None
    try:
        return parse_release(content, folder.name)
    except OtherFormatError:
        raise
    except UsageError as error:
        verdict.problems.append(str(error).removeprefix(f"{folder.name}: "))
        return None


def _check_signature(folder: ReleaseFolder, key: Ed25519PublicKey, verdict: Verdict) -> None:
    try:
        verify_signature(folder, key)
    except NormpipeError as error:
        verdict.signature = str(error)
        verdict.problems.append(verdict.signature)


def _read(
    folder: ReleaseFolder,
    document: ReleaseDocument | None,
    listed: Listed,
    paths: Sequence[str],
    jobs: int,
    content: bool,
    note: Note,
) -> dict[str, _Checked]:
    """Every file, and of data files the rows, unless the bytes decide and are wrong."""
    splits = {} if document is None else {file.path: split for split, found in document.splits.items() for file in found.files}
    halt = Halt()

    def check(path: str) -> _Checked:
        halt.check()
        if document is None or path not in splits:
            return _Checked(folder.read(path), None)
        with folder.fetched(path) as (copy, read):
            if not (content or listed.is_right(path, read)):
                return _Checked(read, None)
            found = check_rows(copy, listed.data[path], splits[path], document)
        note(f"{path}: {len(found.digests)} rows")
        return _Checked(read, found)

    return dict(zip(paths, in_parallel(check, paths, jobs, halt), strict=True))


def _row_problems(document: ReleaseDocument, rows: Mapping[str, FoundRows]) -> Iterator[str]:
    """What rows are not, by file; then by split, where all its files are sound; then by release, where all splits are."""
    for file in document.files:
        if file.path in rows:
            yield from (f"{file.path}: {problem}" for problem in rows[file.path].problems)
    people: Counter[tuple[str | None, str]] = Counter()
    labels: dict[str, Counter[str]] = {}
    sound = True
    for split, said in document.ordered_splits:
        yield from _differing(f"split {split}: rows", sum(file.rows for file in said.files), said.rows)
        files = [rows[file.path] for file in said.files if file.path in rows and not rows[file.path].problems]
        if len(files) < len(said.files):
            sound = False
            continue
        if split_digest(digest for each in files for digest in each.digests) != document.content.get(split):
            yield f"{RELEASE_FILE}: split {split}: its rows hold something else than was released"
            sound = False
            continue
        subjects = {person for each in files for person in each.subjects}
        yield from _differing(f"split {split}: subjects", len(subjects), said.subjects)
        people.update(subjects)
        for name, counts in ((name, counts) for each in files for name, counts in each.labels.items()):
            labels.setdefault(name, Counter()).update(counts)
    if sound:
        shared = sum(count > 1 for count in people.values())
        yield from _differing("subjects in several splits", shared, document.subjects_in_several_splits)
        wrong = [name for name in sorted({*labels, *document.labels}) if labels.get(name) != document.labels.get(name)]
        yield from (f"{RELEASE_FILE}: labels.{name}: not what the rows hold" for name in wrong)
    if not document.content.keys() <= document.splits.keys():
        yield f"{RELEASE_FILE}: content: other splits than `splits`"


def _differing(what: str, found: int, said: int) -> Iterator[str]:
    if found != said:
        yield f"{RELEASE_FILE}: {what}: says {said}, there are {found}"


def _text_problems(
    folder: ReleaseFolder, document: ReleaseDocument, there: Mapping[str, int], wrong: Collection[str]
) -> list[str]:
    """What texts say otherwise than release.json, but those that are not as released; the card's words come from audits too."""
    audits = {source.audit.path for source in document.sources if source.audit is not None}
    told = {*wrong, CARD_FILE} if audits & set(wrong) else set(wrong)
    return [problem for problem in text_problems(folder, document, there) if re.split("[:,]", problem)[0] not in told]
