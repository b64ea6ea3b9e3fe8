"""README.md: the dataset card, for people and for the hub.

It is made from release.json and the audits that lie in the release, from nothing else, so that it can be made again and
compared: whoever edits a figure is found out. What it says in words follows the datasheet's questions (Gebru et al.,
arXiv:1803.09010): what a row is, where it comes from and under which terms, how it was made, what was measured, what was left
out, what may go wrong, who must be asked.
"""

import json
from collections.abc import Callable, Iterator, Mapping

from normpipe.audit.document import Document, items
from normpipe.audit.gates import line
from normpipe.release.audits import audit_path, figure_path
from normpipe.release.document import ReleaseDocument, ReleasedRun
from normpipe.release.figures import audit_figures
from normpipe.release.front import front_matter
from normpipe.release.licence import LICENCE_FILE, distinct_terms
from normpipe.release.schema import pictures
from normpipe.release.terms import Include, Terms

CARD_FILE = "README.md"
SHEET_PATH = "audit/figures/pairs.png"

_ROW = {
    Include.PAIRS: "a face twice: `original`, the aligned crop, and `normalized`, the same expression on the common face",
    Include.NORMALIZED: "a normalized face: the expression of a photograph on the common face",
    Include.LABELS: "what is known of a face: labels, pose and quality, without its pictures",
}

Audits = Mapping[int, Document]
"""What the release holds of the audits, by the run's number."""


def card_text(document: ReleaseDocument, audits: Audits) -> str:
    """The card."""
    return "\n".join([*front_matter(document), *_body(document, audits)]) + "\n"


def card_figures(document: ReleaseDocument) -> dict[str, str]:
    """All figures of the card's tables by what they are called; the card shows each as `| name | figure |`."""
    found = {
        "name": document.name,
        "version": document.version,
        "date": document.date,
        "rows": str(document.rows),
        "subjects in several splits": str(document.subjects_in_several_splits),
        "rows taken out on request": str(document.withdrawn.rows),
    }
    for name, split in document.ordered_splits:
        found[f"{name}: rows"] = str(split.rows)
        found[f"{name}: subjects"] = str(split.subjects)
        found[f"{name}: files"] = str(len(split.files))
        found[f"{name}: bytes"] = str(sum(file.size for file in split.files))
    for column, counts in document.labels.items():
        found |= {f"{column}: {value}": str(count) for value, count in counts.items()}
    found |= {f"left out, {reason}": str(count) for reason, count in document.exclusions.items()}
    for run in _runs(document):
        found |= {f"run {run.number}: rows": str(run.rows), f"run {run.number}: ok": str(run.ok)}
        found |= {f"run {run.number}: failed, {reason}": str(count) for reason, count in run.failed.items()}
    return found


def table_line(name: str, figure: str) -> str:
    """A figure as the card shows it."""
    return f"| {_cell(name)} | {_cell(figure)} |"


def _body(document: ReleaseDocument, audits: Audits) -> Iterator[str]:
    yield f"# {document.name} {document.version}"
    yield ""
    yield from _overrides(document)
    yield from _what(document)
    yield from _loading(document)
    yield from _sources(document)
    yield from _method(document)
    yield from _audit(document, audits)
    yield from _exclusions(document)
    yield from _failures(document)
    yield from _splits(document)
    yield from _ethics(document)
    yield from _changes(document)


def _overrides(document: ReleaseDocument) -> Iterator[str]:
    sentences = {
        "--partial": "It was made of runs that are not finished.",
        "--override-terms": "It passes on what the terms of its sources do not allow, or whose terms are unknown.",
        "--override-audit": "It was made although an audit is missing, not judged, or missed its gates.",
    }
    if document.overrides:
        yield "> **Read this first.** " + " ".join(f"{sentences[flag]} (`{flag}`)" for flag in document.overrides)
        yield ""


