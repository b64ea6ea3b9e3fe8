"""`normpipe release verify`: is this folder the release that it says it is?

Sums show that no byte has changed since they were written; whoever changes a file can write new sums too. So all that is said
twice is compared as well: rows with release.json, release.json with the card, with Croissant, with the audits. A signature of
the sums (kept apart) says who wrote them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.data_check import FoundRows, check_rows
from normpipe.release.digests import split_digest
from normpipe.release.document import RELEASE_FILE, ReleasedFile, ReleaseDocument, parse_release
from normpipe.release.parallel import Halt, in_parallel
from normpipe.release.reader import Read, ReleaseFolder
from normpipe.release.signature import read_public_key, verify_signature
from normpipe.release.sums import SIGNATURE_FILE, SUMS_FILE, parse_sums
from normpipe.release.text_check import text_problems

_SHOWN = 5
_HUB_FILES = {".gitattributes"}


@dataclass(slots=True)
class Verdict:
    """What was found: `problems` in words, each with the file's name first."""

    rows: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Checked:
    file: ReleasedFile
    split: str
    rows: FoundRows


def verify(
    folder: ReleaseFolder,
    *,
    jobs: int = 1,
    content: bool = False,
    public_key: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Hold a release against all that it says of itself.

    Args:
        folder: Where it lies.
        jobs: Files that are read at once.
        content: Judge data files by what their rows hold and not by their bytes, which another version of the Parquet library
            writes differently.
        public_key: Whose signature it must have; None leaves a signature unread.
        note: Told of every file.

    Raises:
        UsageError: it is no release at all, or the key is none.
    """
    key = None if public_key is None else read_public_key(public_key)
    verdict = Verdict()
    try:
        sizes = folder.files()
        document = parse_release(folder.content(RELEASE_FILE), folder.name)
    except FileNotFoundError as error:
        raise UsageError(f"{folder.name}: not a release (it has no {RELEASE_FILE})") from error
    sums = _sums(folder, sizes, verdict)
    if key is not None:
        _check_signature(folder, key, verdict)
    elif SIGNATURE_FILE in sizes:
        note(f"{SIGNATURE_FILE}: not looked at; --public-key says whose it must be")
    _check_listing(folder, sizes, sums, verdict)
    data = {file.path: file for file in document.files}
    for path in sorted(sums.keys() & sizes.keys() - data.keys()):
        _check_bytes(path, folder.read(path), sums, verdict)
    checked = _check_data(folder, document, sums, sizes, jobs, content, verdict, note)
    _check_totals(document, checked, verdict)
    verdict.problems += text_problems(folder, document, sizes)
    verdict.files = len(sizes)
    verdict.rows = sum(len(each.rows.digests) for each in checked)
    return verdict


def _sums(folder: ReleaseFolder, sizes: Mapping[str, int], verdict: Verdict) -> dict[str, str]:
    if SUMS_FILE not in sizes:
        verdict.problems.append(f"{SUMS_FILE}: missing")
        return {}
    try:
        return dict(parse_sums(folder.content(SUMS_FILE)).digests)
    except UsageError as error:
        verdict.problems.append(str(error))
        return {}


def _check_signature(folder: ReleaseFolder, key: Ed25519PublicKey, verdict: Verdict) -> None:
    try:
        verify_signature(folder, key)
    except NormpipeError as error:
        verdict.problems.append(str(error))


def _check_listing(folder: ReleaseFolder, sizes: Mapping[str, int], sums: Mapping[str, str], verdict: Verdict) -> None:
    own = {SUMS_FILE, SIGNATURE_FILE} | (set() if folder.local else _HUB_FILES)
    verdict.problems += [f"{path}: missing, {SUMS_FILE} lists it" for path in sorted(sums.keys() - sizes.keys())]
    verdict.problems += [
        f"{path}: extra file, {SUMS_FILE} does not list it" for path in sorted(sizes.keys() - sums.keys() - own)
    ]


def _check_bytes(path: str, read: Read, sums: Mapping[str, str], verdict: Verdict) -> None:
    if path not in sums or read.sha256 == sums[path]:
        return
    other = next((name for name, digest in sums.items() if digest == read.sha256), None)
    swapped = f": it is {other}, swapped" if other is not None else ""
    verdict.problems.append(f"{path}: not the file that {SUMS_FILE} lists{swapped}")


def _check_data(
    folder: ReleaseFolder,
    document: ReleaseDocument,
    sums: Mapping[str, str],
    sizes: Mapping[str, int],
    jobs: int,
    content: bool,
    verdict: Verdict,
    note: Callable[[str], None],
) -> list[_Checked]:
    halt = Halt()

    def check(each: tuple[str, ReleasedFile]) -> tuple[_Checked, list[str]]:
        halt.check()
        split, file = each
        problems: list[str] = []
        if file.path not in sizes:
            found = FoundRows() if file.path in sums else FoundRows([f"missing, {RELEASE_FILE} lists it"])
            return _Checked(file, split, found), problems
        with folder.fetched(file.path) as (path, read):
            if not content:
                problems = list(_wrong_bytes(file, read, sums))
            found = check_rows(path, file, split, document)
        note(f"{file.path}: {len(found.digests)} rows")
        return _Checked(file, split, found), problems

    work = [(split, file) for split, found in document.ordered_splits for file in found.files]
    done = in_parallel(check, work, jobs, halt)
    for checked, problems in done:
        verdict.problems += problems
        verdict.problems += [f"{checked.file.path}: {problem}" for problem in checked.rows.problems]
    return [checked for checked, _ in done]


def _wrong_bytes(file: ReleasedFile, read: Read, sums: Mapping[str, str]) -> Iterator[str]:
    if read.size != file.size:
        short = "truncated, " if read.size < file.size else ""
        yield f"{file.path}: {short}{read.size} bytes, {RELEASE_FILE} says {file.size}"
    found = Verdict()
    _check_bytes(file.path, read, sums, found)
    yield from found.problems
    if file.path not in sums:
        yield f"{file.path}: {SUMS_FILE} does not list it"
    elif sums[file.path] != file.sha256:
        yield f"{file.path}: {SUMS_FILE} and {RELEASE_FILE} tell of different content"


def _check_totals(document: ReleaseDocument, checked: list[_Checked], verdict: Verdict) -> None:
    """Counts and digests over all files."""
    people: Counter[tuple[str | None, str]] = Counter()
    labels: dict[str, Counter[str]] = {}
    for split, said in document.ordered_splits:
        files = [each for each in checked if each.split == split]
        subjects = {person for each in files for person in each.rows.subjects}
        people.update(subjects)
        for name, counts in ((name, counts) for each in files for name, counts in each.rows.labels.items()):
            labels.setdefault(name, Counter()).update(counts)
        rows = sum(len(each.rows.digests) for each in files)
        verdict.problems += _differing(f"split {split}: rows", rows, said.rows)
        verdict.problems += _differing(f"split {split}: subjects", len(subjects), said.subjects)
        verdict.problems += _differing(f"split {split}: rows of its files", sum(file.rows for file in said.files), said.rows)
        found = split_digest(digest for each in files for digest in each.rows.digests)
        if found != document.content.get(split):
            verdict.problems.append(f"{RELEASE_FILE}: split {split}: its rows hold something else than was released")
    shared = sum(count > 1 for count in people.values())
    verdict.problems += _differing("subjects in several splits", shared, document.subjects_in_several_splits)
    counted = {name: dict(sorted(counts.items())) for name, counts in sorted(labels.items())}
    for name in sorted({*counted, *document.labels}):
        if counted.get(name) != document.labels.get(name):
            verdict.problems.append(f"{RELEASE_FILE}: labels.{name}: not what the rows hold")
    if set(document.content) != set(document.splits):
        verdict.problems.append(f"{RELEASE_FILE}: content: other splits than `splits`")


def _differing(what: str, found: int, said: int) -> list[str]:
    return [] if found == said else [f"{RELEASE_FILE}: {what}: says {said}, there are {found}"]
