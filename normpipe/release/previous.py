"""The release before, as `--previous` names it: what its release.json alone can refuse is refused before a row is read.

Whom it took out stays out of every later release: their pseudonyms are handed on from release.json to release.json, so that
nobody comes back by a list that was forgotten once, or since a run that they were taken out of no longer holds their rows.
"""

from normpipe.errors import UsageError
from normpipe.release.compare import Step, release_document, step_between
from normpipe.release.document import ReleaseDocument
from normpipe.release.reader import ReleaseFolder
from normpipe.release.request import Request
from normpipe.release.words import counted


def read_previous(request: Request) -> ReleaseDocument | None:
    """The release.json of the release before, None where none was named.

    Raises:
        UsageError: it is not there, its names were made in another way, or the version is not above its own.
    """
    if request.previous is None:
        return None
    found = release_document(request.previous, "--previous")
    named = f"--previous {request.previous.name}"
    if found.key_check is None and request.names.check is not None:
        raise UsageError(f"{named}: has the source's names, and rows cannot be matched with pseudonyms; give --plain-ids")
    if found.key_check != request.names.check:
        raise UsageError(f"{named}: its names were made with another key; give the key of that release with --key-file")
    if step_between(found.version, request.version) is Step.NONE:
        raise UsageError(f"--version {request.version}: not above {found.version}, which {named} has; give a higher one")
    return found


def earlier_datasets(previous: ReleaseFolder | None) -> set[str | None]:
    """The sources of the release before: of one that no row is left of, people may have been withdrawn.

    Raises:
        UsageError: it is not there.
    """
    return set() if previous is None else {source.name for source in release_document(previous, "--previous").sources}


def check_returned(rows: int, request: Request, previous: ReleaseDocument | None) -> None:
    """Make sure that nobody comes back who was taken out of the release before.

    Args:
        rows: Rows to be released that its tombstones name.
        request: What is wanted.
        previous: The release before.

    Raises:
        UsageError: there are such rows.
    """
    if rows and previous is not None and request.previous is not None:
        verb = "is" if rows == 1 else "are"
        raise UsageError(
            f"--previous {request.previous.name}: {counted(rows, 'row')} of people or samples withdrawn there {verb} in this "
            f"release again; give --exclude as for {previous.version}"
        )