def _what(document: ReleaseDocument) -> Iterator[str]:
    yield "## What a row is"
    yield ""
    yield f"A row is {_ROW[document.include]}. {document.rows} rows, made {document.date} by {document.producer}."
    yield ""
    if document.plain_ids:
        yield "`subject`, `sample_id`, `sequence` and the paths of pictures are **named as in the source**."
    else:
        yield (
            "`sample_id`, `subject` and `sequence` are the first 32 hex digits of an HMAC-SHA256 under a key that only the "
            "publisher has: equal names have equal digits, within a dataset, and nothing else follows from them."
        )
    yield (
        " `emotion` is the number of a class; null means not annotated in labels, not measured elsewhere. Boxes, points and "
        "angles are those of the source picture, in its pixels and in degrees."
    ).strip()
    yield ""
    yield from _table(_some(document, lambda name: ": " not in name and not name.startswith("left out")))
    if document.labels:
        yield "Labels, by rows:"
        yield ""
        yield from _table(_some(document, lambda name: name.partition(": ")[0] in document.labels))


def _loading(document: ReleaseDocument) -> Iterator[str]:
    first = document.ordered_splits[0][0]
    shown = pictures(document.include)
    yield "## How to load it"
    yield ""
    yield "```python"
    yield "from datasets import load_dataset"
    yield ""
    yield f'rows = load_dataset("path/to/this/folder", split="{first}")'
    if shown:
        yield f'rows[0]["{shown[-1]}"]  # a PIL image'
    yield ""
    yield "import pandas, polars, duckdb"
    yield ""
    yield 'pandas.read_parquet("data", columns=["sample_id", "emotion"])'
    yield f'polars.scan_parquet("data/{first}-*.parquet")'
    yield f"duckdb.read_parquet('data/{first}-*.parquet').count('emotion')"
    yield "```"
    yield ""
    yield "`sha256sum -c SHA256SUMS` compares every file; `normpipe release verify` also reads every row and every picture."
    yield ""


def _sources(document: ReleaseDocument) -> Iterator[str]:
    yield "## Sources and terms"
    yield ""
    yield f"In full in [{LICENCE_FILE}]({LICENCE_FILE})."
    yield ""
    yield "| dataset | licence | may be passed on | attribution |"
    yield "|---|---|---|---|"
    for title, terms in distinct_terms(document.sources):
        attribution = _cell(terms.attribution or "") if terms is not None else ""
        yield f"| {_cell(title)} | {_licence_cell(terms)} | {_passed_on(terms)} | {attribution} |"
    yield ""


def _licence_cell(terms: Terms | None) -> str:
    if terms is None:
        return "unknown"
    return f"[{_cell(terms.licence)}]({terms.link})" if terms.link else _cell(terms.licence)


def _passed_on(terms: Terms | None) -> str:
    return "unknown" if terms is None else ", ".join(terms.pass_on) or "nothing"


def _method(document: ReleaseDocument) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    yield "```"
    yield document.command.replace(" --", " \\\n  --")
    yield "```"
    yield ""
    for run in _runs(document):
        parts = run.fingerprint_parts
        yield f"Run {run.number} ({run.producer}), fingerprint `{run.fingerprint}`:"
        yield ""
        yield "<details><summary>Configuration, weights, libraries</summary>"
        yield ""
        yield "| part | value |"
        yield "|---|---|"
        for name in ("normalizer", "detector", "landmarker"):
            if name in parts:
                for inner, value in _flat(name, parts[name]):
                    yield table_line(inner, value)
        for name, value in parts.items():
            if name.startswith(("config.", "environment.", "algorithm.")):
                yield table_line(name, value)
        yield ""
        yield "</details>"
        yield ""
        start = f"run {run.number}: "
        yield from _table({name: figure for name, figure in card_figures(document).items() if name.startswith(start)})


def _flat(name: str, value: str) -> Iterator[tuple[str, str]]:
    """A part that is an object, such as the normalizer with its weights' hashes, entry by entry."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if isinstance(found, dict):
        yield from ((f"{name}.{key}", str(each)) for key, each in found.items())
    else:
        yield name, value


def _audit(document: ReleaseDocument, audits: Audits) -> Iterator[str]:
    yield "## What the audit found"
    yield ""
    yield (
        "Whether the expression is still there and the person gone, measured on these pictures; intervals are 95 % over "
        "people. What each figure means, and what it does not prove, is in normpipe's documentation of audits."
    )
    yield ""
    for number, source in {source.run.number: source for source in document.sources}.items():
        audit = audits.get(number)
        if source.audit is None or audit is None:
            yield f"Run {number} was not audited."
            yield ""
            continue
        state = {True: "passed all its gates", False: "**missed a gate**", None: "was held against no gate"}[
            source.audit.passed
        ]
        yield f"Run {number} {state}; all figures are in [{audit_path(number)}]({audit_path(number)})."
        yield ""
        for verdict in items(audit, "gates"):
            yield f"- {line(verdict)}"
        yield ""
        for name in audit_figures(audit):
            yield f"![Run {number}, {name}]({figure_path(number, name)})"
            yield ""
    if shows_pictures(document):
        yield f"![Some rows]({SHEET_PATH})"
        yield ""


def shows_pictures(document: ReleaseDocument) -> bool:
    """Whether the card may show faces: every source's terms allow it."""
    return bool(pictures(document.include)) and all(
        source.terms is not None and "pictures" in source.terms.pass_on for source in document.sources
    )


