"""--exclude FILE: who asked to be taken out, in the source's names, to pseudonyms that a release can keep.

A misspelt line leaves somebody in, so that every line which matches nothing is told of, by its number, since names are nobody
else's business. It is no error: who was taken out of the run as well (`normpipe purge`) stays on the list.

A line is an id; a first line `subject` or `sample` says of what, or each line says it for itself: `subject:F001`. Empty lines
and those that begin with `#` are left alone. The same list may be used for every release: what it names and a run does not
hold any more is still told of, so that a comparison of two releases knows a withdrawal from a loss.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.release.keys import Kind, Names
from normpipe.release.selection import Found, Withdrawals
from normpipe.release.words import counted

_HEADERS = {"subject": Kind.SUBJECT, "sample": Kind.SAMPLE, "sample_id": Kind.SAMPLE}
_SHOWN_LINES = 20


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A subject or a sample, in the source's name.

    Attributes:
        kind: Which of the two.
        name: The name.
        file: The list that has it.
        line: Where, from 1.
    """

    kind: Kind
    name: str
    file: Path
    line: int

    def tombstones(self, datasets: Iterable[str | None], names: Names) -> set[str]:
        """Its pseudonyms, one for each dataset that it might be of."""
        return {names.tombstone(self.kind, dataset, self.name) for dataset in datasets}


def read_withdrawals(files: Sequence[Path]) -> list[Withdrawal]:
    """Read the lists.

    Raises:
        UsageError: a file cannot be read, names nobody, or does not say what its lines are.
    """
    found = []
    for path in files:
        here = list(_read(path))
        if not here:
            raise UsageError(
                f"--exclude {path.name}: names nobody; write a line `subject` or `sample`, and an id a line below it"
            )
        found += here
    return found


def pseudonyms(withdrawals: Iterable[Withdrawal], datasets: Iterable[str | None], names: Names) -> Withdrawals:
    """The pseudonyms by which a release knows them, for each dataset that they might be of."""
    places = list(datasets)
    found: dict[Kind, set[str]] = {Kind.SUBJECT: set(), Kind.SAMPLE: set()}
    for each in withdrawals:
        found[each.kind] |= each.tombstones(places, names)
    return Withdrawals(frozenset(found[Kind.SUBJECT]), frozenset(found[Kind.SAMPLE]))


def matches(
    listed: Sequence[Withdrawal], datasets: Iterable[str | None], names: Names, found: Mapping[Found, int]
) -> Iterator[str]:
    """What came of each list, a line each; those with a line that matched nothing are warnings.

    Args:
        listed: The lines of all lists.
        datasets: Those of the runs.
        names: Pseudonyms.
        found: Rows that were withdrawn, as Selection.withdrawn counts them.
    """
    places = list(datasets)
    hit = {name for pair in found for name in pair if name is not None}
    for path in dict.fromkeys(each.file for each in listed):
        lines = [(each.line, each.tombstones(places, names)) for each in listed if each.file == path]
        wanted = set().union(*(tombstones for _, tombstones in lines))
        rows = sum(count for pair, count in found.items() if not wanted.isdisjoint(pair))
        missed = [line for line, tombstones in lines if tombstones.isdisjoint(hit)]
        told = f"{path.name}: {len(lines)} listed, {len(lines) - len(missed)} of them found ({counted(rows, 'row')})"
        if missed:
            verb = "matches" if len(missed) == 1 else "match"
            told = (
                f"warning: {told}; {_numbered(missed)} {verb} no row of these runs: misspelt, or taken out of the run already"
            )
        yield told


def _numbered(lines: Sequence[int]) -> str:
    """`line 3`, `lines 3 and 5`, `lines 1, 2, 3 and 40 more`."""
    shown = [str(line) for line in lines[:_SHOWN_LINES]]
    if len(lines) > _SHOWN_LINES:
        shown.append(f"{len(lines) - _SHOWN_LINES} more")
    if len(shown) == 1:
        return f"line {shown[0]}"
    return f"lines {', '.join(shown[:-1])} and {shown[-1]}"


def _read(path: Path) -> Iterable[Withdrawal]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"--exclude {path.name}: not there") from error
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
            yield Withdrawal(_HEADERS[word], name.strip(), path, number)
        elif heading is not None:
            yield Withdrawal(heading, text, path, number)
        else:
            raise UsageError(
                f"--exclude {path.name}, line {number}: subject or sample? Begin the file with a line `subject` or `sample`, "
                "or each line with `subject:` or `sample:`"
            )
