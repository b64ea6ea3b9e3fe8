"""Push: a release's folder to a place of `release.remote`, so that nobody ever takes half of it for the whole.

All that is to be sent is read and hashed first: a release that is damaged here leaves no trace there. release.json goes first
and says whose place it is, SHA256SUMS goes last and says that all is there; between them the files, several at a time. Each is
hashed again while it is sent and gets its name when it is whole, so what is there with its size is right as far as this program
wrote it; the checksum that the place keeps, or reading it back, says so for good. Nothing is ever removed there but what a
broken push of the same files left, and a place that holds anything else is refused.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from normpipe.address import shown
from normpipe.errors import NormpipeError, UsageError
from normpipe.release.document import RELEASE_FILE, parse_json
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt, in_parallel
from normpipe.release.remote import Remote, Target
from normpipe.release.remote_folder import FolderRemote, files_below
from normpipe.release.sums import SIGNATURE_FILE, SUMS_FILE, parse_sums, read_sums_bytes
from normpipe.shards.atomic import sha256_of

_CHUNK = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Attributes:
        files: Of the release, SHA256SUMS and its signature included.
        sent: Files that were not there, or not right.
        sent_bytes: Their bytes.
        sized: Files of which only the size was compared in the end, as the place keeps no checksum.
    """

    files: int
    sent: int
    sent_bytes: int
    sized: int


def push(release: Path, target: Target, jobs: int, *, check: bool = False, say: Say = lambda _: None) -> Pushed:
    """Bring a release to a place, or what of it is not there yet.

    Args:
        release: Its folder.
        target: The place; empty, or holding some or all of the same release.
        jobs: Files at a time; each holds a few pieces of 8 MiB at most.
        check: Read back and hash what the place keeps no checksum of.
        say: Told what becomes of each file.

    Raises:
        UsageError: the folder is no release, or the place holds something else.
        NormpipeError: a file is not what SHA256SUMS says, here or there.
        OSError: the place cannot be reached or written.
    """
    files, title = outgoing_files(release), _title(release)
    if isinstance(target, FolderRemote) and target.folder.resolve().is_relative_to(release.resolve()):
        raise UsageError(f"{target.name}: lies in the release itself; name another place")
    target.prepare()
    before = _sizes(target)
    _refuse_others(target, files, before)
    halt = Halt()
    kept = in_parallel(lambda file: _is_there(file, target, before, check=check), files, jobs, halt)
    missing = [file for file, is_there in zip(files, kept, strict=True) if not is_there]
    if missing:
        say(f"hashing {len(missing)} files, {sum(file.size for file in missing)} bytes, before the first is sent")
    in_parallel(lambda file: file.check(halt), missing, jobs, halt)

    def send(file: Outgoing) -> None:
        target.send(file, halt)
        say(f"{file.path}: sent, {file.size} bytes")

    first, last = {RELEASE_FILE}, {SUMS_FILE}
    for step in (first, {file.path for file in files} - first - last, last):
        in_parallel(send, [file for file in missing if file.path in step], jobs, halt)
    target.clear([file.path for file in files])
    if missing:
        target.publish(title)
    after = _sizes(target)
    refuse_other_files(after, [*(file.path for file in files), SIGNATURE_FILE], target.name)
    checked = set(missing) if check else set[Outgoing]()
    verified = in_parallel(lambda file: _verified(file, target, after, check=file in checked), files, jobs, halt)
    sized = 0 if check else verified.count(False)
    return Pushed(len(files), len(missing), sum(file.size for file in missing), sized)


def outgoing_files(release: Path) -> list[Outgoing]:
    """Everything that a push sends, SHA256SUMS at the end; no file is read but that.

    Raises:
        UsageError: the folder is no release, lacks a file, or holds another.
    """
    content = read_sums_bytes(release)
    digests = dict(parse_sums(content).digests)
    if RELEASE_FILE not in digests:
        raise UsageError(f"{RELEASE_FILE}: {SUMS_FILE} does not name it; this is no release")
    if (release / SIGNATURE_FILE).is_file():
        digests[SIGNATURE_FILE] = sha256_of(release / SIGNATURE_FILE)
    digests[SUMS_FILE] = sha256(content).hexdigest()
    refuse_other_files(files_below(release), digests, shown(str(release)))
    for path in digests:
        if (release / path).is_symlink() or not (release / path).is_file():
            raise UsageError(f"{path}: {SUMS_FILE} names it, but no such file is there; get or build the release again")
    return [Outgoing(path, release / path, (release / path).stat().st_size, digest) for path, digest in digests.items()]


def refuse_other_files(found: Collection[str], known: Collection[str], where: str) -> None:
    """Raise UsageError if something is found that is not known."""
    others = sorted(set(found) - set(known))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(f"{where}: holds files that {SUMS_FILE} does not name ({others[0]!r}{more})")


def read_small(remote: Remote, path: str, most: int) -> bytes:
    """A file's content, no more than one byte above `most`. Raises OSError."""
    with remote.open(path) as file:
        return file.read(most + 1)


def _sizes(target: Target) -> Mapping[str, int]:
    there = target.sizes()
    if there is None:
        raise UsageError(f"{target.name}: such addresses can be read only; name a place that takes files")
    return there


def _title(release: Path) -> str:
    """Name and version."""
    try:
        found = parse_json((release / RELEASE_FILE).read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"name", "version"} <= found.keys():
        raise UsageError(f"{RELEASE_FILE}: it gives no name and version; build the release again")
    return f"{found['name']} {found['version']}"


def _refuse_others(target: Target, files: Sequence[Outgoing], there: Mapping[str, int]) -> None:
    """The place is empty, or its release.json and its SHA256SUMS, where there is one, are ours."""
    if not there:
        return
    refuse_other_files(there, [*(file.path for file in files), SIGNATURE_FILE], target.name)
    for file in files:
        if file.path not in {RELEASE_FILE, SUMS_FILE} or (file.path == SUMS_FILE and SUMS_FILE not in there):
            continue
        if file.path not in there or read_small(target, file.path, file.size) != file.source.read_bytes():
            raise UsageError(
                f"{target.name}: another release, or files of none, are there; each release gets a place of its own"
            )


def _is_there(file: Outgoing, target: Target, there: Mapping[str, int], *, check: bool) -> bool:
    if there.get(file.path) != file.size:
        return False
    agrees = target.agrees(file)
    if agrees is None and (check or file.path == SIGNATURE_FILE):
        return _read_back(file.path, target) == file.sha256
    return agrees is not False


def _verified(file: Outgoing, target: Target, there: Mapping[str, int], *, check: bool) -> bool:
    """Whether more than the size of what is there in the end was compared."""
    if there.get(file.path) != file.size:
        raise NormpipeError(f"{file.path}: was sent, but is not there with its size; push again")
    agrees = target.agrees(file)
    if agrees is None and check:
        agrees = _read_back(file.path, target) == file.sha256
    if agrees is False:
        raise NormpipeError(f"{file.path}: was sent, but what is there has another sha256; push again")
    return agrees is True


def _read_back(path: str, target: Target) -> str:
    digest = sha256()
    with target.open(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
