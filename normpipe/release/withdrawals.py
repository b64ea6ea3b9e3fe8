"""--exclude FILE: who asked to be taken out, in the source's names, to pseudonyms that a release can keep.

A line is an id; a first line `subject` or `sample` says of what, or each line says it for itself: `subject:F001`. Empty lines
and those that begin with `#` are left alone. The same list may be used for every release: what it names and a run does not
hold any more is still told of, so that a comparison of two releases knows a withdrawal from a loss.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.release.keys import Kind, Names
from normpipe.release.selection import Withdrawals

_HEADERS = {"subject": Kind.SUBJECT, "sample": Kind.SAMPLE, "sample_id": Kind.SAMPLE}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A subject or a sample, in the source's name."""

    kind: Kind
    name: str


def read_withdrawals(files: Sequence[Path]) -> list[Withdrawal]:
    """Read the lists.

    Raises:
        UsageError: a file cannot be read, or does not say what its lines are.
    """
    return [each for path in files for each in _read(path)]


def pseudonyms(withdrawals: Iterable[Withdrawal], datasets: Iterable[str | None], names: Names) -> Withdrawals:
    """The pseudonyms by which a release knows them, for each dataset that they might be of."""
    places = list(datasets)
    found: dict[Kind, set[str]] = {Kind.SUBJECT: set(), Kind.SAMPLE: set()}
    for each in withdrawals:
        found[each.kind].update(names.tombstone(each.kind, dataset, each.name) for dataset in places)
    return Withdrawals(frozenset(found[Kind.SUBJECT]), frozenset(found[Kind.SAMPLE]))


def _read(path: Path) -> Iterable[Withdrawal]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--exclude {path.name}: cannot be read as text") from error
    heading: Kind | None = None
    begun = False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not begun and text in _HEADERS:
            heading, begun = _HEADERS[text], True
            continue
        begun = True
        word, colon, name = text.partition(":")
        if colon and word in _HEADERS:
            yield Withdrawal(_HEADERS[word], name.strip())
        elif heading is not None:
            yield Withdrawal(heading, text)
        else:
            raise UsageError(
                f"--exclude {path.name}, line {number}: subject or sample? Begin the file with a line `subject` or `sample`, "
                "or each line with `subject:` or `sample:`"
            )
