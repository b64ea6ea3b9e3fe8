"""What may be done with the sources: a file of terms for each dataset, and refusal where there is none.

The terms of some datasets that many use come with the package (`manifests/terms/`), each with the address that it follows; a
user's file of the same form says what holds for any other, or for the same under an agreement of one's own, and wins.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from normpipe.config import Section, load_document
from normpipe.errors import UsageError
from normpipe.release.keys import dataset_word

_PACKAGED = Path(__file__).parents[1] / "manifests"
_FOLDER = (_PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "manifests") / "terms"

_ATTRIBUTED = re.compile(r"cc[- ]by\b|creative commons attribution", re.IGNORECASE)
_Line = Annotated[str, Field(min_length=1)]


class Include(StrEnum):
    """What of a row is released; the words of --include."""

    PAIRS = "pairs"
    NORMALIZED = "normalized"
    LABELS = "labels"


class Passable(StrEnum):
    """What terms can allow to pass on: the data of a release, and pictures of people on its card."""

    PAIRS = "pairs"
    NORMALIZED = "normalized"
    LABELS = "labels"
    PICTURES = "pictures"


class Terms(Section):
    """A file of terms.

    Attributes:
        dataset: The word of the manifest's column `dataset`.
        licence: Name of the licence or agreement; an SPDX identifier where there is one.
        link: Where it can be read.
        attribution: Whom to name, and how.
        pass_on: What may be passed on.
        consent: What the people shown have agreed to.
        contact: Where a person shown asks to be taken out.
        source: Where these terms were read.
        note: What else there is to know.
    """

    version: Literal[1] = 1
    dataset: _Line
    licence: _Line
    link: str | None = None
    attribution: str | None = None
    pass_on: tuple[Passable, ...] = ()
    consent: str | None = None
    contact: str | None = None
    source: str | None = None
    note: str | None = None

    def allows(self, what: Include | Passable) -> bool:
        """Whether it may be passed on; who may pass on pairs may pass on what is a part of them."""
        wanted = Passable(what.value)
        parts = {Passable.NORMALIZED: Passable.PAIRS, Passable.LABELS: Passable.PAIRS}
        return wanted in self.pass_on or parts.get(wanted) in self.pass_on


def load_terms(files: Sequence[Path]) -> dict[str, Terms]:
    """Terms by the dataset's word in small letters: those of the package, then the user's in their place.

    Raises:
        UsageError: a file cannot be read or has a wrong key, or two name the same dataset.
    """
    known = {dataset_word(terms.dataset): terms for terms in map(_load, sorted(_FOLDER.glob("*.yaml")))}
    return {**known, **declared_terms(files)}


def declared_terms(files: Sequence[Path]) -> dict[str, Terms]:
    """Terms of the user's files alone, by the dataset's word in small letters; errors as for load_terms."""
    declared: dict[str, Terms] = {}
    for path in files:
        terms = _load(path)
        if dataset_word(terms.dataset) in declared:
            raise UsageError(f"--terms {path.name}: a second file for the dataset {terms.dataset}; give one")
        declared[dataset_word(terms.dataset)] = terms
    return declared


def terms_of(datasets: Iterable[str | None], files: Sequence[Path]) -> dict[str | None, Terms | None]:
    """The terms of each dataset, None where none are known.

    Rows without a dataset's word stand under the one file of the user's that names none of the other datasets.

    Raises:
        UsageError: as for load_terms, or a file names no dataset of the runs.
    """
    names = set(datasets)
    known, declared = load_terms(files), declared_terms(files)
    words = {dataset_word(name) for name in names if name is not None}
    spare = [terms for word, terms in declared.items() if word not in words]
    found: dict[str | None, Terms | None] = {name: known.get(dataset_word(name)) for name in names if name is not None}
    if None in names:
        found[None] = spare[0] if len(spare) == 1 else None
        spare = spare[1:] if len(spare) == 1 else spare
    if spare:
        there = ", ".join(sorted(name for name in names if name is not None)) or "rows without a dataset's name"
        raise UsageError(f"--terms: no row is of the dataset {spare[0].dataset}; the runs hold {there}")
    return found


def own_terms(found: Iterable[Terms | None]) -> set[Terms]:
    """Those of them that a user declared: all that do not come with the package."""
    return {terms for terms in found if terms is not None} - set(load_terms(()).values())


def gaps(found: Iterable[Terms | None]) -> Iterator[str]:
    """What terms leave open that whoever is shown, or uses the release, will ask for: a line for each dataset."""
    for terms in found:
        if terms is None:
            continue
        told = {
            f"attribution, which {terms.licence} asks for": terms.attribution if _ATTRIBUTED.match(terms.licence) else "none",
            "consent": terms.consent,
            "contact": terms.contact,
        }
        missing = [f"no {name}" for name, text in told.items() if not text]
        if missing:
            yield f"the terms of dataset {terms.dataset} tell of {'; '.join(missing)}"


def _load(path: Path) -> Terms:
    return load_document(Terms, path, (), "file of terms", "docs/release.md")
