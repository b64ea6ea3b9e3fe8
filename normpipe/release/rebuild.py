"""`normpipe release rebuild`: the same release again from the same runs, to prove that nothing else went into it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.release.build import build
from normpipe.release.document import ReleaseDocument
from normpipe.release.keys import Names
from normpipe.release.request import Request
from normpipe.release.runs import SourceRun
from normpipe.release.selection import Withdrawals
from normpipe.release.sums import read_sums
from normpipe.release.words import counted


def rebuilt_request(document: ReleaseDocument, runs: Sequence[SourceRun], names: Names) -> Request:
    """What release.json says that a release was made of and how.

    Raises:
        UsageError: the key is another, or the runs are.
    """
    if names.check != document.key_check:
        kind = "has plain names: give --plain-ids" if document.key_check is None else "was made with another key: give that one"
        raise UsageError(f"{document.name} {document.version}: {kind}")
    said = {source.run.number: source.run.fingerprint for source in document.sources}
    found = {run.number: run.plan.fingerprint.digest for run in runs}
    if said != found:
        raise UsageError(
            f"{document.name} {document.version}: made of {counted(len(said), 'run')} with other fingerprints; name the same "
            "runs in the same order, or people were taken out of them since, and it cannot be built again"
        )
    return Request(
        name=document.name,
        version=document.version,
        date=document.date,
        options=document.options,
        names=names,
        terms={source.name: source.terms for source in document.sources},
        withdrawals=Withdrawals.told(document),
    )


def differing_files(first: Path, second: Path) -> list[str]:
    """Paths of the files that two releases do not have alike, by their sums."""
    sums = [read_sums(folder).digests for folder in (first, second)]
    return sorted(path for path in {*sums[0], *sums[1]} if sums[0].get(path) != sums[1].get(path))


def rebuild(
    document: ReleaseDocument,
    runs: Sequence[SourceRun],
    names: Names,
    target: Path,
    *,
    jobs: int = 1,
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Build a release again into another folder; errors as for `rebuilt_request` and `build`."""
    build(runs, target, rebuilt_request(document, runs, names), jobs=jobs, note=note)
