"""LICENSE.md: under which terms each source was handed on, as its terms file says."""

from collections.abc import Iterator, Sequence

from normpipe.release.document import ReleasedSource
from normpipe.release.terms import Terms

LICENCE_FILE = "LICENSE.md"


def licence_text(name: str, sources: Sequence[ReleasedSource]) -> str:
    """The file."""
    lines = [
        f"# Terms of {name}",
        "",
        "Each row stands under the terms of the dataset that it was made from; the column `dataset` names it. Normalizing a "
        "face changes none of them.",
        "",
    ]
    for title, terms in distinct_terms(sources):
        lines += [f"## {_line(title)}", "", *_terms(terms), ""]
    return "\n".join(lines)


def distinct_terms(sources: Sequence[ReleasedSource]) -> list[tuple[str, Terms | None]]:
    """The datasets of a release with their terms, each once, in the order of their runs."""
    found: dict[str, Terms | None] = {}
    for source in sources:
        title = source.name or (source.terms.dataset if source.terms is not None else "rows without a dataset's name")
        found.setdefault(title, source.terms)
    return list(found.items())


def _terms(terms: Terms | None) -> Iterator[str]:
    if terms is None:
        yield "Unknown. Whoever made this release chose to pass it on all the same."
        return
    link = f" ({_line(terms.link)})" if terms.link else ""
    yield f"- Licence: {_line(terms.licence)}{link}"
    yield f"- May be passed on: {', '.join(terms.pass_on) or 'nothing'}"
    for title, text in (
        ("Attribution", terms.attribution),
        ("Consent", terms.consent),
        ("Contact for withdrawal", terms.contact),
        ("Read at", terms.source),
        ("Note", terms.note),
    ):
        if text:
            yield f"- {title}: {_line(text)}"


def _line(text: str) -> str:
    return " ".join(text.split())