def _exclusions(document: ReleaseDocument) -> Iterator[str]:
    yield "## What was left out"
    yield ""
    if not document.exclusions:
        yield "No row of the runs."
        yield ""
        return
    yield (
        "Each row under the first reason that holds: `failed` rows have no normalized face, `filter` is a limit on a quality "
        "column, `excluded` was asked for here and `withdrawn` in the run, `partial` was not yet done."
    )
    yield ""
    yield from _table(_some(document, lambda name: name.startswith("left out")))


def _failures(document: ReleaseDocument) -> Iterator[str]:
    yield "## What may go wrong"
    yield ""
    yield "- Rows that failed are missing, and not at random: faces turned far, small, dark or covered fail more often."
    if pictures(document.include):
        yield "- What the landmarks do not see (tears, blushing, gaze where the eyes are small) is not in the normalized face."
        yield "- Strong expressions may be drawn weaker than they are; the audit's slope says by how much."
        yield "- Of a person, something may be left that this audit's attackers did not find and a better one does."
    yield "- Labels are the source's, with its errors; nothing was labelled again."
    yield ""


def _splits(document: ReleaseDocument) -> Iterator[str]:
    yield "## Splits"
    yield ""
    yield (
        "The source's own, by the manifest's column `split` (rows without one are `train`; `val`, `valid` and `dev` are "
        "`validation`)."
    )
    shared = document.subjects_in_several_splits
    if not any(split.subjects for split in document.splits.values()):
        yield "No row names its subject: whether people are in several splits is unknown."
    elif len(document.splits) > 1:
        yield (
            "No subject is in two of them."
            if shared == 0
            else f"**{shared} subjects are in several of them**: divide anew by `subject`."
        )
    yield ""
    names = tuple(f"{name}: {what}" for name, _ in document.ordered_splits for what in ("rows", "subjects", "files", "bytes"))
    yield from _table(_some(document, names.__contains__))


def _ethics(document: ReleaseDocument) -> Iterator[str]:
    yield "## People and consent"
    yield ""
    yield (
        "Faces are personal data, normalized ones too, **whatever the figures above say**: they were made from pictures of "
        "people, and whoever has those may link them. Do not try to find out who is shown. What an expression looks like is "
        "not what a person feels; nothing here is fit to judge people by."
    )
    yield ""
    for title, terms in distinct_terms(document.sources):
        consent = " ".join(terms.consent.split()) if terms is not None and terms.consent else "not stated in the terms declared"
        contact = terms.contact if terms is not None and terms.contact else "whoever published this release"
        yield f"- {title}: consent: {consent}. Who wants to be taken out asks: {contact}."
    yield ""


def _changes(document: ReleaseDocument) -> Iterator[str]:
    yield "## Changes"
    yield ""
    yield (
        "Versions: the last number changes when the same rows are packed anew, the middle one when rows are added, the first "
        "when rows are removed, changed or move to another split."
    )
    yield ""
    yield document.options.changes.strip() if document.options.changes else f"- {document.version} ({document.date})"


def _runs(document: ReleaseDocument) -> list[ReleasedRun]:
    return list({source.run.number: source.run for source in document.sources}.values())


def _some(document: ReleaseDocument, wanted: Callable[[str], bool]) -> dict[str, str]:
    return {name: figure for name, figure in card_figures(document).items() if wanted(name)}


def _table(figures: Mapping[str, str]) -> Iterator[str]:
    yield "| what | figure |"
    yield "|---|---|"
    yield from (table_line(name, figure) for name, figure in figures.items())
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
