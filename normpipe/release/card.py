"""README.md: the dataset card, for people and for the hub.

It is made from release.json and the audits that lie in the release, from nothing else, so that it can be made again and
compared: whoever edits a figure is found out. What it says in words follows the datasheet's questions (Gebru et al.,
arXiv:1803.09010): what a row is, where it comes from and under which terms, how it was made, what was measured, what was left
out, what may go wrong, who must be asked.
"""

from collections.abc import Callable, Iterator, Mapping

from normpipe.audit.document import Document
from normpipe.release.card_audit import audit_lines
from normpipe.release.columns import column_lines
from normpipe.release.configuration import configuration
from normpipe.release.document import ReleaseDocument, ReleasedRun
from normpipe.release.front import front_matter
from normpipe.release.licence import LICENCE_FILE, distinct_terms
from normpipe.release.schema import pictures
from normpipe.release.terms import Include, Terms
from normpipe.release.words import counted, size

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


def card_lines(document: ReleaseDocument) -> dict[str, str]:
    """All lines of the card's tables that show figures, by what the figures are called."""
    return {name: _line(name, figure) for name, figure in _figures(document).items()} | _split_lines(document)


def _figures(document: ReleaseDocument) -> dict[str, str]:
    """Figures that stand on a line of their own, by what they are called."""
    found = {
        "name": document.name,
        "version": document.version,
        "date": document.date,
        "rows": str(document.rows),
        "subjects in several splits": str(document.subjects_in_several_splits),
        "rows taken out on request": str(document.withdrawn.rows),
    }
    for column, counts in document.labels.items():
        found |= {f"{column}: {value}": str(count) for value, count in counts.items()}
    found |= {f"left out, {reason}": str(count) for reason, count in document.exclusions.items()}
    for run in _runs(document):
        found |= {f"run {run.number}: rows": str(run.rows), f"run {run.number}: ok": str(run.ok)}
        found |= {f"run {run.number}: failed, {reason}": str(count) for reason, count in run.failed.items()}
    return found


def _split_lines(document: ReleaseDocument) -> dict[str, str]:
    """Lines of the table of splits; before texts were numbered, each figure had a line of its own."""
    found: dict[str, str] = {}
    for name, split in document.ordered_splits:
        total = sum(file.size for file in split.files)
        figures = {"rows": split.rows, "subjects": split.subjects, "files": len(split.files)}
        if document.texts == 0:
            figures |= {"bytes": total}
            found |= {f"{name}: {what}": _line(f"{name}: {what}", str(figure)) for what, figure in figures.items()}
        else:
            found[f"split {name}"] = _line(name, *map(str, figures.values()), size(total))
    return found


def _line(*cells: str) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


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
        "--partial": "This release was made of runs that are not finished.",
        "--override-terms": "This release passes on what its sources' terms do not allow, or what stands under unknown terms.",
        "--override-audit": "This release was made although an audit is missing, was held against no gate, or missed one.",
    }
    if document.overrides:
        yield "> **Read this first.** " + " ".join(f"{sentences[flag]} (`{flag}`)" for flag in document.overrides)
        yield ""


def _what(document: ReleaseDocument) -> Iterator[str]:
    yield "## What a row is"
    yield ""
    yield f"A row is {_ROW[document.include]}. {counted(document.rows, 'row')}, made {document.date} by {document.producer}."
    yield ""
    if document.plain_ids:
        yield "`subject`, `sample_id`, `sequence` and the paths of pictures are **named as in the source**."
    else:
        yield (
            "`sample_id`, `subject` and `sequence` are the first 32 hex digits of an HMAC-SHA256 under a key that only the "
            "publisher has: equal names have equal digits, within a dataset, and nothing else follows from them."
        )
    yield ""
    yield from _table(_some(document, lambda name: ": " not in name and not name.startswith("left out")))
    yield "Null means not annotated in labels, not measured elsewhere."
    yield ""
    yield from column_lines(document)
    if document.labels:
        yield "Labels, by rows:"
        yield ""
        yield from _table(_some(document, lambda name: name.partition(": ")[0] in document.labels))


