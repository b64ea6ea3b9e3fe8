"""Rows of a run whose people have withdrawn their consent: the two files that `normpipe purge` leaves, as all others see them.

A withdrawn row keeps its place and nothing else: in the run's manifest and in every table a placeholder stands there, named
after the place. So shards stay aligned with the plan, and what is remembered of the person is a number. `purged.json` lists
the places; it is written when nothing of the person is left. Until then there is `purging.json`, and nobody reads the run.
"""

import json
from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path

from normpipe.errors import IncompatibleRunError

PURGED_FILE = "purged.json"
PURGING_FILE = "purging.json"
FORMAT_VERSION = 1


def placeholder(row: int) -> str:
    """What stands for the sample id and the uri of a withdrawn manifest row."""
    return f"withdrawn-{row:08d}"


def check_whole(out: Path) -> None:
    """Refuse a run that still holds a part of what was withdrawn.

    Raises:
        IncompatibleRunError: a withdrawal was interrupted.
    """
    if (out / PURGING_FILE).exists():
        raise IncompatibleRunError(
            f"{out.name}: a withdrawal was begun there and is not finished; `normpipe purge OUT` finishes it"
        )


def withdrawn_rows(out: Path) -> frozenset[int]:
    """Manifest rows that were withdrawn from a run.

    Raises:
        IncompatibleRunError: a withdrawal was interrupted, or purged.json is damaged.
    """
    check_whole(out)
    return recorded_rows(out)


def recorded_rows(out: Path) -> frozenset[int]:
    """The rows that purged.json lists, also amid another withdrawal; errors as for `read_record`."""
    return frozenset(_rows(read_record(out)))


def read_record(out: Path) -> dict[str, object]:
    """purged.json, empty where nothing was withdrawn.

    Raises:
        IncompatibleRunError: it is damaged.
    """
    try:
        document = json.loads((out / PURGED_FILE).read_bytes())
        _rows(document)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IncompatibleRunError(
            f"{out.name}/{PURGED_FILE}: damaged or of another version, so it is not known which rows were withdrawn; put it "
            "back from a copy, or choose another OUT"
        ) from error
    return dict(document)


def to_ranges(rows: Iterable[int]) -> list[list[int]]:
    """Numbers as [start, stop) ranges, in order."""
    ordered = sorted(rows)
    breaks = [index for index, (one, two) in enumerate(pairwise(ordered), start=1) if two != one + 1]
    bounds = [0, *breaks, len(ordered)] if ordered else []
    return [[ordered[start], ordered[stop - 1] + 1] for start, stop in pairwise(bounds)]


def from_ranges(ranges: Iterable[Iterable[int]]) -> list[int]:
    """The inverse of `to_ranges`."""
    return list(chain.from_iterable(range(*(int(bound) for bound in each)) for each in ranges))


def _rows(document: dict[str, object]) -> list[int]:
    ranges = document["rows"] if document else []
    if not isinstance(ranges, list) or document.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise TypeError
    return from_ranges(ranges)
