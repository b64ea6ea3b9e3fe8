"""Card, Croissant, licence and audits of a release: do they say what release.json says?

Figures are compared in every release; what stands between them only where it was worded as it is today.
"""

import re
from collections.abc import Iterator, Mapping

from normpipe.audit.document import Document, at, items
from normpipe.audit.figures import Json
from normpipe.release.card import CARD_FILE, card_lines, card_text
from normpipe.release.croissant import CROISSANT_FILE, croissant
from normpipe.release.document import RELEASE_FILE, TEXTS, ReleaseDocument, parse_json
from normpipe.release.licence import LICENCE_FILE, licence_text
from normpipe.release.reader import ReleaseFolder

_SHOWN = 5
_FIGURE = re.compile(r"name|version|datePublished|distribution\[\d+\]\.(@id|contentUrl|contentSize|sha256|includes)")
"""Where Croissant says what no wording changes."""


def text_problems(folder: ReleaseFolder, document: ReleaseDocument, sizes: Mapping[str, int]) -> list[str]:
    """What does not agree, each with the file's name first.

    Args:
        folder: The release.
        document: Its release.json.
        sizes: Of the files that are there.
    """
    problems: list[str] = []
    audits = dict(_audits(folder, document, sizes, problems))
    own = document.texts == TEXTS
    if CARD_FILE in sizes:
        problems += _card_problems(folder.content(CARD_FILE).decode("utf-8", "replace"), document, audits, own)
    if CROISSANT_FILE in sizes:
        problems += _croissant_problems(folder.content(CROISSANT_FILE), document, own)
    if own and LICENCE_FILE in sizes and folder.content(LICENCE_FILE) != licence_text(document.name, document.sources).encode():
        problems.append(f"{LICENCE_FILE}: other terms than in {RELEASE_FILE}")
    problems += [f"{path}: missing" for path in (CARD_FILE, CROISSANT_FILE, LICENCE_FILE) if path not in sizes]
    return problems


def _audits(
    folder: ReleaseFolder, document: ReleaseDocument, sizes: Mapping[str, int], problems: list[str]
) -> Iterator[tuple[int, Document]]:
    seen = set()
    for source in document.sources:
        said = source.audit
        if said is None or said.path in seen or said.path not in sizes:
            continue
        seen.add(said.path)
        try:
            found = parse_json(folder.content(said.path))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            problems.append(f"{said.path}: damaged")
            continue
        if at(found, "passed") != said.passed or items(found, "gates") != list(said.gates):
            problems.append(f"{said.path}: other verdicts than in {RELEASE_FILE}")
        yield source.run.number, found


def _card_problems(text: str, document: ReleaseDocument, audits: Mapping[int, Document], own: bool) -> Iterator[str]:
    lines = text.splitlines()
    there = set(lines)
    wrong = [name for name, line in card_lines(document).items() if line not in there]
    yield from (f"{CARD_FILE}: {name}: not the figure of {RELEASE_FILE}" for name in wrong[:_SHOWN])
    if own and not wrong:
        try:
            wanted = card_text(document, audits).splitlines()
        except (LookupError, TypeError, ValueError, AssertionError):  # of a stranger's audit, in which anything may stand
            yield f"{CARD_FILE}: cannot be compared, for an audit's file is damaged"
            return
        for number, (found, made) in enumerate(zip([*lines, ""], [*wanted, ""], strict=False), 1):
            if found != made:
                yield f"{CARD_FILE}, line {number}: not what {RELEASE_FILE} and the audits say"
                return
        if len(lines) != len(wanted):
            yield f"{CARD_FILE}: {len(lines)} lines, there should be {len(wanted)}"


def _croissant_problems(content: bytes, document: ReleaseDocument, own: bool) -> Iterator[str]:
    try:
        there = dict(_leaves(parse_json(content), ""))
    except (ValueError, RecursionError):
        yield f"{CROISSANT_FILE}: damaged"
        return
    wanted = dict(_leaves(croissant(document), ""))
    compared = {*wanted, *there} if own else {key for key in {*wanted, *there} if _FIGURE.fullmatch(key)}
    wrong = [key for key in sorted(compared) if wanted.get(key) != there.get(key)]
    yield from (f"{CROISSANT_FILE}: {key}: not what {RELEASE_FILE} says" for key in wrong[:_SHOWN])
    if len(wrong) > _SHOWN:
        yield f"{CROISSANT_FILE}: and {len(wrong) - _SHOWN} more"


def _leaves(value: Json, place: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{place}[{number}]")
    else:
        yield place, value