def _loading(document: ReleaseDocument) -> Iterator[str]:
    first = document.ordered_splits[0][0]
    shown = pictures(document.include)
    yield "## How to load it"
    yield ""
    yield "With any of these libraries, from the folder that this release's folder lies in:"
    yield ""
    yield "```python"
    yield f'root = "{document.name}-{document.version}"  # this release\'s folder'
    yield ""
    yield "from datasets import load_dataset"
    yield ""
    yield f'rows = load_dataset(root, split="{first}")'
    if shown:
        yield f'rows[0]["{shown[-1]}"]  # a PIL image'
    yield ""
    yield "import pandas"
    yield ""
    yield 'pandas.read_parquet(f"{root}/data", columns=["sample_id", "subject"])'
    yield ""
    yield "import polars"
    yield ""
    yield f'polars.scan_parquet(f"{{root}}/data/{first}-*.parquet").select("sample_id", "subject").collect()'
    yield ""
    yield "import duckdb"
    yield ""
    yield "duckdb.sql(f\"select split, count(*) from '{root}/data/*.parquet' group by split\")"
    yield ""
    yield "import mlcroissant"
    yield ""
    yield f'record = next(iter(mlcroissant.Dataset(f"{{root}}/croissant.json").records("{first}")))'
    yield f'record["{first}/sample_id"].decode()  # texts are bytes here'
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
    return f"[{_cell(terms.licence)}]({_cell(terms.link)})" if terms.link else _cell(terms.licence)


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
        yield f"Run {run.number} ({run.producer}), fingerprint `{run.fingerprint}`:"
        yield ""
        yield "<details><summary>Configuration, weights, libraries</summary>"
        yield ""
        yield "| part | value |"
        yield "|---|---|"
        yield from (_line(name, value) for name, value in configuration(run).items())
        yield ""
        yield "</details>"
        yield ""
        start = f"run {run.number}: "
        yield from _table({name: figure for name, figure in _figures(document).items() if name.startswith(start)})


def _audit(document: ReleaseDocument, audits: Audits) -> Iterator[str]:
    shown = pictures(document.include)
    yield "## What the audit found"
    yield ""
    for run in _runs(document):
        if run.number not in audits:
            unknown = ": how much of the person and of the expression is left in its pictures is unknown" if shown else ""
            yield f"**Run {run.number} was not audited**{unknown}."
            yield ""
    if audits:
        where = "these pictures" if shown else "the pictures (not in this release)"
        yield (
            f"An audit asks whether the person is gone and the expression still there. What could be measured on {where} "
            "follows; intervals are 95 % over people. What each figure means, and what it does not prove, is in normpipe's "
            "documentation of audits."
        )
        yield ""
    for number, audit in audits.items():
        yield from audit_lines(number, audit)
    if shows_pictures(document):
        yield f"![Some rows]({SHEET_PATH})"
        yield ""
        yield "Some rows, the original above and the normalized face below." if len(shown) > 1 else "Some rows."
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
        yield "- Strong expressions may be drawn weaker than they are."
        yield "- Of a person, something may be left that no attacker of an audit found and a better one does."
    if document.labels:
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
            else f"**{counted(shared, 'subject')} in several of them**: divide anew by `subject`."
        )
    yield ""
    yield "| split | rows | subjects | files | size |"
    yield "|---|---|---|---|---|"
    yield from _split_lines(document).values()
    yield ""


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
        consent = _cell(terms.consent) if terms is not None and terms.consent else "not stated in the terms declared"
        contact = _cell(terms.contact) if terms is not None and terms.contact else "whoever published this release"
        yield f"- {_cell(title)}: consent: {consent}. Who wants to be taken out asks: {contact}."
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
    return {name: figure for name, figure in _figures(document).items() if wanted(name)}


def _table(figures: Mapping[str, str]) -> Iterator[str]:
    yield "| what | figure |"
    yield "|---|---|"
    yield from (_line(name, figure) for name, figure in figures.items())
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
